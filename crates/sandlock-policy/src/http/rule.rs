//! One HTTP rule, and its grammar: `METHOD HOST[:PORTS][/PATH]`.

use std::fmt;

use super::pattern::PathPattern;
use super::{HttpHost, HttpName, HttpRequest, HttpRuleErrorKind, Method};
use crate::rule::Traffic;
use crate::written::{Meaning, Written};
use crate::{NetRule, Ports, Protocol};

const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// Requests that are granted or refused: their method, host and path.
///
/// Two rules are equal when they mean the same, however they were written. The [`Display`](fmt::Display) form is the
/// canonical one and parses to an equal rule.
///
/// ```
/// let rule: sandlock_policy::HttpRule = "POST API.example.com/v1/%7Eme/**".parse()?;
/// assert_eq!(rule.to_string(), "POST api.example.com/v1/~me/*");
/// # Ok::<(), sandlock_policy::HttpRuleError>(())
/// ```
pub type HttpRule = Written<Requests>;

/// What an [`HttpRule`] means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requests {
    method: Method,
    host: HttpHost,
    /// Sorted and unique; `None` when the rule does not say.
    ports: Option<Vec<u16>>,
    /// `None` for every path.
    path: Option<PathPattern>,
}

impl HttpRule {
    /// The methods that it speaks of.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.meaning.method
    }

    /// The host that it speaks of.
    #[must_use]
    pub fn host(&self) -> &HttpHost {
        &self.meaning.host
    }

    /// The ports that it speaks of: 80 and 443 unless it says others.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        self.meaning.ports.as_deref().unwrap_or(&DEFAULT_PORTS)
    }

    /// Whether it speaks of a method or a path: of what is inside of TLS.
    #[must_use]
    pub fn needs_content(&self) -> bool {
        self.meaning.path.is_some() || self.meaning.method != Method::Any
    }

    /// Whether it grants `request`, as a rule that allows.
    pub(crate) fn grants(&self, request: &HttpRequest) -> bool {
        let Requests { method, path, .. } = &self.meaning;
        self.grants_host(&request.host, request.port)
            && method.grants(&request.method)
            && path.as_ref().is_none_or(|path| path.grants(request.target.path()))
    }

    /// Whether it grants everything of `host`, or something of it.
    pub(crate) fn grants_host(&self, host: &HttpName, port: u16) -> bool {
        self.ports().contains(&port) && self.host().matches(host)
    }

    /// Whether it refuses `request`, as a rule that denies.
    pub(crate) fn refuses(&self, request: &HttpRequest) -> bool {
        self.host().matches(&request.host) && self.refuses_but_for_host(request)
    }

    /// Whether it would refuse `request` if that named its host.
    pub(crate) fn refuses_but_for_host(&self, request: &HttpRequest) -> bool {
        let Requests { method, path, .. } = &self.meaning;
        self.refuses_on(request.port)
            && method.refuses(&request.method)
            && path.as_ref().is_none_or(|path| path.refuses(request.target.path()))
    }

    /// Whether it refuses something of `host`.
    pub(crate) fn refuses_of(&self, host: &HttpName, port: u16) -> bool {
        self.refuses_on(port) && self.host().matches(host)
    }

    /// A rule that says no ports refuses on all that are looked at.
    pub(crate) fn refuses_on(&self, port: u16) -> bool {
        self.meaning.ports.as_ref().is_none_or(|ports| ports.contains(&port))
    }

    /// What it opens as a rule that allows: nothing, when it is for any host.
    pub(crate) fn network_rule(&self) -> Option<NetRule> {
        let host = self.host().concrete()?;
        let ports = Ports::List(self.ports().to_vec());
        Some(self.as_kind(Traffic { protocol: Protocol::Tcp, host, ports }))
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requests { method, host, ports, path } = self;
        write!(f, "{method} {host}")?;
        if let Some(ports) = ports {
            write!(f, ":{}", Ports::List(ports.clone()))?;
        }
        path.as_ref().map_or(Ok(()), |path| path.fmt(f))
    }
}

impl Meaning for Requests {
    const FLAG: &'static str = "--http-allow";
    type Wrong = HttpRuleErrorKind;

    fn parse(spec: &str) -> Result<Self, HttpRuleErrorKind> {
        let mut words = spec.split_ascii_whitespace();
        let (Some(method), Some(place), None) = (words.next(), words.next(), words.next()) else {
            return Err(HttpRuleErrorKind::Shape);
        };
        if place.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('/')) {
            return Err(HttpRuleErrorKind::Scheme);
        }
        let (authority, path) = split_path(place);
        let (host, ports) = split_ports(authority);
        let method = Method::parse(method)?;
        let host: HttpHost = host.parse()?;
        let ports = ports.map(parse_ports).transpose()?;
        let path = path.map(PathPattern::parse).transpose()?.filter(|path| !path.is_everything());
        if matches!(host, HttpHost::Address(_)) && ports.is_none() && path.as_ref().is_some_and(is_length) {
            return Err(HttpRuleErrorKind::Range(place.to_owned()));
        }
        Ok(Requests { method, host, ports, path })
    }
}

/// The host and ports, and the path with its slash. A slash in brackets is of the host.
fn split_path(place: &str) -> (&str, Option<&str>) {
    let after_brackets = if place.starts_with('[') { place.find(']').map_or(0, |end| end + 1) } else { 0 };
    match place[after_brackets..].find('/').map(|at| at + after_brackets) {
        Some(slash) => (&place[..slash], Some(&place[slash..])),
        None => (place, None),
    }
}

fn split_ports(authority: &str) -> (&str, Option<&str>) {
    let after_brackets =
        if authority.starts_with('[') { authority.find(']').map_or(0, |end| end + 1) } else { 0 };
    match authority[after_brackets..].find(':').map(|at| at + after_brackets) {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    }
}

fn parse_ports(text: &str) -> Result<Vec<u16>, HttpRuleErrorKind> {
    match Ports::parse(text).map_err(HttpRuleErrorKind::Ports)? {
        Ports::List(ports) => Ok(ports),
        Ports::Any => Err(HttpRuleErrorKind::AnyPort),
    }
}

/// `10.0.0.0/8` would be the path `/8` of one address: whoever writes it means a range. With a port it is a path.
fn is_length(path: &PathPattern) -> bool {
    let text = path.to_string();
    let digits = text.strip_prefix('/').filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse::<u8>().ok()).is_some_and(|bits| bits <= 128)
}
