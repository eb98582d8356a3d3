//! Which addresses of an answer are taken for its name.

use std::collections::HashSet;
use std::net::IpAddr;

use sandlock_policy::{AnswerRefusal, Denied, NameRules, NetworkRules, check_answer};

use crate::{Answer, Failure};

/// How many addresses of one answer are taken: the list is written to the supervisor and to the hosts file, and whoever
/// answers decides how long it is.
const MOST_ADDRESSES: usize = 64;

/// What was taken of an answer, and what was refused.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Canonical and unique.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) refused: Vec<Denied>,
    unreachable: bool,
}

impl Taken {
    /// Looks at every address. Those that this host has no route for are left out, unless a rule denies the name: a route
    /// may come. And a name that rules only deny may stand for the metadata of a cloud: nothing is opened by that, and
    /// what else allows any address must not open it.
    pub(crate) fn of(
        name: &str,
        answer: &Answer,
        rules: &NetworkRules,
        how: &NameRules,
        has_route: impl Fn(IpAddr) -> bool,
    ) -> Taken {
        let mut taken = Taken::default();
        let mut seen = HashSet::new();
        let denied = is_denied(name, rules);
        let only_denied = denied && !is_granted(name, rules);
        for address in answer.addresses.iter().map(IpAddr::to_canonical) {
            if taken.addresses.len() + taken.refused.len() == MOST_ADDRESSES {
                break;
            }
            if !seen.insert(address) {
                continue;
            }
            match check_answer(address, how.may_be_local || answer.own) {
                Err(AnswerRefusal::Metadata | AnswerRefusal::LinkLocal) if only_denied => {
                    taken.addresses.push(address);
                }
                Err(why) => taken.refused.push(Denied::Answer { name: name.to_owned(), address, why }),
                Ok(()) if denied || has_route(address) => taken.addresses.push(address),
                Ok(()) => taken.unreachable = true,
            }
        }
        taken
    }

    /// Why nothing was taken.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match (self.addresses.is_empty(), self.unreachable, self.refused.is_empty()) {
            (false, _, _) => None,
            (true, true, _) => Some(Failure::NoRoute),
            (true, false, false) => Some(Failure::Refused),
            (true, false, true) => Some(Failure::NoAddress),
        }
    }
}

/// Whether some rule takes something of the name away.
pub(crate) fn is_denied(name: &str, rules: &NetworkRules) -> bool {
    rules.deny.iter().any(|rule| rule.host().matches_name(name))
}

/// Whether some rule grants something of the name, by name.
pub(crate) fn is_granted(name: &str, rules: &NetworkRules) -> bool {
    rules.allow.iter().any(|rule| rule.host().matches_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn taken(name: &str, addresses: &[&str], how: NameRules, routed: bool) -> Taken {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let answer = Answer { addresses, ..Answer::new(Duration::ZERO) };
        let parse = |specs: &[&str]| specs.iter().map(|spec| spec.parse().unwrap()).collect();
        let allow = parse(&["a.test:1", "partly.denied.test:1"]);
        let deny = parse(&["denied.test:1", "partly.denied.test:2"]);
        Taken::of(name, &answer, &NetworkRules { allow, deny }, &how, |_| routed)
    }

    #[test]
    fn an_unspecified_answer_is_never_taken_for_loopback() {
        let local = NameRules { may_be_local: true, ..NameRules::default() };
        let taken = taken("blocked.test", &["0.0.0.0", "::"], local, true);
        assert!(taken.addresses.is_empty() && taken.refused.len() == 2);
        assert_eq!(taken.failure(), Some(Failure::Refused));
    }

    #[test]
    fn addresses_are_unique_and_ipv4_when_mapped() {
        let addresses = ["::ffff:10.0.0.1", "2001:db8::1", "10.0.0.1", "2001:db8::1"];
        let taken = taken("a.test", &addresses, NameRules::default(), true);
        let expected: [IpAddr; 2] = ["10.0.0.1", "2001:db8::1"].map(|text| text.parse().unwrap());
        assert_eq!(taken.addresses, expected);
    }

    #[test]
    fn addresses_without_a_route_are_left_out_but_stay_denied() {
        let of = |name, routed| taken(name, &["10.0.0.1"], NameRules::default(), routed);
        assert_eq!(of("a.test", false).failure(), Some(Failure::NoRoute));
        assert_eq!(of("a.test", true).failure(), None);
        assert_eq!(of("denied.test", false).failure(), None);
    }

    #[test]
    fn what_is_only_denied_stays_denied_where_a_name_may_not_lead() {
        let of = |name| {
            let addresses = ["169.254.169.254", "fe80::1", "127.0.0.1", "0.0.0.0"];
            taken(name, &addresses, NameRules::default(), true).addresses.len()
        };
        assert_eq!((of("denied.test"), of("partly.denied.test"), of("a.test")), (2, 0, 0));
    }

    #[test]
    fn an_answer_of_any_size_is_cut() {
        let many: Vec<_> = (0..2000u32).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(taken("a.test", &many, NameRules::default(), true).addresses.len(), MOST_ADDRESSES);
    }
}
