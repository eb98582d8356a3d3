//! Which ports of its own a run may have: rules, and the decision.

use serde::{Deserialize, Serialize};

use crate::{Allowed, Approval, BindRule, Denied, PortRanges, Protocol, Publish};

/// Ports that are granted to be bound, and what is taken away from them again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BindRules {
    /// What is granted; nothing else is.
    pub allow: Vec<BindRule>,
    /// What is refused, whatever grants it.
    pub deny: Vec<BindRule>,
}

impl BindRules {
    /// All rules.
    pub fn iter(&self) -> impl Iterator<Item = &BindRule> {
        self.allow.iter().chain(&self.deny)
    }
}

/// Who may bind what, ready to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindPolicy {
    tcp: OfProtocol,
    udp: OfProtocol,
}

/// A port of the run's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalPort {
    /// The protocol of its socket.
    pub protocol: Protocol,
    /// The number; 0 is for the kernel to choose.
    pub port: u16,
}

impl BindPolicy {
    /// Combines rules. What is published may be bound as if a rule said so.
    #[must_use]
    pub fn build(rules: &BindRules, published: &[Publish]) -> BindPolicy {
        let of = |protocol| {
            let ports = |rules: &[BindRule]| {
                let mut ports = PortRanges::default();
                rules
                    .iter()
                    .filter(|rule| rule.protocol() == protocol)
                    .for_each(|rule| ports.extend(rule.ports()));
                ports
            };
            let (mut granted, denied) = (ports(&rules.allow), ports(&rules.deny));
            for one in published.iter().filter(|one| one.protocol == protocol) {
                granted.extend(&PortRanges::one(one.virtual_port));
            }
            OfProtocol { allowed: granted.without(&denied), granted, denied }
        };
        BindPolicy { tcp: of(Protocol::Tcp), udp: of(Protocol::Udp) }
    }

    /// Whether a socket may be bound to `port`. To 0 it always may: clients and runtimes probe with it, and for TCP it
    /// is `listen` that makes a server. What ping sockets have is no port.
    ///
    /// # Errors
    /// [`Denied::Bind`].
    pub fn check_bind(&self, protocol: Protocol, port: u16) -> Result<Allowed<LocalPort>, Denied> {
        let of = self.of(protocol);
        if port == 0 || of.is_none_or(|of| of.allowed.contains(port)) {
            return Ok(Allowed::new(LocalPort { protocol, port }));
        }
        Err(Denied::Bind { protocol, port, forbidden: of.is_some_and(|of| of.takes_away(port)) })
    }

    /// Whether a socket that is bound to `port` may listen there; `port` is 0 for one that the kernel will choose a
    /// port for. A port that no rule allows by its number was chosen by the kernel, since it could not be bound
    /// otherwise.
    ///
    /// # Errors
    /// [`Denied::Listen`].
    pub fn check_listen(&self, protocol: Protocol, port: u16) -> Result<Allowed<LocalPort>, Denied> {
        let Some(of) = self.of(protocol) else {
            return Ok(Allowed::new(LocalPort { protocol, port }));
        };
        if of.allowed.contains(port) || (of.allowed.contains(0) && !of.denied.contains(port)) {
            return Ok(Allowed::new(LocalPort { protocol, port }));
        }
        if port != 0 && of.denied.contains(port) {
            return Err(Denied::Listen { protocol, port: Some(port), forbidden: true });
        }
        Err(Denied::Listen { protocol, port: None, forbidden: of.takes_away(0) })
    }

    /// A port that somebody approved to be bound who was asked, whether or not a rule grants it.
    ///
    /// # Errors
    /// [`Denied::Bind`], when a rule denies it.
    pub fn approved_bind(&self, local: LocalPort, _: Approval) -> Result<Allowed<LocalPort>, Denied> {
        let LocalPort { protocol, port } = local;
        // To 0 it is nobody's to deny: see `check_bind`.
        match port != 0 && self.forbids(protocol, port) {
            true => Err(Denied::Bind { protocol, port, forbidden: true }),
            false => Ok(Allowed::new(local)),
        }
    }

    /// The same of a port to listen on; `port` is 0 for one that the kernel will choose.
    ///
    /// # Errors
    /// [`Denied::Listen`], when a rule denies it.
    pub fn approved_listen(&self, local: LocalPort, _: Approval) -> Result<Allowed<LocalPort>, Denied> {
        let LocalPort { protocol, port } = local;
        match self.forbids(protocol, port) {
            true => {
                Err(Denied::Listen { protocol, port: Some(port).filter(|port| *port != 0), forbidden: true })
            }
            false => Ok(Allowed::new(local)),
        }
    }

    /// Whether some rule denies the port: then no approval grants it.
    #[must_use]
    pub fn forbids(&self, protocol: Protocol, port: u16) -> bool {
        self.of(protocol).is_some_and(|of| of.denied.contains(port))
    }

    /// The ports that are allowed, 0 among them if the kernel may choose one to listen on.
    #[must_use]
    pub fn allowed(&self, protocol: Protocol) -> &PortRanges {
        const NONE: &PortRanges = &PortRanges::NONE;
        self.of(protocol).map_or(NONE, |of| &of.allowed)
    }

    /// Whether some rule takes ports away.
    #[must_use]
    pub fn denies(&self, protocol: Protocol) -> bool {
        self.of(protocol).is_some_and(|of| !of.denied.is_empty())
    }

