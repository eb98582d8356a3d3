//! What is to be known of a run while it lasts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use sandlock_policy::{Policy, Resolved};
use sandlock_supervisor::message::PortMapping;
use sandlock_sys::process_stat::start_time;
use serde::{Deserialize, Serialize};

use super::VERSION;

/// What is to be known of a run. Its text may be what a program chose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// That of the protocol.
    pub version: u32,
    /// The name of the run.
    pub name: String,
    /// The process that launched it, and ends it when asked.
    pub pid: i32,
    /// When that process was started, in the kernel's ticks since the machine was: `proc_pid_stat(5)`.
    pub start_time: u64,
    /// Whether that process does nothing else.
    pub of_a_command: bool,
    /// The command's own process.
    pub command_pid: i32,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// When it was started, in seconds since 1970.
    pub started: u64,
    /// What it may do; `None` if JSON cannot say it, since a path in it is not text.
    pub policy: Option<Policy>,
    /// What the names in it stand for.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Whether its rules may change while it lasts.
    #[serde(default)]
    pub adjustable: bool,
    /// Whether every process of it is stopped.
    #[serde(default)]
    pub paused: bool,
    /// The ports of a port space of its own.
    pub ports: Vec<PortMapping>,
}

impl Record {
    pub(super) fn new(name: String, command: &[std::ffi::OsString], policy: &Policy) -> Record {
        let pid = std::process::id() as i32;
        Record {
            version: VERSION,
            name,
            pid,
            start_time: start_time(pid).unwrap_or_default(),
            of_a_command: false,
            command_pid: 0,
            command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            started: now().as_secs(),
            policy: serde_json::to_value(policy).is_ok().then(|| policy.clone()),
            names: BTreeMap::new(),
            adjustable: false,
            paused: false,
            ports: Vec::new(),
        }
    }

    /// Takes over what names stand for. Says whether that is anything new.
    pub(super) fn know(&mut self, known: &Resolved) -> bool {
        let names: BTreeMap<_, Vec<_>> =
            known.names().map(|name| (name.to_owned(), known.addresses(name).to_vec())).collect();
        let news = names != self.names;
        self.names = names;
        news
    }

    /// How long it has been running.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        Duration::from_secs(now().as_secs().saturating_sub(self.started))
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
