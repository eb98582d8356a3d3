//! One rule about ports of the run's own, and its grammar: `[tcp://|udp://]PORTS`.

use std::fmt;

use crate::written::{Meaning, Written};
use crate::{PortRanges, Protocol, RuleErrorKind};

/// A grant of ports to be bound: a protocol and ports, of which 0 is one that the kernel chooses.
///
/// Two rules are equal when they mean the same, however they were written. The [`Display`](fmt::Display) form
/// is the canonical one and parses to an equal rule.
///
/// ```
/// let rule: sandlock_policy::BindRule = "tcp://8081, 8000-8080".parse()?;
/// assert_eq!(rule.to_string(), "8000-8081");
/// # Ok::<(), sandlock_policy::RuleError>(())
/// ```
pub type BindRule = Written<OwnPorts>;

/// What a [`BindRule`] means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnPorts {
    protocol: Protocol,
    ports: PortRanges,
}

impl BindRule {
    /// The protocol that it grants: TCP or UDP.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.meaning.protocol
    }

    /// The ports that it grants.
    #[must_use]
    pub fn ports(&self) -> &PortRanges {
        &self.meaning.ports
    }
}

impl Meaning for OwnPorts {
    const FLAG: &'static str = "--net-allow-bind";
    type Wrong = RuleErrorKind;

    fn parse(spec: &str) -> Result<Self, RuleErrorKind> {
        let (protocol, ports) = match spec.split_once("://") {
            None => (Protocol::Tcp, spec),
            Some((scheme, ports)) => match Protocol::from_scheme(scheme) {
                Some(protocol @ (Protocol::Tcp | Protocol::Udp)) => (protocol, ports),
                _ => return Err(RuleErrorKind::UnknownBindScheme(scheme.to_owned())),
            },
        };
        Ok(OwnPorts { protocol, ports: PortRanges::parse(ports)? })
    }
}

impl fmt::Display for OwnPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Tcp => write!(f, "{}", self.ports),
            protocol => write!(f, "{protocol}://{}", self.ports),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_means_the_same() {
        for (spec, shown) in [
            ("8080", "8080"),
            ("tcp://80,443", "80,443"),
            ("udp:// 5353", "udp://5353"),
            ("udp://*", "udp://*"),
            ("0", "0"),
            ("8000-8099, 0", "0,8000-8099"),
        ] {
            let rule: BindRule = spec.parse().unwrap();
            assert_eq!(rule.to_string(), shown);
            assert_eq!(shown.parse::<BindRule>().unwrap(), rule);
        }
    }

    #[test]
    fn an_error_names_the_flag_the_rule_and_what_is_wrong_in_it() {
        for (spec, text) in [
            ("icmp://1", r#"--x "icmp://1": unknown scheme "icmp": use tcp:// or udp://"#),
            ("sctp://1", r#"--x "sctp://1": unknown scheme "sctp": use tcp:// or udp://"#),
            ("9-8", r#"--x "9-8": "9-8" is no range of ports: write the lower one first, and 0 by itself"#),
            ("*,1", r#"--x "*,1": cannot mix `*` with port numbers"#),
            (
                "127.0.0.1:80",
                r#"--x "127.0.0.1:80": invalid port "127.0.0.1:80": write 8080, 8000-8099, 0 for one that the kernel chooses, or `*` for any"#,
            ),
        ] {
            assert_eq!(BindRule::parse_flag("--x", spec).unwrap_err().to_string(), text);
        }
    }
}
