//! Why a name has no answer, this time.

use hickory_proto::op::ResponseCode;

/// Why a question had no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The name does not exist.
    #[error("there is no such name")]
    NoSuchName,
    /// It exists, without an address.
    #[error("it has no address")]
    NoAddress,
    /// It has addresses, and none that this host can reach.
    #[error("this host has no route to any of its addresses")]
    NoRoute,
    /// It has addresses, and none that may be taken.
    #[error("none of its addresses may be taken")]
    Refused,
    /// No answer came in time.
    #[error("no name server answered in time")]
    Silent,
    /// Programs ask for too much at once.
    #[error("too many other names are being asked for")]
    Busy,
    /// The server says that it cannot or will not answer.
    #[error("the name server answered {0}")]
    Code(ResponseCode),
    /// The names lead on and on.
    #[error("it leads through too many other names")]
    TooManyLinks,
    /// An answer that is none.
    #[error("the name server's answer cannot be understood")]
    Malformed,
    /// The system did not let it be asked, or knows no answer.
    #[error("{0}")]
    System(String),
}

impl Failure {
    pub(crate) fn of(error: &std::io::Error) -> Failure {
        Failure::System(error.to_string())
    }
}
