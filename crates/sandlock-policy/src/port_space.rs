//! A port space of a run's own: rules, and which traffic inside of it is allowed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Allowed, Denied, Destination, Protocol, RuleError, RuleErrorKind};

/// Whether a run has a port space of its own, and which ports of that are the machine's as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortSpace {
    /// It has one.
    pub remap: bool,
    /// Ports of it that are the machine's. With any, it has one.
    pub publish: Vec<Publish>,
}

impl PortSpace {
    /// Whether the run has one.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.remap || !self.publish.is_empty()
    }
}

/// A port of the run that is a certain port of the machine: `[tcp://|udp://][HOST_PORT:]PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Publish {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The machine's port.
    pub host_port: u16,
    /// The port that the run binds.
    pub virtual_port: u16,
}

impl FromStr for Publish {
    type Err = RuleError;

    fn from_str(spec: &str) -> Result<Publish, RuleError> {
        parse(spec).map_err(|kind| RuleError::new("--publish", spec, kind))
    }
}

fn parse(spec: &str) -> Result<Publish, RuleErrorKind> {
    let (protocol, ports) = match spec.split_once("://") {
        None => (Protocol::Tcp, spec),
        Some((scheme, ports)) => match Protocol::from_scheme(scheme) {
            Some(protocol @ (Protocol::Tcp | Protocol::Udp)) => (protocol, ports),
            _ => return Err(RuleErrorKind::UnknownBindScheme(scheme.to_owned())),
        },
    };
    let (host_port, virtual_port) = ports.split_once(':').unwrap_or((ports, ports));
    let port = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|port| plain && *port != 0)
    };
    match (port(host_port), port(virtual_port)) {
        (Some(host_port), Some(virtual_port)) => Ok(Publish { protocol, host_port, virtual_port }),
        _ => Err(RuleErrorKind::InvalidPublish(ports.to_owned())),
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.protocol != Protocol::Tcp {
            write!(f, "{}://", self.protocol)?;
        }
        match self.host_port == self.virtual_port {
            true => write!(f, "{}", self.virtual_port),
            false => write!(f, "{}:{}", self.host_port, self.virtual_port),
        }
    }
}

impl Serialize for Publish {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Publish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Publish, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Whose socket is at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The run's own.
    Run,
    /// Somebody else's, or nobody's.
    Other,
}

/// Whether traffic may go to a destination because the socket there is the run's own. Whatever other rules say: a run
/// talks to itself.
///
/// # Errors
/// [`Denied::Destination`] when it is not.
pub fn check_own(destination: Destination, holder: Holder) -> Result<Allowed<Destination>, Denied> {
    match holder {
        Holder::Run => Ok(Allowed::new(destination)),
        Holder::Other => Err(Denied::Destination(destination)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_port_is_one_port_or_two() {
        for (spec, host, run, shown) in [
            ("8080", 8080, 8080, "8080"),
            ("80:8080", 80, 8080, "80:8080"),
            ("tcp://1:2", 1, 2, "1:2"),
            ("udp://53:5353", 53, 5353, "udp://53:5353"),
            ("udp://53:53", 53, 53, "udp://53"),
        ] {
            let publish: Publish = spec.parse().unwrap();
            assert_eq!((publish.host_port, publish.virtual_port), (host, run));
            assert_eq!(publish.to_string(), shown);
            assert_eq!(shown.parse::<Publish>().unwrap(), publish);
        }
        for spec in ["", "0", "0:1", "1:0", "1:2:3", ":1", "1:", "x", "+1", "65536", "icmp://1", "1-2", "*"] {
            assert!(spec.parse::<Publish>().is_err(), "{spec}");
        }
    }

    #[test]
    fn only_what_is_the_runs_own_is_reached_without_a_rule() {
        let destination = Destination::new(Protocol::Tcp, [127, 0, 0, 1].into(), 8080);
        assert_eq!(check_own(destination, Holder::Run).map(Allowed::into_inner), Ok(destination));
        assert_eq!(check_own(destination, Holder::Other), Err(Denied::Destination(destination)));
    }
}
