//! Which mechanism enforces which rule.

use std::fmt;

use sandlock_policy::{Host, Ports, Protocol};

use crate::Plan;

/// One rule and what enforces it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// The rule, as a flag or in words.
    pub rule: String,
    /// What enforces it.
    pub mechanisms: Vec<Mechanism>,
    /// What a name resolved to.
    pub addresses: Vec<std::net::IpAddr>,
}

/// A mechanism of enforcement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Mechanism {
    /// Landlock, by TCP port.
    LandlockPorts,
    /// The seccomp filter, by the kind of socket.
    Filter,
    /// The supervisor performs the call after its check.
    Supervisor,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mechanism::LandlockPorts => "Landlock (port)",
            Mechanism::Filter => "seccomp filter (kind of socket)",
            Mechanism::Supervisor => "supervisor (address)",
        })
    }
}

impl Plan {
    /// Each network rule, and what enforces it on this machine.
    #[must_use]
    pub fn explain_network(&self) -> Vec<Explanation> {
        self.policy
            .network
            .iter()
            .map(|rule| {
                let mut mechanisms = vec![Mechanism::Filter];
                let any_host = rule.host() == &Host::Any;
                if rule.protocol() == Protocol::Tcp {
                    if self.kernel.landlock >= 4 && rule.ports() != &Ports::Any {
                        mechanisms.push(Mechanism::LandlockPorts);
                    }
                    if self.needs.supervised {
                        mechanisms.push(Mechanism::Supervisor);
                    }
                } else if !(any_host && matches!(rule.ports(), Ports::Any)) && self.needs.supervised {
                    mechanisms.push(Mechanism::Supervisor);
                }
                let addresses = match rule.host() {
                    Host::Name(name) => self.network.names().addresses(name).to_vec(),
                    _ => Vec::new(),
                };
                Explanation { rule: format!("--net-allow {rule}"), mechanisms, addresses }
            })
            .collect()
    }

    /// The rows of the system call table that are not simply allowed: name, what happens, why.
    pub fn explain_calls(&self) -> impl Iterator<Item = (&'static str, String, &'static str)> + '_ {
        use sandlock_filter::{Action, Rule};
        self.table.rows().filter(|row| row.rule != Rule::Always(Action::Allow)).map(|row| {
            let what = match &row.rule {
                Rule::Always(action) => action.to_string(),
                Rule::ByArguments { otherwise, .. } => format!("by its registers, else {otherwise}"),
            };
            (row.name, what, row.why)
        })
    }
}
