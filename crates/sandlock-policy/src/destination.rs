//! Where traffic goes, in the one form that checks compare.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::Protocol;
use crate::address::canonical;

/// A protocol, an address and a port.
///
/// The address is the one that the kernel reaches: IPv4-mapped IPv6 became IPv4, and the unspecified
/// addresses became loopback. So two destinations are equal when their traffic arrives at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Parts")]
pub struct Destination {
    protocol: Protocol,
    address: IpAddr,
    port: u16,
}

impl Destination {
    /// The destination that traffic to `address` reaches. The port of ICMP is 0, whatever `port` says.
    #[must_use]
    pub fn new(protocol: Protocol, address: IpAddr, port: u16) -> Destination {
        let port = if protocol == Protocol::Icmp { 0 } else { port };
        Destination { protocol, address: canonical(address), port }
    }

    /// Its protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Its address, in canonical form.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its port; 0 for ICMP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address and port. An IPv6 address has scope 0 here: the scope is not part of any rule.
    #[must_use]
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Icmp => write!(f, "icmp {}", self.address),
            protocol => write!(f, "{protocol} {}", self.socket_addr()),
        }
    }
}

/// What is read before it is made canonical.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    protocol: Protocol,
    address: IpAddr,
    port: u16,
}

impl From<Parts> for Destination {
    fn from(parts: Parts) -> Destination {
        Destination::new(parts.protocol, parts.address, parts.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(protocol: Protocol, address: &str, port: u16) -> String {
        Destination::new(protocol, address.parse().unwrap(), port).to_string()
    }

    #[test]
    fn every_spelling_of_loopback_is_loopback() {
        for address in ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::ffff:0.0.0.0"] {
            assert_eq!(shown(Protocol::Tcp, address, 80), "tcp 127.0.0.1:80");
        }
        assert_eq!(shown(Protocol::Udp, "::", 53), "udp [::1]:53");
        assert_eq!(shown(Protocol::Icmp, "127.0.0.1", 9), "icmp 127.0.0.1");
        assert_eq!(shown(Protocol::Icmp, "::", 0), "icmp ::1");
    }

    #[test]
    fn what_is_deserialised_is_canonical_too() {
        let text = r#"{"protocol":"tcp","address":"::ffff:0.0.0.0","port":80}"#;
        let destination: Destination = serde_json::from_str(text).unwrap();
        assert_eq!(destination, Destination::new(Protocol::Tcp, "127.0.0.1".parse().unwrap(), 80));
    }
}
