//! Answers of our own: they say what was refused, and what would allow it.

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode, Version};
use sandlock_policy::{Denied, Malformed, Resolved};
use serde_json::json;

use crate::body::AnswerBody;

/// No rule grants the request.
pub(crate) fn denied(denied: &Denied) -> Response<AnswerBody> {
    let mut body = json!({ "error": "refused by sandlock", "request": denied.to_string() });
    if let Some(hint) = denied.hint(&Resolved::new()) {
        body["allow_with"] = hint.into();
    }
    own(StatusCode::FORBIDDEN, &body)
}

/// The request can be read in two ways. Nothing more is read after it.
pub(crate) fn malformed(malformed: Malformed, version: Version) -> Response<AnswerBody> {
    let status = match malformed {
        Malformed::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    let mut answer =
        own(status, &json!({ "error": "malformed, says sandlock", "why": malformed.to_string() }));
    if version != Version::HTTP_2 {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// The host that it names is not what is at the other end (RFC 9110, 15.5.20).
pub(crate) fn misdirected() -> Response<AnswerBody> {
    let why = "the host that the request names is not where its connection goes";
    own(StatusCode::MISDIRECTED_REQUEST, &json!({ "error": "refused by sandlock", "why": why }))
}

/// The destination did not do its part.
pub(crate) fn upstream_failed(status: StatusCode, why: &str) -> Response<AnswerBody> {
    own(status, &json!({ "error": "sandlock cannot reach the destination", "why": why }))
}

/// There are too many requests already.
pub(crate) fn busy() -> Response<AnswerBody> {
    let why = "too many requests are under way in this run";
    own(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "not forwarded by sandlock", "why": why }))
}

fn own(status: StatusCode, body: &serde_json::Value) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::Own(Some(Bytes::from(format!("{body}\n")))));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
