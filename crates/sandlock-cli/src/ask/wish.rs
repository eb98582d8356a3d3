//! What a program wants that is asked about, and the rule that would grant it.

use sandlock_core::{Denied, Destination, Matter, NetRule, Resolved};

/// What a program wants.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Wish {
    /// To reach a destination, which these names stand for.
    Reach(Destination, Vec<String>),
    /// To look a name up.
    LookUp(String),
}

impl Wish {
    /// `None` for what is not asked about.
    pub(crate) fn of(matter: &Matter) -> Option<Wish> {
        match matter {
            Matter::Destination { destination, names, .. } => Some(Wish::Reach(*destination, names.clone())),
            Matter::Name { name } => Some(Wish::LookUp(name.clone())),
            _ => None,
        }
    }

    /// The network rule that grants it; by name, where one is known. None for looking up.
    pub(crate) fn rule(&self) -> Option<NetRule> {
        let Wish::Reach(destination, names) = self else {
            return None;
        };
        let mut known = Resolved::new();
        names.iter().take(1).for_each(|name| known.insert(name, [destination.address()]));
        let hint = Denied::Destination(*destination).hint(&known)?;
        hint.strip_prefix("--net-allow ")?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandlock_core::Protocol;

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
    }
}
