//! What is added to requests once they are allowed, which programs never see.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use sandlock_policy::{Allowed, AuthForm, HttpAuth, HttpRequest, RequestTarget, Scheme};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::Secret;
use crate::escapes::unescape;
use crate::origin::Origin;
use crate::secret::Kept;

/// A secret, and the requests that it is added to.
#[derive(Debug)]
pub struct Auth {
    /// Which requests, and where in them.
    pub rule: HttpAuth,
    /// What.
    pub secret: Secret,
}

/// Why a request that needs a secret does not get it. Never with the secret.
#[derive(Debug, Error)]
pub(crate) enum NoSecret {
    #[error("the credential {0} cannot be read: {1}")]
    Unreadable(String, std::io::Error),
    #[error("the credential {0} cannot be written in a request")]
    Unwritable(String),
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Auths {
    auths: Vec<(HttpAuth, Kept)>,
    in_the_clear: bool,
}

/// A request to which a secret was added.
#[derive(Default)]
pub(crate) struct Added {
    /// The field to set, whatever the program set it to.
    field: Option<(HeaderName, HeaderValue)>,
    /// The target that it is sent with instead.
    pub(crate) target: Option<Zeroizing<String>>,
}

impl Added {
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        if let Some((name, value)) = &self.field {
            headers.insert(name.clone(), value.clone());
        }
    }
}

impl Auths {
    pub(crate) fn new(auths: Vec<Auth>, in_the_clear: bool) -> Auths {
        let auths = auths.into_iter().map(|Auth { rule, secret }| (rule, Kept::new(secret))).collect();
        Auths { auths, in_the_clear }
    }

    /// What is added to this request, whose host is known to be the one at the other end.
    pub(crate) fn add(&self, allowed: &Allowed<HttpRequest>, origin: &Origin) -> Result<Added, NoSecret> {
        let request = allowed.get();
        let private = request.scheme == Scheme::Https || origin.to.ip().is_loopback() || self.in_the_clear;
        // Its answer is the request itself (RFC 9110, 9.3.8).
        if !private || request.method.eq_ignore_ascii_case("TRACE") {
            return Ok(Added::default());
        }
        let Some((auth, secret)) = self.auths.iter().find(|(auth, _)| auth.is_for(request)) else {
            return Ok(Added::default());
        };
        let name = || auth.credential().to_owned();
        let secret = secret.value().map_err(|error| NoSecret::Unreadable(name(), error))?;
        added(auth.form(), &secret, &request.target).ok_or_else(|| NoSecret::Unwritable(name()))
    }
}

fn added(form: &AuthForm, secret: &[u8], target: &RequestTarget) -> Option<Added> {
    let field = |name: HeaderName, value: &[u8]| {
        let mut value = HeaderValue::from_bytes(value).ok()?;
        // It is not to be remembered by HPACK, nor shown.
        value.set_sensitive(true);
        Some(Added { field: Some((name, value)), target: None })
    };
    match form {
        AuthForm::Bearer => field(AUTHORIZATION, &Zeroizing::new([b"Bearer ", secret].concat())),
        AuthForm::Basic(user) => {
            let pair = Zeroizing::new([user.as_bytes(), b":", secret].concat());
            let mut value = String::from("Basic ");
            BASE64_STANDARD.encode_string(&*pair, &mut value);
            let added = field(AUTHORIZATION, value.as_bytes());
            value.zeroize();
            added
        }
        AuthForm::Header(name) => field(HeaderName::from_bytes(name.as_bytes()).ok()?, secret),
        AuthForm::Query(parameter) => {
            let target = with_parameter(target, parameter, secret);
            Some(Added { field: None, target: Some(target) })
        }
        _ => None,
    }
}

/// The target with this parameter once, as we say it, whatever the program says.
fn with_parameter(target: &RequestTarget, parameter: &str, secret: &[u8]) -> Zeroizing<String> {
    let is_other = |pair: &&str| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        // As servers read it.
        unescape(name) != parameter.as_bytes()
    };
    let kept = target.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).filter(is_other);
    let mut text =
        Zeroizing::new(String::with_capacity(target.as_str().len() + parameter.len() + 3 * secret.len() + 2));
    text.push_str(target.forwarded_path());
    text.push('?');
    for pair in kept {
        text.push_str(pair);
        text.push('&');
    }
    text.push_str(parameter);
    text.push('=');
    for byte in secret {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_there_once() {
        for (target, with) in [
            ("/a", "/a?key=s%20%2F"),
            ("/a?", "/a?key=s%20%2F"),
            ("/a?x=1&key=mine&y", "/a?x=1&y&key=s%20%2F"),
            ("/a?%6Bey=mine&keys=1&key", "/a?keys=1&key=s%20%2F"),
        ] {
            let target = RequestTarget::parse(target.as_bytes()).unwrap();
            assert_eq!(**with_parameter(&target, "key", b"s /"), *with);
        }
    }

    #[test]
    fn a_secret_that_would_be_another_line_is_none() {
        let target = RequestTarget::parse(b"/").unwrap();
        assert!(added(&AuthForm::Bearer, b"a\r\nX: y", &target).is_none());
        let added = added(&AuthForm::Basic("u".into()), b"p", &target).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer of-the-program"));
        added.apply(&mut headers);
        assert_eq!(headers.get_all(AUTHORIZATION).iter().collect::<Vec<_>>(), ["Basic dTpw"]);
        assert!(!format!("{headers:?}").contains("dTpw"));
    }
}
