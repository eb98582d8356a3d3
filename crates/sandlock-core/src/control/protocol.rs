//! What is said at a control socket: one JSON object a line, described in `docs/control.md`.

use sandlock_policy::NetRule;
use sandlock_supervisor::message::PortMapping;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Record;

/// The version of the protocol and of the records.
pub const VERSION: u32 = 1;

/// What a run can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Request {
    /// All that is known of the run.
    Policy,
    /// The ports that are others inside than outside.
    Ports,
    /// Tell from now on what happens: an [`Entry`](crate::Entry) a line.
    Events,
    /// Grant the traffic of one more rule; answered when that is so.
    Allow {
        /// The rule.
        rule: NetRule,
    },
    /// Refuse the traffic of one more rule, whatever grants it; answered when that is so.
    Deny {
        /// The rule.
        rule: NetRule,
        /// Whether connections end that the rules do not grant any more.
        #[serde(default)]
        cut: bool,
    },
    /// Stop every process of the run; answered when they are.
    Pause,
    /// Let them go on.
    Resume,
    /// End the run; answered when nothing of it is left.
    Kill,
}

/// What a run answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// To [`Request::Policy`].
    Policy {
        /// The record.
        run: Box<Record>,
    },
    /// To [`Request::Ports`].
    Ports {
        /// The ports.
        ports: Vec<PortMapping>,
    },
    /// To [`Request::Events`]: what happens is told from here on.
    Events,
    /// To [`Request::Allow`] and [`Request::Deny`]: every later check goes by it.
    Changed,
    /// To [`Request::Pause`].
    Paused,
    /// To [`Request::Resume`].
    Resumed,
    /// To [`Request::Kill`]: the whole tree is gone.
    Killed,
    /// To what is no request, or cannot be granted.
    Error {
        /// Why.
        error: String,
    },
}

/// Reads a line: what is asked, and the `id` that the answer is to have.
///
/// # Errors
///
/// What is wrong, in words.
pub(super) fn read(line: &[u8]) -> Result<(Request, Option<Value>), String> {
    let mut value: Value = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    let object = value.as_object_mut().ok_or("not an object")?;
    match object.remove("version").as_ref().and_then(Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => return Err(format!("version {version} is not spoken here, but {VERSION}")),
        None => return Err("no version".to_owned()),
    }
    let id = object.remove("id");
    serde_json::from_value(value).map(|request| (request, id)).map_err(|error| error.to_string())
}

/// The line of an answer.
pub(super) fn written(answer: &Answer, id: Option<&Value>) -> Vec<u8> {
    line(
        serde_json::to_value(answer)
            .unwrap_or_else(|error| json!({ "answer": "error", "error": error.to_string() })),
        id,
    )
}

/// The line of a request.
pub(super) fn asked(request: &Request) -> Vec<u8> {
    line(serde_json::to_value(request).unwrap_or_default(), None)
}

fn line(mut value: Value, id: Option<&Value>) -> Vec<u8> {
    if let Some(object) = value.as_object_mut() {
        object.insert("version".to_owned(), VERSION.into());
        if let Some(id) = id {
            object.insert("id".to_owned(), id.clone());
        }
    }
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_version_and_may_have_an_id() {
        let asked = |text: &str| read(text.as_bytes());
        assert_eq!(asked(r#"{"version":1,"request":"kill"}"#), Ok((Request::Kill, None)));
        let id = Some(json!([1, "x"]));
        assert_eq!(asked(r#"{"id":[1,"x"],"request":"policy","version":1}"#), Ok((Request::Policy, id)));
        for wrong in [
            "",
            "{",
            "[]",
            "null",
            r#"{"request":"kill"}"#,
            r#"{"version":2,"request":"kill"}"#,
            r#"{"version":"1","request":"kill"}"#,
            r#"{"version":1}"#,
            r#"{"version":1,"request":"explode"}"#,
            r#"{"version":1,"request":["kill"]}"#,
        ] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
        assert!(read(b"{\"version\":1,\"request\":\"kill\"\xff}").is_err());
    }

    #[test]
    fn an_answer_is_one_line() {
        let answer = Answer::Error { error: "two\nlines".to_owned() };
        let bytes = written(&answer, Some(&json!(7)));
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value, json!({ "answer": "error", "error": "two\nlines", "id": 7, "version": 1 }));
        assert_eq!(serde_json::from_value::<Answer>(value).unwrap(), answer);
    }
}
