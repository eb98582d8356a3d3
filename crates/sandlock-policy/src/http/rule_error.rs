//! Why the text of an HTTP rule was not accepted.

use super::Malformed;
use crate::{RuleError, RuleErrorKind};

/// An HTTP rule that is not in the grammar.
pub type HttpRuleError = RuleError<HttpRuleErrorKind>;

/// What is wrong with an HTTP rule. A string is the offending part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpRuleErrorKind {
    /// Not two words.
    #[error("expected METHOD HOST[:PORT][/PATH], such as \"GET api.example.com/v1/*\"")]
    Shape,
    /// A method that no request can have.
    #[error("invalid method {0:?}")]
    InvalidMethod(String),
    /// A standard method in small letters, which is another method.
    #[error("the method {written:?} is not {upper}: methods are written in capitals")]
    MethodCase {
        /// As it was written.
        written: String,
        /// The method that was meant.
        upper: String,
    },
    /// `https://HOST`.
    #[error("a rule names a host without a scheme; ports tell http from https")]
    Scheme,
    /// No host.
    #[error("expected a host, or `*` for any")]
    MissingHost,
    /// A host that no network rule may have either.
    #[error(transparent)]
    Host(RuleErrorKind),
    /// A range of addresses.
    #[error("{0:?} is a range: name one address, or use `*`")]
    Range(String),
    /// Ports that no network rule may have either.
    #[error(transparent)]
    Ports(RuleErrorKind),
    /// `*` for ports.
    #[error("`*` is no port here: name the ports")]
    AnyPort,
    /// A path that no request is understood to have.
    #[error("no request can have the path {path:?}: {why}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: Malformed,
    },
    /// A path with empty or dot segments, which are gone from the paths of requests.
    #[error("the path {0:?} has an empty or a dot segment: write it without")]
    NotNormal(String),
    /// A path with a query.
    #[error("the path {0:?} has a query: rules do not speak of queries")]
    Query(String),
    /// A credential without a name or a place.
    #[error("expected NAME=env:VAR, NAME=file:PATH or NAME=fd:N")]
    Credential,
    /// A name that no credential can have.
    #[error("invalid credential {0:?}: a name has letters, digits, `-`, `_` and `.`")]
    CredentialName(String),
    /// Not four words.
    #[error("expected METHOD HOST/PATH SPEC NAME, such as \"* api.example.com/* bearer KEY\"")]
    AuthShape,
    /// `*` for the host of a credential.
    #[error("a credential is not for any host: name one")]
    AuthForAnyHost,
    /// A SPEC that does not exist, or that would change what a request means.
    #[error("invalid {0:?}: expected bearer, basic:USER, header:NAME or query:PARAM")]
    AuthForm(String),
}
