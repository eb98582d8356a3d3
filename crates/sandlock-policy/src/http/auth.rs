//! To which requests a credential is added, and how.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::credential::is_name;
use super::method::is_token;
use super::{HttpHost, HttpRequest, HttpRule, HttpRuleError, HttpRuleErrorKind};

const DEFAULT_FLAG: &str = "--http-auth";

/// What frames a message or belongs to one connection: a credential there would change what was judged.
const NOT_FOR_CREDENTIALS: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// A credential for the requests of a rule: `METHOD HOST[:PORTS][/PATH] SPEC NAME`.
///
/// Its host is never `*`: a secret is for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpAuth {
    rule: HttpRule,
    form: AuthForm,
    credential: String,
}

/// Where in a request a credential is written: the SPEC of an [`HttpAuth`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthForm {
    /// `bearer`: `Authorization: Bearer SECRET`.
    Bearer,
    /// `basic:USER`: `Authorization: Basic …` of the user and the secret.
    Basic(String),
    /// `header:NAME`: the value of this header, whose name is in lower case.
    Header(String),
    /// `query:PARAM`: the value of this parameter of the query.
    Query(String),
}

impl HttpAuth {
    /// Parses `spec`, which the user gave with `flag`: an error names both.
    ///
    /// # Errors
    /// [`HttpRuleError`] when `spec` is not in the grammar.
    pub fn parse_flag(flag: &str, spec: &str) -> Result<HttpAuth, HttpRuleError> {
        parse(flag, spec).map_err(|kind| HttpRuleError::new(flag, spec, kind))
    }

    /// The requests that it is for.
    #[must_use]
    pub fn rule(&self) -> &HttpRule {
        &self.rule
    }

    /// Where the credential is written.
    #[must_use]
    pub fn form(&self) -> &AuthForm {
        &self.form
    }

    /// The name of the credential.
    #[must_use]
    pub fn credential(&self) -> &str {
        &self.credential
    }

    /// Whether it is for `request`, which was allowed, and whose host is known to be one of its connection: never for
    /// one that [`HttpRules::check_unknown`](super::HttpRules::check_unknown) allowed.
    #[must_use]
    pub fn is_for(&self, request: &HttpRequest) -> bool {
        self.rule.grants(request)
    }
}

impl FromStr for HttpAuth {
    type Err = HttpRuleError;

    fn from_str(spec: &str) -> Result<HttpAuth, HttpRuleError> {
        HttpAuth::parse_flag(DEFAULT_FLAG, spec)
    }
}

impl fmt::Display for HttpAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.rule, self.form, self.credential)
    }
}

impl fmt::Display for AuthForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthForm::Bearer => f.write_str("bearer"),
            AuthForm::Basic(user) => write!(f, "basic:{user}"),
            AuthForm::Header(name) => write!(f, "header:{name}"),
            AuthForm::Query(parameter) => write!(f, "query:{parameter}"),
        }
    }
}

impl Serialize for HttpAuth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HttpAuth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HttpAuth, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// All credentials that are added to requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HttpAuths(pub Vec<HttpAuth>);

impl HttpAuths {
    /// The first that is for `request`, as [`HttpAuth::is_for`] has it.
    #[must_use]
    pub fn for_request(&self, request: &HttpRequest) -> Option<&HttpAuth> {
        self.0.iter().find(|auth| auth.is_for(request))
    }
}

fn parse(flag: &str, spec: &str) -> Result<HttpAuth, HttpRuleErrorKind> {
    let words: Vec<&str> = spec.split_ascii_whitespace().collect();
    let [method, place, form, credential] = words[..] else {
        return Err(HttpRuleErrorKind::AuthShape);
    };
    let rule = HttpRule::parse_flag(flag, &format!("{method} {place}"));
    let rule = rule.map_err(|error| error.kind().clone())?;
    if *rule.host() == HttpHost::Any {
        return Err(HttpRuleErrorKind::AuthForAnyHost);
    }
    if !is_name(credential) {
        return Err(HttpRuleErrorKind::CredentialName(credential.to_owned()));
    }
    Ok(HttpAuth { rule, form: parse_form(form)?, credential: credential.to_owned() })
}

