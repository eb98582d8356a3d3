//! What a request means, and whether it is allowed.

use hyper::header::{HOST, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use hyper::{Method, Version};
use sandlock_policy::{
    Allowed, Denied, HttpHost, HttpName, HttpRequest, HttpRules, Malformed, RequestTarget, Scheme, authority,
};

use crate::NamesOf;
use crate::limits::MOST_FIELDS;
use crate::origin::Origin;

/// Why a request is not forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It can be read in two ways.
    Malformed(Malformed),
    /// It asks for a host that is not at the other end.
    Misdirected,
    /// No rule grants it.
    Denied(Denied),
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Refusal {
        Refusal::Malformed(malformed)
    }
}

/// What is known of a name and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The one stands for the other.
    Same,
    /// Nobody knows the name.
    Nothing,
    /// The name stands for something else.
    Other,
}

pub(crate) fn known(names: &dyn NamesOf, host: &HttpName, origin: &Origin) -> Known {
    match host {
        HttpName::Address(address) if *address == origin.to.ip() => Known::Same,
        HttpName::Address(_) => Known::Other,
        HttpName::Name(name) if names.is_of(name, origin.to.ip()) => Known::Same,
        HttpName::Name(name) if names.knows(name) => Known::Other,
        HttpName::Name(_) => Known::Nothing,
    }
}

/// Whether a rule that denies may call the destination of a request by this host, though the request names it otherwise:
/// by its address; and unless the request has a name that is known to be right, by the names that are. An address may have
/// many good names, one of which is denied, but no program is to get at what that stands for by a name of its own making.
fn may_be_called(names: &dyn NamesOf, origin: &Origin, host: &HttpName, known: Known, by: &HttpHost) -> bool {
    let is_good_name = known == Known::Same && matches!(host, HttpName::Name(_));
    match by {
        HttpHost::Address(address) => *address == origin.to.ip(),
        HttpHost::Name(name) => !is_good_name && names.is_of(name, origin.to.ip()),
        HttpHost::Any | HttpHost::Subdomains(_) => false,
    }
}

/// Judges TLS that is not looked into, by the name that its client means.
pub(crate) fn judge_name(
    rules: &HttpRules,
    names: &dyn NamesOf,
    origin: &Origin,
    host: &HttpName,
) -> Result<(), Denied> {
    let (name, port, known) = (host.to_string(), origin.to.port(), known(names, host, origin));
    rules.check_name_destination(&name, port, |by| may_be_called(names, origin, host, known, by))?;
    match known {
        Known::Same => rules.check_name(&name, port),
        Known::Nothing => rules.check_unknown_name(&name, port),
        Known::Other => Err(Denied::TlsName { name, port, forbidden: false }),
    }
}

/// Judges a request by its head alone, and by where its connection was to go. With what is known of its host.
pub(crate) fn judge(
    rules: &HttpRules,
    names: &dyn NamesOf,
    origin: &Origin,
    head: &Parts,
) -> Result<(Allowed<HttpRequest>, Known), Refusal> {
    let request = understand(origin, head)?;
    // Whoever is at the other end has proved to be this one and no other, whatever else it may be called.
    if origin.tls.as_ref().is_some_and(|proved| *proved != request.host) {
        return Err(Refusal::Misdirected);
    }
    let known = known(names, &request.host, origin);
    let by_another_name = |by: &HttpHost| may_be_called(names, origin, &request.host, known, by);
    rules.check_destination(&request, by_another_name).map_err(Refusal::Denied)?;
    let checked = match known {
        Known::Same => rules.check(request),
        Known::Nothing => rules.check_unknown(request),
        Known::Other => return Err(Refusal::Misdirected),
    };
    checked.map(|allowed| (allowed, known)).map_err(Refusal::Denied)
}

fn understand(origin: &Origin, head: &Parts) -> Result<HttpRequest, Refusal> {
    if head.headers.len() > MOST_FIELDS {
        return Err(Malformed::TooLarge.into());
    }
    if says_otherwise(&head.headers) {
        return Err(Malformed::BadHeader.into());
    }
    // What follows would be for somebody else, and nobody would judge it.
    if head.method == Method::CONNECT {
        return Err(Malformed::BadMethod.into());
    }
    let (host, port) = host(origin, head)?;
    if port != origin.to.port() {
        return Err(Refusal::Misdirected);
    }
    let target = match head.uri.path_and_query() {
        Some(target) if head.uri.path() != "*" => RequestTarget::parse(target.as_str().as_bytes())?,
        _ => return Err(Malformed::NotAbsolute.into()),
    };
    let method = head.method.as_str().to_owned();
    Ok(HttpRequest { scheme: origin.scheme(), method, host, port, target })
}

/// The host that a request names, wherever it does; all places have to agree.
fn host(origin: &Origin, head: &Parts) -> Result<(HttpName, u16), Malformed> {
    let is_h2 = head.version == Version::HTTP_2;
    if let Some(scheme) = head.uri.scheme_str()
        && scheme != scheme_name(origin.scheme())
    {
        return Err(Malformed::HostDisagrees);
    }
    let uri = head.uri.authority().map(|uri| authority(uri.as_str(), origin.to.port())).transpose()?;
    let mut hosts = head.headers.get_all(HOST).iter();
    let field = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Malformed::DuplicateHost),
        (Some(host), None) => {
            Some(authority(host.to_str().map_err(|_| Malformed::BadHost)?, origin.to.port())?)
        }
        _ => None,
    };
    match (uri, field) {
        (Some(uri), Some(field)) if uri != field => Err(Malformed::HostDisagrees),
        (Some(host), _) | (None, Some(host)) => Ok(host),
        // HTTP/1.0 has hosts by their address alone.
        (None, None) if !is_h2 && head.version == Version::HTTP_10 => {
            Ok((origin.to.ip().into(), origin.to.port()))
        }
        (None, None) => Err(Malformed::MissingHost),
    }
}

fn scheme_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    }
}

/// Fields by which some servers take a request for another than its first line says.
const OVERRIDES: [&str; 7] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
    "x-forwarded-host",
];

fn says_otherwise(headers: &HeaderMap) -> bool {
    let overrides = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with('x') && {
            let plain = name.replace('_', "-");
            OVERRIDES.contains(&plain.as_str())
        }
    };
    headers.keys().any(overrides)
}
