//! A request made anew from what was allowed, and an answer made fit for the program's connection.

use hyper::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::http::request;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Uri, Version};
use sandlock_policy::{Allowed, HttpRequest};

use crate::auth::Added;
use crate::head::{asks_for_upgrade, tokens};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The head of what is sent for an allowed request, of which `head` gives the fields. `None` when it cannot be written,
/// which the checks before leave no way for.
pub(crate) fn request<B>(
    allowed: &Allowed<HttpRequest>,
    head: request::Parts,
    upgrade: Option<HeaderValue>,
    added: &Added,
    body: B,
) -> Option<Request<B>> {
    let allowed = allowed.get();
    let method = Method::from_bytes(allowed.method.as_bytes()).ok()?;
    let target = added.target.as_ref().map_or(allowed.target.as_str(), |target| target.as_str());
    let target = PathAndQuery::try_from(target).ok()?;
    let is_h2 = head.version == Version::HTTP_2;
    let mut headers = head.headers;
    strip(&mut headers);
    headers.remove(HOST);
    headers.remove(EXPECT);
    headers.remove(PROXY_AUTHORIZATION);
    let mut request = Request::new(body);
    if is_h2 {
        let uri = Uri::builder().scheme(if allowed.scheme == sandlock_policy::Scheme::Https {
            "https"
        } else {
            "http"
        });
        *request.uri_mut() = uri.authority(allowed.authority()).path_and_query(target).build().ok()?;
        *request.version_mut() = Version::HTTP_2;
    } else {
        *request.uri_mut() = Uri::from(target);
        headers.insert(HOST, HeaderValue::try_from(allowed.authority()).ok()?);
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    added.apply(&mut headers);
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    Some(request)
}

/// The protocol that a request wants to go on with, if that is one that may be.
pub(crate) fn upgrade(head: &request::Parts) -> Option<HeaderValue> {
    let values = |name| head.headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let asks = head.version == Version::HTTP_11 && asks_for_upgrade(values(CONNECTION), values(UPGRADE));
    asks.then(|| head.headers.get(UPGRADE).cloned()).flatten()
}

/// Takes away what is between two ends of one connection (RFC 9110, 7.6.1).
pub(crate) fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let nominated: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| tokens(value.as_bytes()).filter_map(|token| HeaderName::from_bytes(token).ok()))
            .collect();
        for name in nominated {
            // It is what a call of gRPC has to say, and is kept below if it says just that.
            if name != TE {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        headers.remove(TE);
    }
}
