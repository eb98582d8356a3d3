//! Which mechanism enforces which rule.

use std::ffi::OsStr;
use std::fmt;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sandlock_filter::{Action, Errno, Rule};
use sandlock_policy::{Host, HttpRule, HttpRules, KernelPorts, NetRule, Ports, ProcessRules, Protocol};

use crate::http::Planned;
use crate::{Event, Plan};

/// One rule and what enforces it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// The rule, as a flag or in words.
    pub rule: String,
    /// What enforces it.
    pub mechanisms: Vec<Mechanism>,
    /// What a name resolved to.
    pub addresses: Vec<IpAddr>,
    /// How programs find out what a name stands for.
    pub served_by: Vec<Mechanism>,
    /// Until when that is known to be true; `None` for what has no name, and where it is not asked for again.
    pub fresh_until: Option<SystemTime>,
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
    /// The supervisor lets a port be bound, and listened on, after its check.
    SupervisorOfPorts,
    /// The run's own proxy, to which connections are led.
    Proxy,
    /// Programs find the name in the `/etc/hosts` that they are served.
    HostsFile,
    /// Programs ask the run's own resolver, and what it answers is allowed before they see it.
    Resolver,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mechanism::LandlockPorts => "Landlock (port)",
            Mechanism::Filter => "seccomp filter (kind of socket)",
            Mechanism::Supervisor => "supervisor (address)",
            Mechanism::SupervisorOfPorts => "supervisor (port)",
            Mechanism::Proxy => "a proxy of the run's own (request)",
            Mechanism::HostsFile => "/etc/hosts",
            Mechanism::Resolver => "a resolver of the run's own",
        })
    }
}

impl Plan {
    /// Each network rule, and what enforces it on this machine: what is allowed, then what is denied.
    #[must_use]
    pub fn explain_network(&self) -> Vec<Explanation> {
        let rules = &self.policy.network;
        let allowed = rules.allow.iter().map(|rule| self.explain_rule("--net-allow", rule));
        // What the kernel lets through is narrowed by nobody but the supervisor.
        let denied = rules.deny.iter().map(|rule| Explanation {
            mechanisms: vec![Mechanism::Supervisor],
            served_by: Vec::new(),
            ..self.explain_rule("--net-deny", rule)
        });
        let of_processes = self.policy.processes.iter().flat_map(|one| self.explain_process(one));
        allowed.chain(denied).chain(of_processes).collect()
    }

    /// What is enforced for some processes only the supervisor tells apart.
    fn explain_process(&self, process: &ProcessRules) -> Vec<Explanation> {
        let allowed = process.network.allow.iter().map(|rule| self.explain_rule("", rule));
        let denied = process.network.deny.iter().map(|rule| Explanation {
            mechanisms: vec![Mechanism::Supervisor],
            served_by: Vec::new(),
            ..self.explain_rule("", rule)
        });
        let explained = allowed.chain(denied).zip(process.written());
        explained.map(|(explained, rule)| Explanation { rule, ..explained }).collect()
    }

    /// Each HTTP rule, and what enforces it on this machine: what is allowed, then what is denied.
    #[must_use]
    pub fn explain_http(&self) -> Vec<Explanation> {
        let rules = &self.policy.http;
        let flags = rules.allow.iter().map(|rule| (rule, "--http-allow"));
        let flags = flags.chain(rules.deny.iter().map(|rule| (rule, "--http-deny")));
        flags.map(|(rule, flag)| self.explain_http_rule(flag, rule)).collect()
    }

    fn explain_http_rule(&self, flag: &str, rule: &HttpRule) -> Explanation {
        let alone = HttpRules { allow: vec![rule.clone()], deny: Vec::new() };
        // What a rule that allows opens in the network is enforced as any network rule is.
        let opened = alone.network_rules().into_iter().next().filter(|_| flag == "--http-allow");
        let mut explanation = match opened {
            Some(opened) => self.explain_rule(flag, &opened),
            None => Explanation {
                rule: String::new(),
                mechanisms: vec![Mechanism::Supervisor],
                addresses: Vec::new(),
                served_by: Vec::new(),
                fresh_until: None,
            },
        };
        explanation.mechanisms.push(Mechanism::Proxy);
        Explanation { rule: format!("{flag} \"{rule}\""), ..explanation }
    }

    /// Whether `/proc` shows the sandbox's own processes and sockets, and no others.
    #[must_use]
    pub fn has_own_proc(&self) -> bool {
        self.needs.own_proc
    }

    /// Whether requests inside of TLS are seen.
    #[must_use]
    pub fn looks_into_tls(&self) -> bool {
        self.http.as_ref().is_some_and(Planned::looks_into_tls)
    }

    /// The trust stores that the command is served with one more certificate in them, by every path that they have.
    pub fn trust_stores(&self) -> impl Iterator<Item = &Path> {
        self.served.iter().map(|served| served.path.as_path())
    }

    /// Answers for names that are not taken, and what else there is to say of how the names resolved.
    #[must_use]
    pub fn names_happened(&self) -> Vec<Event> {
        let happened = self.names.iter().flat_map(|planned| &planned.resolution.happened);
        happened.cloned().filter_map(Event::of).collect()
    }

    fn explain_rule(&self, flag: &str, rule: &NetRule) -> Explanation {
        let mut mechanisms = vec![Mechanism::Filter];
        let any_host = rule.host() == &Host::Any;
        if rule.protocol() == Protocol::Tcp {
            // One rule with any port, and Landlock has no say on ports at all.
            // Nor where the run's own sockets may be at any, or where rules may change: it cannot be widened.
            if self.kernel.landlock >= 4
                && !self.needs.port_space
                && !self.adjustable
                && self.network.kernel_tcp_ports() != KernelPorts::Any
            {
                mechanisms.push(Mechanism::LandlockPorts);
            }
            if self.needs.supervised {
                mechanisms.push(Mechanism::Supervisor);
            }
        } else if self.needs.supervised
            && (!(any_host && matches!(rule.ports(), Ports::Any)) || self.network.restricts(rule.protocol()))
        {
            mechanisms.push(Mechanism::Supervisor);
        }
        let mut served_by = Vec::new();
        let (addresses, fresh_until) = match rule.host() {
            Host::Name(name) => {
                served_by.push(Mechanism::HostsFile);
                let fresh_until = self.names.as_ref().and_then(|planned| planned.fresh_until(name));
                (self.network.names().addresses(name).to_vec(), fresh_until)
            }
            _ => (Vec::new(), None),
        };
        if self.network.resolver().is_some() && matches!(rule.host(), Host::Name(_) | Host::Subdomains(_)) {
            served_by.push(Mechanism::Resolver);
        }
        Explanation { rule: format!("{flag} {rule}"), mechanisms, addresses, fresh_until, served_by }
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
