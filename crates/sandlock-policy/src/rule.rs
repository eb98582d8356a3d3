//! One outbound network rule, and its grammar: `[tcp://|udp://|icmp://]HOST:PORTS`.

use std::fmt;

use crate::written::{Meaning, Written};
use crate::{Host, Ports, Protocol, RuleErrorKind};

/// A grant of outbound traffic: a protocol, a host and its ports.
///
/// Two rules are equal when they mean the same, however they were written. The [`Display`](fmt::Display) form
/// is the canonical one and parses to an equal rule.
///
/// ```
/// let rule: sandlock_policy::NetRule = "TCP.example.com: 443,22".parse()?;
/// assert_eq!(rule.to_string(), "tcp.example.com:22,443");
/// # Ok::<(), sandlock_policy::RuleError>(())
/// ```
pub type NetRule = Written<Traffic>;

/// What a [`NetRule`] means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Traffic {
    pub(crate) protocol: Protocol,
    pub(crate) host: Host,
    pub(crate) ports: Ports,
}

impl NetRule {
    /// The protocol that it grants.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.meaning.protocol
    }

    /// Whom it grants.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.meaning.host
    }

    /// The ports that it grants; an empty list for ICMP.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.meaning.ports
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Traffic { protocol, host, ports } = self;
        match protocol {
            Protocol::Tcp => write!(f, "{host}:{ports}"),
            Protocol::Udp => write!(f, "udp://{host}:{ports}"),
            Protocol::Icmp => write!(f, "icmp://{host}"),
        }
    }
}

impl Meaning for Traffic {
    const FLAG: &'static str = "--net-allow";
    type Wrong = RuleErrorKind;

    fn parse(spec: &str) -> Result<Self, RuleErrorKind> {
        let (protocol, rest) = split_scheme(spec)?;
        if protocol == Protocol::Icmp {
            let host = Host::parse(icmp_host(rest)?)?;
            return Ok(Traffic { protocol, host, ports: Ports::List(Vec::new()) });
        }
        let (host, ports) = split_ports(rest)?;
        Ok(Traffic { protocol, host: Host::parse(host)?, ports: Ports::parse(ports)? })
    }
}

fn split_scheme(spec: &str) -> Result<(Protocol, &str), RuleErrorKind> {
    let Some((scheme, rest)) = spec.split_once("://") else {
        return Ok((Protocol::Tcp, spec));
    };
    let unknown = || RuleErrorKind::UnknownScheme(scheme.to_owned());
    Ok((Protocol::from_scheme(scheme).ok_or_else(unknown)?, rest))
}

fn split_ports(rest: &str) -> Result<(&str, &str), RuleErrorKind> {
    if let Some((host, after)) = split_brackets(rest) {
        return match after.strip_prefix(':') {
            Some(ports) => Ok((host, ports)),
            None if after.is_empty() => Err(RuleErrorKind::MissingPorts),
            None => Err(RuleErrorKind::InvalidHost(rest.to_owned())),
        };
    }
    let (host, ports) = rest.rsplit_once(':').ok_or(RuleErrorKind::MissingPorts)?;
    if host.contains(':') {
        return Err(stray_colon(rest, host));
    }
    Ok((host, ports))
}

fn icmp_host(rest: &str) -> Result<&str, RuleErrorKind> {
    if rest.is_empty() {
        return Err(RuleErrorKind::IcmpWithoutHost);
    }
    if let Some((host, after)) = split_brackets(rest) {
        return match after {
            "" => Ok(host),
            _ if after.starts_with(':') => Err(RuleErrorKind::IcmpWithPorts),
            _ => Err(RuleErrorKind::InvalidHost(rest.to_owned())),
        };
    }
    match rest.bytes().filter(|byte| *byte == b':').count() {
        0 => Ok(rest),
        1 => Err(RuleErrorKind::IcmpWithPorts),
        _ => Err(stray_colon(rest, rest)),
    }
}

/// `[…]` and what follows it; `None` when `rest` does not begin with a bracket or none closes it.
fn split_brackets(rest: &str) -> Option<(&str, &str)> {
    let end = rest.starts_with('[').then(|| rest.find(']'))??;
    Some(rest.split_at(end + 1))
}

fn stray_colon(rest: &str, host: &str) -> RuleErrorKind {
    let address = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '/');
    if host.chars().all(address) {
        RuleErrorKind::BareIpv6(rest.to_owned())
    } else {
        RuleErrorKind::InvalidHost(host.to_owned())
    }
}
