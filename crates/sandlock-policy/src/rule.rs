//! One outbound network rule, and its grammar: `[tcp://|udp://|icmp://]HOST:PORTS`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Host, Ports, Protocol, RuleError, RuleErrorKind};

const DEFAULT_FLAG: &str = "--net-allow";

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
#[derive(Clone, Debug)]
pub struct NetRule {
    meaning: Meaning,
    flag: Box<str>,
    spec: Box<str>,
}

impl NetRule {
    /// Parses `spec`, which the user gave with `flag`: an error names both.
    ///
    /// # Errors
    /// [`RuleError`] when `spec` is not in the grammar.
    pub fn parse_flag(flag: &str, spec: &str) -> Result<NetRule, RuleError> {
        let meaning = Meaning::parse(spec).map_err(|kind| RuleError::new(flag, spec, kind))?;
        Ok(NetRule { meaning, flag: flag.into(), spec: spec.into() })
    }

    /// A rule that another kind of rule amounts to, as it was written.
    pub(crate) fn tcp(host: Host, ports: Ports, flag: &str, spec: &str) -> NetRule {
        NetRule {
            meaning: Meaning { protocol: Protocol::Tcp, host, ports },
            flag: flag.into(),
            spec: spec.into(),
        }
    }

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

    /// The flag that it was given with; `--net-allow` when it was not parsed from a flag.
    #[must_use]
    pub fn flag(&self) -> &str {
        &self.flag
    }

    /// The rule as the user wrote it.
    #[must_use]
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// The flag and the rule as written, to begin a message with: `--net-allow "Example.com:80"`.
    #[must_use]
    pub fn written(&self) -> String {
        format!("{} {:?}", self.flag, self.spec)
    }
}

impl FromStr for NetRule {
    type Err = RuleError;

    fn from_str(spec: &str) -> Result<NetRule, RuleError> {
        NetRule::parse_flag(DEFAULT_FLAG, spec)
    }
}

impl fmt::Display for NetRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Meaning { protocol, host, ports } = &self.meaning;
        match protocol {
            Protocol::Tcp => write!(f, "{host}:{ports}"),
            Protocol::Udp => write!(f, "udp://{host}:{ports}"),
            Protocol::Icmp => write!(f, "icmp://{host}"),
        }
    }
}

impl PartialEq for NetRule {
    fn eq(&self, other: &NetRule) -> bool {
        self.meaning == other.meaning
    }
}

impl Eq for NetRule {}

impl Hash for NetRule {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.meaning.hash(state);
    }
}

impl Serialize for NetRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NetRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NetRule, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Meaning {
    protocol: Protocol,
    host: Host,
    ports: Ports,
}

impl Meaning {
    fn parse(spec: &str) -> Result<Meaning, RuleErrorKind> {
        let (protocol, rest) = split_scheme(spec)?;
        if protocol == Protocol::Icmp {
            let host = Host::parse(icmp_host(rest)?)?;
            return Ok(Meaning { protocol, host, ports: Ports::List(Vec::new()) });
        }
        let (host, ports) = split_ports(rest)?;
        Ok(Meaning { protocol, host: Host::parse(host)?, ports: Ports::parse(ports)? })
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
