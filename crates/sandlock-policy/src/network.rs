//! The rules and the addresses of their names, combined into what a check consults.

use crate::{Allowed, Allowlist, Denied, Destination, Host, KernelPorts, NetRule, Ports, Protocol, Resolved};

/// What the network rules of a run grant. The default grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    tcp: Allowlist,
    udp: Allowlist,
    icmp: Allowlist,
    kernel_tcp_ports: KernelPorts,
    names: Resolved,
}

impl NetworkPolicy {
    /// Combines `rules` with what their names resolved to.
    ///
    /// # Errors
    /// [`BuildError::Subdomains`] for a `*.domain` rule, [`BuildError::Unresolved`] for a name to which
    /// `resolved` gives no address.
    pub fn build(rules: &[NetRule], resolved: &Resolved) -> Result<NetworkPolicy, BuildError> {
        let mut policy = NetworkPolicy { names: resolved.clone(), ..NetworkPolicy::default() };
        for rule in rules {
            policy.grant(rule)?;
        }
        Ok(policy)
    }

    /// Whether traffic to `destination` is allowed.
    ///
    /// # Errors
    /// [`Denied::Destination`] when no rule grants it.
    pub fn check(&self, destination: Destination) -> Result<Allowed<Destination>, Denied> {
        if self.allowlist(destination.protocol()).allows(destination.address(), destination.port()) {
            Ok(Allowed::new(destination))
        } else {
            Err(Denied::Destination(destination))
        }
    }

    /// What one protocol may reach.
    #[must_use]
    pub fn allowlist(&self, protocol: Protocol) -> &Allowlist {
        match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
            Protocol::Icmp => &self.icmp,
        }
    }

    /// The ports of all TCP rules together, without their addresses: what a kernel that knows only ports can
    /// be told. [`KernelPorts::Any`] when some TCP rule grants any port.
    #[must_use]
    pub fn kernel_tcp_ports(&self) -> KernelPorts {
        self.kernel_tcp_ports.clone()
    }

    /// Whether some rule is of this protocol.
    #[must_use]
    pub fn uses(&self, protocol: Protocol) -> bool {
        // A rule always grants something: a name without an address does not build.
        !self.allowlist(protocol).is_none()
    }

    /// Whether the protocol is used and not everything is allowed: its destinations have to be looked at.
    #[must_use]
    pub fn restricts(&self, protocol: Protocol) -> bool {
        self.uses(protocol) && !self.allowlist(protocol).is_everything()
    }

    /// The names and addresses that it was built from.
    #[must_use]
    pub fn names(&self) -> &Resolved {
        &self.names
    }

    fn grant(&mut self, rule: &NetRule) -> Result<(), BuildError> {
        let (list, ports) = match rule.protocol() {
            Protocol::Tcp => (&mut self.tcp, rule.ports()),
            Protocol::Udp => (&mut self.udp, rule.ports()),
            Protocol::Icmp => (&mut self.icmp, &Ports::Any),
        };
        match rule.host() {
            Host::Any => list.grant_any(ports),
            Host::Range(range) => list.grant_range(*range, ports),
            Host::Subdomains(_) => return Err(BuildError::Subdomains { rule: Box::new(rule.clone()) }),
            Host::Name(name) => {
                let addresses = self.names.addresses(name);
                if addresses.is_empty() {
                    return Err(BuildError::Unresolved { rule: Box::new(rule.clone()), name: name.clone() });
                }
                addresses.iter().for_each(|address| list.grant_address(*address, ports));
            }
        }
        if rule.protocol() == Protocol::Tcp {
            self.kernel_tcp_ports.extend(ports);
        }
        Ok(())
    }
}

/// Why rules could not be combined. Each names the rule as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A rule for the names under a domain.
    #[error("{}: names under a domain are not supported yet", rule.written())]
    Subdomains {
        /// The rule.
        rule: Box<NetRule>,
    },
    /// A rule for a name that was given no address.
    #[error("{}: the name {name} has no address", rule.written())]
    Unresolved {
        /// The first rule that mentions the name.
        rule: Box<NetRule>,
        /// The name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(specs: &[&str]) -> Result<NetworkPolicy, BuildError> {
        let rules: Vec<NetRule> = specs.iter().map(|spec| spec.parse().unwrap()).collect();
        NetworkPolicy::build(&rules, &Resolved::new())
    }

    #[test]
    fn rules_that_cannot_be_kept_do_not_build() {
        let error = build(&[":80", "*.Example.com:443"]).unwrap_err();
        let text = r#"--net-allow "*.Example.com:443": names under a domain are not supported yet"#;
        assert_eq!(error.to_string(), text);
        let error = build(&["api.test:443"]).unwrap_err();
        assert_eq!(error.to_string(), r#"--net-allow "api.test:443": the name api.test has no address"#);
    }

    #[test]
    fn the_kernel_is_told_the_ports_of_tcp_rules_alone() {
        let ports = |specs: &[&str]| build(specs).unwrap().kernel_tcp_ports();
        assert_eq!(ports(&[]), KernelPorts::Only([].into()));
        assert_eq!(ports(&["1.1.1.1:80", ":22", "udp://*:53"]), KernelPorts::Only([22, 80].into()));
        assert_eq!(ports(&["udp://*:*", "icmp://*"]), KernelPorts::Only([].into()));
        assert_eq!(ports(&["1.1.1.1:80", "10.0.0.0/8:*"]), KernelPorts::Any);
    }

    #[test]
    fn a_protocol_restricts_when_it_is_used_for_less_than_everything() {
        let policy = build(&["1.1.1.1:80", "udp://*:*"]).unwrap();
        let of = |protocol| (policy.uses(protocol), policy.restricts(protocol));
        assert_eq!(of(Protocol::Tcp), (true, true));
        assert_eq!(of(Protocol::Udp), (true, false));
        assert_eq!(of(Protocol::Icmp), (false, false));
    }

    #[test]
    fn a_rule_for_the_unspecified_address_is_a_rule_for_loopback() {
        let policy = build(&["0.0.0.0:80", "[::]:81"]).unwrap();
        assert_eq!(policy.allowlist(Protocol::Tcp).to_string(), "127.0.0.1:80 [::1]:81");
        let to = |address: &str, port| Destination::new(Protocol::Tcp, address.parse().unwrap(), port);
        assert!(policy.check(to("0.0.0.0", 80)).is_ok());
        assert!(policy.check(to("::ffff:127.0.0.1", 80)).is_ok());
        assert_eq!(policy.check(to("::1", 80)), Err(Denied::Destination(to("::", 80))));
    }
}
