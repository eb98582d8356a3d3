//! The protocols that a network rule can speak of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A protocol of a rule or of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP; a rule without a scheme is a TCP rule.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP echo: of IPv4, and ICMPv6 for an IPv6 address. It has no ports.
    Icmp,
}

impl Protocol {
    /// The scheme of rules of this protocol, without the `://`.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => "icmp",
        }
    }

    pub(crate) fn from_scheme(scheme: &str) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Icmp].into_iter().find(|p| p.scheme() == scheme)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme())
    }
}
