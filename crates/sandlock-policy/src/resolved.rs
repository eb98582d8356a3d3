//! What the names of the rules stand for now. Filled by whoever asks the resolver; this crate never does.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::address::canonical;
use crate::{Host, NetRule};

/// Names and the addresses that they resolved to, in the order in which they were inserted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    entries: Vec<(String, Vec<IpAddr>)>,
}

impl Resolved {
    /// No names.
    #[must_use]
    pub fn new() -> Resolved {
        Resolved::default()
    }

    /// Records the addresses of `name`, written as [`Host::Name`] has it, and forgets earlier ones. The
    /// addresses become canonical (IPv4-mapped is IPv4, unspecified is loopback) and unique; their order stays.
    pub fn insert(&mut self, name: impl Into<String>, addresses: impl IntoIterator<Item = IpAddr>) {
        let name = name.into();
        let mut seen = HashSet::new();
        let addresses =
            addresses.into_iter().map(canonical).filter(|address| seen.insert(*address)).collect();
        match self.entries.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = addresses,
            None => self.entries.push((name, addresses)),
        }
    }

    /// The addresses of `name`; none when it is not known.
    #[must_use]
    pub fn addresses(&self, name: &str) -> &[IpAddr] {
        self.entries.iter().find(|(known, _)| known == name).map_or(&[], |(_, addresses)| addresses)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// The first name that has `address`.
    #[must_use]
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        let address = canonical(address);
        self.entries.iter().find(|(_, known)| known.contains(&address)).map(|(name, _)| name.as_str())
    }
}

/// The names that `rules` mention, each once and with the first rule that mentions it, in the order of the
/// rules. Names under a domain (`*.example.com`) are not among them: nobody can list those.
#[must_use]
pub fn names_to_resolve(rules: &[NetRule]) -> Vec<(String, &NetRule)> {
    let mut seen = HashSet::new();
    let named = rules.iter().filter_map(|rule| match rule.host() {
        Host::Name(name) => Some((name, rule)),
        _ => None,
    });
    named.filter(|(name, _)| seen.insert(*name)).map(|(name, rule)| (name.clone(), rule)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_canonical_unique_and_in_order() {
        let mut resolved = Resolved::new();
        let given = ["::1", "::ffff:10.0.0.1", "10.0.0.1", "0.0.0.0"].map(|text| text.parse().unwrap());
        resolved.insert("b", given);
        resolved.insert("a", given);
        let expected: [IpAddr; 3] = ["::1", "10.0.0.1", "127.0.0.1"].map(|text| text.parse().unwrap());
        assert_eq!(resolved.addresses("a"), expected);
        assert!(resolved.addresses("c").is_empty());
        assert_eq!(resolved.names().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(resolved.name_of(expected[1]), Some("b"));
        resolved.insert("b", []);
        assert_eq!(resolved.name_of(expected[1]), Some("a"));
    }

    #[test]
    fn each_name_is_listed_once_with_its_first_rule() {
        let rules =
            ["b:1", "1.2.3.4:1", "A:2", ":3", "*.c:4", "udp://a:5", "B:6"].map(|spec| spec.parse().unwrap());
        let names = names_to_resolve(&rules);
        assert_eq!(names, [("b".into(), &rules[0]), ("a".into(), &rules[2])]);
    }
}
