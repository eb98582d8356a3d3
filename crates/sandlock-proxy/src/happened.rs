//! What is worth telling somebody.

use sandlock_policy::Denied;

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happened {
    /// A request was refused, or TLS to a name.
    Refused(Denied),
    /// A request was allowed, but its destination did not do its part; the program was told the same.
    UpstreamFailed {
        /// The host, as the request named it.
        host: String,
        /// Why.
        why: String,
    },
}
