//! What happened in a run, as entries for those who read along: one JSON object each, of the schema in
//! `docs/reference.md`.

mod entry;
mod log;

use std::sync::Arc;
use std::time::SystemTime;

use sandlock_policy::{Denied, Destination, NetworkPolicy, NetworkRules, Resolved};
use sandlock_supervisor::message::Who;

pub use entry::{Entry, What};
pub use log::Log;

/// Makes entries of what happens.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// That of the run.
    pub(crate) name: String,
    /// The network rules now, to tell which one refuses.
    pub(crate) rules: Arc<NetworkRules>,
}

impl Journal {
    pub(crate) fn entry(&self, what: What) -> Entry {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Entry::new(time, self.name.clone(), what)
    }

    /// A refusal.
    pub(crate) fn denied(&self, denied: &Denied, who: Option<Who>, names: &Resolved) -> What {
        let rule = match denied {
            Denied::Forbidden(destination) => self.forbids(*destination, names),
            _ => None,
        };
        let (pid, exe) = who.map_or((None, None), |who| (Some(who.pid), who.exe));
        What::denied(denied, rule, denied.hint(names), pid, exe)
    }

    /// The first rule that takes a destination away.
    fn forbids(&self, destination: Destination, names: &Resolved) -> Option<String> {
        let alone = |rule: &sandlock_policy::NetRule| {
            let rules = NetworkRules { allow: Vec::new(), deny: vec![rule.clone()] };
            NetworkPolicy::build(rules, names.clone()).forbids(destination)
        };
        self.rules.deny.iter().find(|rule| alone(rule)).map(|rule| format!("--net-deny {rule}"))
    }
}
