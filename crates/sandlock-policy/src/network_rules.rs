//! The rules of a run about outbound traffic, and which names they speak of.

use serde::{Deserialize, Serialize};

use crate::{Denied, Host, NetRule, PortSet, Protocol};

/// Outbound traffic that is granted, and what is taken away from it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkRules {
    /// What is granted; nothing else is.
    pub allow: Vec<NetRule>,
    /// What is refused, whatever grants it.
    pub deny: Vec<NetRule>,
}

impl NetworkRules {
    /// All rules.
    pub fn iter(&self) -> impl Iterator<Item = &NetRule> {
        self.allow.iter().chain(&self.deny)
    }

    /// Whether some rule names a host, or the names under a domain.
    #[must_use]
    pub fn have_names(&self) -> bool {
        self.iter().any(|rule| matches!(rule.host(), Host::Name(_) | Host::Subdomains(_)))
    }

    /// Whether programs need a resolver of the run's own: some rule grants the names under a domain; or one grants
    /// a name, and none the way to another resolver.
    #[must_use]
    pub fn need_a_resolver(&self) -> bool {
        let grants = |wanted: fn(&NetRule) -> bool| self.allow.iter().any(wanted);
        let to_dns = |rule: &NetRule| {
            let literal = matches!(rule.host(), Host::Any | Host::Range(_));
            let mut ports = PortSet::default();
            ports.extend(rule.ports());
            literal && rule.protocol() != Protocol::Icmp && ports.contains(crate::RESOLVER_PORT)
        };
        grants(|rule| matches!(rule.host(), Host::Subdomains(_)))
            || (grants(|rule| matches!(rule.host(), Host::Name(_))) && !grants(to_dns))
    }

    /// Whether `name` may be asked for, in lower case and without a trailing dot: some rule grants something of it,
    /// and not all of that is denied.
    ///
    /// # Errors
    /// [`Denied::Name`].
    pub fn check_name(&self, name: &str) -> Result<(), Denied> {
        let about = |rules: &'_ [NetRule], protocol| {
            let mut found = None;
            for rule in rules.iter().filter(|rule| rule.protocol() == protocol) {
                if rule.host().matches_name(name) {
                    found.get_or_insert_with(PortSet::default).extend(rule.ports());
                }
            }
            found
        };
        let mut forbidden = false;
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
            let Some(granted) = about(&self.allow, protocol) else {
                continue;
            };
            match about(&self.deny, protocol) {
                Some(denied) if denied.covers(&granted) => forbidden = true,
                _ => return Ok(()),
            }
        }
        Err(Denied::Name { name: name.to_owned(), forbidden })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> NetworkRules {
        let parse = |specs: &[&str]| specs.iter().map(|spec| spec.parse().unwrap()).collect();
        NetworkRules { allow: parse(allow), deny: parse(deny) }
    }

    #[test]
    fn a_name_may_be_asked_for_when_a_rule_grants_something_of_it() {
        let rules = rules(
            &["api.test:80,443", "*.wild.test:443", "icmp://ping.wild.test", "*.all.test:*", "1.1.1.1:*"],
            &[
                "api.test:80",
                "*.bad.wild.test:*",
                "ping.wild.test:443",
                "*.all.test:1",
                "gone.wild.test:443,80",
            ],
        );
        for name in ["api.test", "a.wild.test", "a.b.wild.test", "ping.wild.test", "x.all.test"] {
            assert_eq!(rules.check_name(name), Ok(()), "{name}");
        }
        for (name, forbidden) in [
            ("wild.test", false),
            ("xwild.test", false),
            ("evil.test", false),
            ("x.bad.wild.test", true),
            ("gone.wild.test", true),
            ("", false),
            ("test", false),
            ("x.api.test", false),
        ] {
            assert_eq!(rules.check_name(name), Err(Denied::Name { name: name.into(), forbidden }), "{name}");
        }
    }

    #[test]
    fn a_resolver_is_needed_for_domains_and_for_names_without_another() {
        let needs = |allow: &[&str]| rules(allow, &["evil.test:80"]).need_a_resolver();
        assert!(needs(&["*.a.test:443", "udp://1.1.1.1:53"]));
        assert!(needs(&["a.test:443"]) && needs(&["a.test:443", "b.test:53"]));
        for other in ["udp://1.1.1.1:53", "10.0.0.0/8:53,443", "udp://*:*", ":*"] {
            assert!(!needs(&["a.test:443", other]), "{other}");
        }
        assert!(!needs(&["1.1.1.1:443"]) && !needs(&[]));
    }
}
