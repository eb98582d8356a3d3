//! Why a request is not understood: two parsers could read it differently.

use serde::{Deserialize, Serialize};

/// What is wrong with a request. It is answered with 400 and never forwarded.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Malformed {
    /// `%2F` in a path: some servers take it for the end of a segment.
    #[error("an encoded slash in the path")]
    EncodedSlash,
    /// `%00` in a path: some servers end there.
    #[error("an encoded NUL in the path")]
    EncodedNul,
    /// `\` or `%5C` in a path: some servers take it for a slash.
    #[error("a backslash in the path")]
    Backslash,
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("a percent sign without two hexadecimal digits in the path")]
    BadEscape,
    /// What is an escape still after it was decoded once: some servers decode twice.
    #[error("a path that is encoded twice")]
    EncodedTwice,
    /// A control character or a space, or in a path the escape of a control character.
    #[error("a control character or a space in the target")]
    ControlByte,
    /// A byte outside of ASCII that is not escaped.
    #[error("a byte outside of ASCII in the target")]
    NonAscii,
    /// A path that is no UTF-8 once it is decoded, as in overlong forms of slashes and dots.
    #[error("a path that is not UTF-8")]
    NotUtf8,
    /// A target that does not begin with a slash.
    #[error("a target that is not an absolute path")]
    NotAbsolute,
    /// `#`, which is never sent.
    #[error("a fragment in the target")]
    Fragment,
    /// `..` above the root.
    #[error("a path that leads above the root")]
    AboveRoot,
    /// A segment that is nothing, `.` or `..` once its parameters (`;…`) are cut off, as some servers do.
    #[error("path parameters that hide a dot segment")]
    HiddenDots,
    /// `user@` before the host.
    #[error("a user before the host")]
    Userinfo,
    /// A host that is neither a name nor an address.
    #[error("an invalid host")]
    BadHost,
    /// A port that is not a plain number from 1 to 65535.
    #[error("an invalid port")]
    BadPort,
    /// No host.
    #[error("no host")]
    MissingHost,
    /// More than one host.
    #[error("more than one host")]
    DuplicateHost,
    /// Two places of the request, or the request and its connection, name different hosts or ports.
    #[error("hosts that disagree")]
    HostDisagrees,
    /// A method that is no token.
    #[error("an invalid method")]
    BadMethod,
    /// A request line that is not `METHOD TARGET HTTP/1.1`.
    #[error("an invalid request line")]
    BadRequestLine,
    /// A header whose name or value is not in the grammar.
    #[error("an invalid header")]
    BadHeader,
    /// A header that is continued on the next line.
    #[error("a header on two lines")]
    FoldedHeader,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// A `Content-Length` that is not one plain number.
    #[error("an invalid Content-Length")]
    BadLength,
    /// A `Transfer-Encoding` other than `chunked`.
    #[error("an invalid Transfer-Encoding")]
    BadEncoding,
    /// Chunks that are not in the grammar.
    #[error("an invalid body")]
    BadBody,
    /// A head with too many bytes or headers.
    #[error("a head that is too large")]
    TooLarge,
    /// Bytes that are neither TLS nor HTTP.
    #[error("neither TLS nor HTTP")]
    UnknownProtocol,
}
