//! Which mechanism enforces which rule.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sandlock_filter::{Action, Errno, Rule};
use sandlock_policy::{Host, KernelPorts, Ports, Protocol};

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
            .allow
            .iter()
            .map(|rule| {
                let mut mechanisms = vec![Mechanism::Filter];
                let any_host = rule.host() == &Host::Any;
                if rule.protocol() == Protocol::Tcp {
                    // One rule with any port, and Landlock has no say on ports at all.
                    if self.kernel.landlock >= 4 && self.network.kernel_tcp_ports() != KernelPorts::Any {
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

    /// The rows of the system call table: name, what happens, why. A call without one answers ENOSYS.
    pub fn explain_calls(&self) -> impl Iterator<Item = (&'static str, String, &'static str)> + '_ {
        self.table.rows().map(|row| (row.name, in_words(&row.rule), row.why))
    }

    /// The file that the command is.
    #[must_use]
    pub fn program(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.program.as_bytes()))
    }

    /// Where the command starts.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        let given = self.directory.as_deref().map(|path| Path::new(OsStr::from_bytes(path.to_bytes())));
        let current = std::env::current_dir().unwrap_or_default();
        given.map_or_else(|| current.clone(), |given| current.join(given))
    }
}

fn in_words(rule: &Rule) -> String {
    let mut actions: Vec<_> = rule.actions().collect();
    let Some(last) = actions.pop() else {
        return String::new();
    };
    let mut others: Vec<String> = Vec::new();
    for action in actions.into_iter().filter(|action| *action != last).map(outcome) {
        if !others.contains(&action) {
            others.push(action);
        }
    }
    match others.is_empty() {
        true => outcome(last),
        false => format!("{}; by registers {}", outcome(last), others.join(", ")),
    }
}

fn outcome(action: Action) -> String {
    match action {
        Action::Errno(Errno(number)) => match ERRNOS.iter().find(|(known, _)| *known == number) {
            Some((_, name)) => (*name).to_owned(),
            None => action.to_string(),
        },
        _ => action.to_string(),
    }
}

/// The numbers that the table answers; they are the same on every architecture that sandlock knows.
const ERRNOS: [(u16, &str); 11] = [
    (0, "nothing, reported as success"),
    (1, "EPERM"),
    (2, "ENOENT"),
    (7, "E2BIG"),
    (13, "EACCES"),
    (22, "EINVAL"),
    (38, "ENOSYS"),
    (92, "ENOPROTOOPT"),
    (93, "EPROTONOSUPPORT"),
    (95, "EOPNOTSUPP"),
    (97, "EAFNOSUPPORT"),
];
