//! What a program wants that is asked about, and the rule that would grant it.

use std::fmt;

use sandlock_core::{BindRule, Denied, Destination, LocalPort, Matter, NetRule, Protocol, Resolved};

/// What a program wants.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Wish {
    /// To reach a destination, which these names stand for.
    Reach(Destination, Vec<String>),
    /// To look a name up.
    LookUp(String),
    /// To have a port of its own.
    Bind(LocalPort),
    /// To listen on a port that the kernel chooses.
    Listen(Protocol),
}

/// The rule that grants a wish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Grant {
    Net(NetRule),
    Bind(BindRule),
}

impl Wish {
    /// `None` for what is not asked about.
    pub(crate) fn of(matter: &Matter) -> Option<Wish> {
        match matter {
            Matter::Destination { destination, names, .. } => Some(Wish::Reach(*destination, names.clone())),
            Matter::Name { name } => Some(Wish::LookUp(name.clone())),
            Matter::Bind { protocol, port, .. } => {
                Some(Wish::Bind(LocalPort { protocol: *protocol, port: *port }))
            }
            Matter::Listen { protocol, .. } => Some(Wish::Listen(*protocol)),
            _ => None,
        }
    }

    /// The rule that grants it; by name, where one is known. None for looking up.
    pub(crate) fn rule(&self) -> Option<Grant> {
        match self {
            Wish::Reach(destination, names) => {
                let mut known = Resolved::new();
                names.iter().take(1).for_each(|name| known.insert(name, [destination.address()]));
                let hint = Denied::Destination(*destination).hint(&known)?;
                Some(Grant::Net(hint.strip_prefix("--net-allow ")?.parse().ok()?))
            }
            Wish::LookUp(_) => None,
            Wish::Bind(LocalPort { protocol, port }) => Some(Grant::Bind(port_rule(*protocol, *port)?)),
            Wish::Listen(protocol) => Some(Grant::Bind(port_rule(*protocol, 0)?)),
        }
    }
}

fn port_rule(protocol: Protocol, port: u16) -> Option<BindRule> {
    format!("{protocol}://{port}").parse().ok()
}

impl Grant {
    /// The flag that gives it.
    pub(crate) fn flag(&self) -> &'static str {
        match self {
            Grant::Net(_) => "--net-allow",
            Grant::Bind(_) => "--net-allow-bind",
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grant::Net(rule) => rule.fmt(f),
            Grant::Bind(rule) => rule.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_a_wish_is_the_narrowest_that_grants_it() {
        let to = |protocol, address: &str, port, names: &[&str]| {
            let destination = Destination::new(protocol, address.parse().unwrap(), port);
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Wish::Reach(destination, names).rule().unwrap().to_string()
        };
        assert_eq!(to(Protocol::Tcp, "10.0.0.1", 80, &[]), "10.0.0.1:80");
        assert_eq!(to(Protocol::Tcp, "10.0.0.1", 80, &["a.test", "b.test"]), "a.test:80");
        assert_eq!(to(Protocol::Udp, "::1", 53, &[]), "udp://[::1]:53");
        assert_eq!(to(Protocol::Icmp, "10.0.0.1", 0, &[]), "icmp://10.0.0.1");
        assert_eq!(Wish::LookUp("a.test".into()).rule(), None);
        let port = |protocol, port| {
            let rule = Wish::Bind(LocalPort { protocol, port }).rule().unwrap();
            format!("{} {rule}", rule.flag())
        };
        assert_eq!(port(Protocol::Tcp, 8080), "--net-allow-bind 8080");
        assert_eq!(port(Protocol::Udp, 53), "--net-allow-bind udp://53");
        assert_eq!(Wish::Listen(Protocol::Tcp).rule().unwrap().to_string(), "0");
    }
}