fn parse_form(text: &str) -> Result<AuthForm, HttpRuleErrorKind> {
    let unknown = || HttpRuleErrorKind::AuthForm(text.to_owned());
    if text == "bearer" {
        return Ok(AuthForm::Bearer);
    }
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match text.split_once(':').filter(|(_, rest)| !rest.is_empty()).ok_or_else(unknown)? {
        // RFC 7617, 2: a user has no colon, and nobody agrees on what is not ASCII.
        ("basic", user) if !user.contains(':') && user.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(AuthForm::Basic(user.to_owned()))
        }
        ("header", name) if is_token(name) => {
            let name = name.to_ascii_lowercase();
            let allowed = !NOT_FOR_CREDENTIALS.contains(&name.as_str());
            allowed.then_some(AuthForm::Header(name)).ok_or_else(unknown)
        }
        ("query", parameter) if parameter.bytes().all(unreserved) => {
            Ok(AuthForm::Query(parameter.to_owned()))
        }
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RequestTarget, Scheme};

    fn request(method: &str, host: &str, path: &str) -> HttpRequest {
        let target = RequestTarget::parse(path.as_bytes()).unwrap();
        HttpRequest {
            scheme: Scheme::Https,
            method: method.into(),
            host: host.parse().unwrap(),
            port: 443,
            target,
        }
    }

    #[test]
    fn an_auth_survives_its_text() {
        for (spec, text) in [
            ("GET  Api.test/v1/** bearer key", "GET api.test/v1/* bearer key"),
            ("* *.test:443 basic:me@there key", "* *.test:443 basic:me@there key"),
            ("* 10.0.0.1 header:X-API-Key k-1", "* 10.0.0.1 header:x-api-key k-1"),
            ("POST api.test/x query:api_key k", "POST api.test/x query:api_key k"),
        ] {
            let auth: HttpAuth = spec.parse().unwrap();
            assert_eq!(auth.to_string(), text);
            assert_eq!(text.parse(), Ok(auth.clone()));
            let json = serde_json::to_string(&auth).unwrap();
            assert_eq!(serde_json::from_str::<HttpAuth>(&json).unwrap(), auth);
        }
    }

    #[test]
    fn an_auth_that_is_not_in_the_grammar_says_why() {
        for (spec, why) in [
            ("GET api.test bearer", "expected METHOD HOST/PATH SPEC NAME"),
            ("GET api.test bearer key more", "expected METHOD HOST/PATH SPEC NAME"),
            ("GET * bearer key", "not for any host"),
            ("GET *:443/x bearer key", "not for any host"),
            ("get api.test bearer key", "methods are written in capitals"),
            ("GET api.test/a/../b bearer key", "write it without"),
            ("GET api.test Bearer key", r#"invalid "Bearer""#),
            ("GET api.test bearer: key", r#"invalid "bearer:""#),
            ("GET api.test basic: key", r#"invalid "basic:""#),
            ("GET api.test basic:a:b key", r#"invalid "basic:a:b""#),
            ("GET api.test header:Host key", r#"invalid "header:Host""#),
            ("GET api.test header:Content-Length key", "invalid"),
            ("GET api.test header:Transfer-Encoding key", "invalid"),
            ("GET api.test header:a:b key", "invalid"),
            ("GET api.test query:a=b key", "invalid"),
            ("GET api.test query:a&b key", "invalid"),
            ("GET api.test bearer k=y", r#"invalid credential "k=y""#),
        ] {
            let error = spec.parse::<HttpAuth>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("--http-auth {spec:?}: ")) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_first_that_is_for_a_request_is_taken_and_none_for_others() {
        let parse = |spec: &str| spec.parse::<HttpAuth>().unwrap();
        let auths = HttpAuths(vec![
            parse("GET api.test/v1/special bearer a"),
            parse("* api.test/v1/* bearer b"),
            parse("* *.wild.test bearer c"),
        ]);
        let name =
            |request: HttpRequest| auths.for_request(&request).map(|auth| auth.credential().to_owned());
        assert_eq!(name(request("GET", "api.test", "/v1/special")).as_deref(), Some("a"));
        assert_eq!(name(request("POST", "api.test", "/v1/special")).as_deref(), Some("b"));
        assert_eq!(name(request("GET", "x.wild.test", "/")).as_deref(), Some("c"));
        for (method, host, path) in [
            ("GET", "api.test", "/v1/../v2"),
            ("GET", "api.test", "/V1/x"),
            ("GET", "x.api.test", "/v1/x"),
            ("GET", "api.test.evil.test", "/v1/x"),
            ("GET", "wild.test", "/"),
            ("CONNECT", "api.test", "/v1/x"),
            ("GET", "10.0.0.1", "/v1/x"),
        ] {
            assert_eq!(name(request(method, host, path)), None, "{method} {host}{path}");
        }
    }
}
