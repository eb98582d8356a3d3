//! The method part of a rule.

use std::fmt;

use super::HttpRuleErrorKind;

const STANDARD: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// The methods of a rule. Names are compared as they are, letter by letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `*`: any.
    Any,
    /// This one.
    Named(String),
}

impl Method {
    pub(crate) fn parse(text: &str) -> Result<Method, HttpRuleErrorKind> {
        if text == "*" {
            return Ok(Method::Any);
        }
        if !is_token(text) {
            return Err(HttpRuleErrorKind::InvalidMethod(text.to_owned()));
        }
        let upper = text.to_ascii_uppercase();
        if text != upper && STANDARD.contains(&upper.as_str()) {
            return Err(HttpRuleErrorKind::MethodCase { written: text.to_owned(), upper });
        }
        Ok(Method::Named(text.to_owned()))
    }

    /// Whether a rule that grants this grants `method`. `CONNECT` makes a tunnel, which is to be granted by name.
    pub(crate) fn grants(&self, method: &str) -> bool {
        match self {
            Method::Any => method != "CONNECT",
            Method::Named(own) => own == method,
        }
    }

    /// Whether a rule that refuses this refuses `method`: in any case of its letters, since servers exist that do
    /// not tell them apart.
    pub(crate) fn refuses(&self, method: &str) -> bool {
        match self {
            Method::Any => true,
            Method::Named(own) => own.eq_ignore_ascii_case(method),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Method::Any => f.write_str("*"),
            Method::Named(name) => f.write_str(name),
        }
    }
}

/// Whether `text` is a token of HTTP ([RFC 9110, 5.6.2](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2)).
pub(crate) fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}
