//! An entry: what happened, when, and in which run.

use std::net::IpAddr;
use std::time::Duration;

use sandlock_policy::{Denied, Destination, Protocol};
use serde::{Deserialize, Serialize};

use crate::{Ending, Event};

/// An entry. Its text may be what a program chose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// That of the schema.
    pub version: u32,
    /// In seconds since 1970.
    pub time: f64,
    /// The name of the run.
    pub run: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// The command was executed.
    Started {
        /// Its process.
        pid: i32,
        /// The command and its arguments.
        command: Vec<String>,
    },
    /// The policy refused something.
    Denied {
        /// The process that wanted it, if known.
        pid: Option<i32>,
        /// What that executes, if known.
        exe: Option<String>,
        /// What it wanted, in words that are safe to print.
        what: String,
        /// Where traffic was to go.
        destination: Option<To>,
        /// `denied`.
        verdict: String,
        /// The rule that refuses, if one does. Else it is that none grants.
        rule: Option<String>,
        /// The flag that would allow it.
        hint: Option<String>,
    },
    /// The rules of the run were changed.
    Rule {
        /// `allow` or `deny`.
        verdict: String,
        /// The rule.
        rule: String,
    },
    /// Every process was stopped.
    Paused,
    /// They go on.
    Resumed,
    /// A name could not be asked for again.
    NotRefreshed {
        /// The name.
        name: String,
        /// Why.
        why: String,
    },
    /// The server of an allowed request did not do its part.
    UpstreamFailed {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// The reader, or the launcher, did not keep up with so many entries.
    Dropped {
        /// How many.
        count: u64,
    },
    /// The run is over.
    Ended {
        /// How the command ended.
        ending: Ending,
    },
}

/// Where traffic was to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct To {
    /// TCP, UDP or ICMP.
    pub protocol: Protocol,
    /// The address.
    pub address: IpAddr,
    /// The port; 0 for ICMP.
    pub port: u16,
}

impl Entry {
    pub(super) fn new(time: Duration, run: String, what: What) -> Entry {
        // Microseconds are what a double holds of such a time.
        let time = time.as_micros() as f64 / 1e6;
        Entry { version: VERSION, time, run, what }
    }

    /// Its line.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

impl What {
    /// What is told to who waits for the run, but for what has more to say.
    pub(crate) fn of(event: &Event) -> Option<What> {
        match event {
            Event::NotRefreshed { name, why } => {
                Some(What::NotRefreshed { name: name.clone(), why: why.clone() })
            }
            Event::UpstreamFailed { host, why } => {
                Some(What::UpstreamFailed { host: host.clone(), why: why.clone() })
            }
            Event::Started(_) | Event::Denied(_) => None,
        }
    }

    pub(super) fn denied(
        denied: &Denied,
        rule: Option<String>,
        hint: Option<String>,
        pid: Option<i32>,
        exe: Option<String>,
    ) -> What {
        let destination = match denied {
            Denied::Destination(to)
            | Denied::Forbidden(to)
            | Denied::Declined(to)
            | Denied::Unanswered(to)
            | Denied::Quic(to)
            | Denied::HttpMalformed { destination: to, .. } => Some(To::from(*to)),
            _ => None,
        };
        let verdict = "denied".to_owned();
        What::Denied { pid, exe, what: denied.to_string(), destination, verdict, rule, hint }
    }
}

impl From<Destination> for To {
    fn from(to: Destination) -> To {
        To { protocol: to.protocol(), address: to.address(), port: to.port() }
    }
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_of_the_documented_fields() {
        let to = Destination::new(Protocol::Tcp, "192.0.2.1".parse().unwrap(), 80);
        let exe = Some("/tmp/a\nb".to_owned());
        let what = What::denied(&Denied::Destination(to), None, Some("--net-allow x".into()), Some(7), exe);
        let entry = Entry::new(Duration::from_micros(1_767_225_600_123_456), "npm".to_owned(), what);
        let line = entry.line();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let expected = serde_json::json!({
            "version": 1, "time": 1_767_225_600.123_456, "run": "npm", "event": "denied", "pid": 7, "exe": "/tmp/a\nb",
            "what": "tcp 192.0.2.1:80", "destination": { "protocol": "tcp", "address": "192.0.2.1", "port": 80 },
            "verdict": "denied", "rule": null, "hint": "--net-allow x",
        });
        assert_eq!(value, expected);
        assert_eq!(serde_json::from_value::<Entry>(value).unwrap(), entry);
    }
}
