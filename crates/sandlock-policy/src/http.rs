//! HTTP: which requests are allowed, and the one way in which a request is understood.
//!
//! A [`RequestTarget`] and an [`authority`] are read here and nowhere else, into a form that any server reads alike;
//! what could be read in two ways is [`Malformed`]. [`HttpRules::check`] judges that form, and that form is what is
//! forwarded.

mod auth;
mod authority;
mod credential;
mod host;
mod malformed;
mod method;
mod pattern;
mod request;
mod rule;
mod rule_error;
mod rules;
mod target;

pub use auth::{AuthForm, HttpAuth, HttpAuths};
pub use authority::authority;
pub use credential::{Credential, CredentialSource};
pub use host::{HttpHost, HttpName};
pub use malformed::Malformed;
pub use method::Method;
pub use request::{HttpRequest, Scheme};
pub use rule::{HttpRule, Requests};
pub use rule_error::{HttpRuleError, HttpRuleErrorKind};
pub use rules::HttpRules;
pub(crate) use rules::{name_hint, request_hint};
pub use target::RequestTarget;