    fn of(&self, protocol: Protocol) -> Option<&OfProtocol> {
        match protocol {
            Protocol::Tcp => Some(&self.tcp),
            Protocol::Udp => Some(&self.udp),
            Protocol::Icmp => None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfProtocol {
    granted: PortRanges,
    denied: PortRanges,
    allowed: PortRanges,
}

impl OfProtocol {
    /// Whether it would be allowed but for a rule that denies it.
    fn takes_away(&self, port: u16) -> bool {
        self.granted.contains(port) && self.denied.contains(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Protocol::{Icmp, Tcp, Udp};

    fn policy(allow: &[&str], deny: &[&str]) -> BindPolicy {
        let parse = |specs: &[&str]| specs.iter().map(|spec| spec.parse().unwrap()).collect();
        BindPolicy::build(&BindRules { allow: parse(allow), deny: parse(deny) }, &[])
    }

    fn bind(policy: &BindPolicy, protocol: Protocol, port: u16) -> Option<bool> {
        match policy.check_bind(protocol, port) {
            Ok(allowed) => {
                assert_eq!(allowed.into_inner(), LocalPort { protocol, port });
                None
            }
            Err(denied) => {
                let Denied::Bind { forbidden, .. } = denied else { panic!("{denied}") };
                assert_eq!(denied, Denied::Bind { protocol, port, forbidden });
                Some(forbidden)
            }
        }
    }

    fn listen(policy: &BindPolicy, port: u16) -> Option<(Option<u16>, bool)> {
        match policy.check_listen(Tcp, port) {
            Ok(_) => None,
            Err(Denied::Listen { protocol: Tcp, port, forbidden }) => Some((port, forbidden)),
            Err(denied) => panic!("{denied}"),
        }
    }

    #[test]
    fn without_rules_only_what_the_kernel_chooses_is_bound_and_nothing_listens() {
        let none = policy(&[], &[]);
        assert_eq!([bind(&none, Tcp, 0), bind(&none, Udp, 0), bind(&none, Icmp, 9)], [None; 3]);
        assert_eq!([bind(&none, Tcp, 80), bind(&none, Udp, 80)], [Some(false); 2]);
        assert_eq!([listen(&none, 0), listen(&none, 40000)], [Some((None, false)); 2]);
    }

    #[test]
    fn rules_are_of_one_protocol_and_a_denial_wins() {
        let policy = policy(&["8000-8099", "udp://5353"], &["8080", "udp://53", "9"]);
        assert_eq!([bind(&policy, Tcp, 8000), bind(&policy, Udp, 5353)], [None; 2]);
        assert_eq!(bind(&policy, Tcp, 8080), Some(true));
        let others = [(Tcp, 5353), (Udp, 8000), (Udp, 53), (Tcp, 9), (Tcp, 8100)];
        assert!(others.into_iter().all(|(protocol, port)| bind(&policy, protocol, port) == Some(false)));
        assert_eq!(listen(&policy, 8099), None);
        assert_eq!(listen(&policy, 8080), Some((Some(8080), true)));
        assert_eq!([listen(&policy, 0), listen(&policy, 40000)], [Some((None, false)); 2]);
    }

    #[test]
    fn an_approval_grants_what_no_rule_does_and_never_what_one_denies() {
        let yes = crate::Verdict::AllowOnce.approval().unwrap();
        let policy = policy(&["8000"], &["8080", "udp://53"]);
        let local = |protocol, port| LocalPort { protocol, port };
        for granted in [local(Tcp, 9000), local(Udp, 5353), local(Tcp, 0), local(Tcp, 8000)] {
            assert_eq!(policy.approved_bind(granted, yes).map(Allowed::into_inner), Ok(granted));
        }
        for (protocol, port) in [(Tcp, 8080), (Udp, 53)] {
            let denied = Denied::Bind { protocol, port, forbidden: true };
            assert_eq!(policy.approved_bind(local(protocol, port), yes), Err(denied));
        }
        assert!(policy.approved_listen(local(Tcp, 0), yes).is_ok());
        let denied = Denied::Listen { protocol: Tcp, port: Some(8080), forbidden: true };
        assert_eq!(policy.approved_listen(local(Tcp, 8080), yes), Err(denied));
        let none_chosen = self::policy(&[], &["0"]);
        assert!(none_chosen.approved_listen(local(Tcp, 0), yes).is_err());
        assert!(none_chosen.approved_bind(local(Tcp, 0), yes).is_ok());
    }

    #[test]
    fn a_port_that_the_kernel_chose_listens_by_a_rule_of_its_own() {
        let automatic = policy(&["0"], &["40000-50000"]);
        assert_eq!([listen(&automatic, 0), listen(&automatic, 39999)], [None; 2]);
        assert_eq!(listen(&automatic, 40000), Some((Some(40000), true)));
        assert_eq!(bind(&automatic, Tcp, 39999), Some(false));
        let none_chosen = policy(&["*"], &["0"]);
        assert_eq!(listen(&none_chosen, 0), Some((None, true)));
        assert_eq!((bind(&none_chosen, Tcp, 0), bind(&none_chosen, Tcp, 80)), (None, None));
        assert!(policy(&["*"], &[]).allowed(Tcp).is_everything());
    }
}
