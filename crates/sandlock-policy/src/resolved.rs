//! What the names of the rules stand for now. Filled by whoever asks the resolver; this crate never does.

use std::collections::HashSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::canonical;
use crate::{Host, NetRule};

/// Names and the addresses that they stand for, in the order in which they were inserted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    entries: Vec<NameState>,
}

/// All that is known of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameState {
    /// The name, written as [`Host::Name`] has it.
    pub name: String,
    /// What it stands for now: what programs are told, and may reach.
    pub current: Vec<IpAddr>,
    /// What it stood for a while ago: programs that were told then may still reach it.
    pub retiring: Vec<IpAddr>,
}

impl NameState {
    /// The addresses that a rule for the name speaks of.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.current.iter().chain(&self.retiring).copied()
    }

    fn is_empty(&self) -> bool {
        self.current.is_empty() && self.retiring.is_empty()
    }
}

impl Resolved {
    /// No names.
    #[must_use]
    pub fn new() -> Resolved {
        Resolved::default()
    }

    /// Records what `name` stands for now, and forgets what it stood for.
    pub fn insert(&mut self, name: impl Into<String>, addresses: impl IntoIterator<Item = IpAddr>) {
        let (name, current) = (name.into(), addresses.into_iter().collect());
        self.set(NameState { name, current, retiring: Vec::new() });
    }

    /// Replaces all that is known of a name. The addresses become canonical (IPv4-mapped is IPv4, unspecified is
    /// loopback) and unique; their order stays. A name without any address is forgotten.
    pub fn set(&mut self, state: NameState) {
        let mut seen = HashSet::new();
        let mut unique = |addresses: Vec<IpAddr>| {
            addresses.into_iter().map(canonical).filter(|address| seen.insert(*address)).collect()
        };
        let NameState { name, current, retiring } = state;
        let state = NameState { current: unique(current), retiring: unique(retiring), name };
        let known = self.entries.iter().position(|known| known.name == state.name);
        match (known, state.is_empty()) {
            (Some(index), true) => drop(self.entries.remove(index)),
            (Some(index), false) => self.entries[index] = state,
            (None, true) => {}
            (None, false) => self.entries.push(state),
        }
    }

    /// The addresses that `name` stands for now; none when it is not known.
    #[must_use]
    pub fn addresses(&self, name: &str) -> &[IpAddr] {
        self.state(name).map_or(&[], |state| &state.current)
    }

    /// All that is known of `name`.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<&NameState> {
        self.entries.iter().find(|known| known.name == name)
    }

    /// All that is known, in order.
    pub fn states(&self) -> impl Iterator<Item = &NameState> {
        self.entries.iter()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|state| state.name.as_str())
    }

    /// The first name that has `address`, or had it a while ago.
    #[must_use]
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        let address = canonical(address);
        let state = self.entries.iter().find(|state| state.addresses().any(|known| known == address));
        state.map(|state| state.name.as_str())
    }
}

/// The names that `rules` mention, each once and with the first rule that mentions it, in the order of the
/// rules. Names under a domain (`*.example.com`) are not among them: nobody can list those.
#[must_use]
pub fn names_to_resolve<'a>(rules: impl IntoIterator<Item = &'a NetRule>) -> Vec<(String, &'a NetRule)> {
    let mut seen = HashSet::new();
    let named = rules.into_iter().filter_map(|rule| match rule.host() {
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
    fn an_address_is_current_or_retiring_never_both() {
        let mut resolved = Resolved::new();
        let [old, new] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let state = |current: &[IpAddr], retiring: &[IpAddr]| NameState {
            name: "a".into(),
            current: current.to_vec(),
            retiring: retiring.to_vec(),
        };
        resolved.set(state(&[new], &[old, new]));
        assert_eq!(resolved.states().collect::<Vec<_>>(), [&state(&[new], &[old])]);
        assert_eq!((resolved.addresses("a"), resolved.name_of(old)), (&[new][..], Some("a")));
        resolved.set(state(&[], &[]));
        assert_eq!(resolved, Resolved::new());
    }

    #[test]
    fn each_name_is_listed_once_with_its_first_rule() {
        let rules =
            ["b:1", "1.2.3.4:1", "A:2", ":3", "*.c:4", "udp://a:5", "B:6"].map(|spec| spec.parse().unwrap());
        let names = names_to_resolve(&rules);
        assert_eq!(names, [("b".into(), &rules[0]), ("a".into(), &rules[2])]);
    }
}
