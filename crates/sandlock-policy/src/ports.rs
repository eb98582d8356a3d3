//! The ports part of a rule, and sets of ports.

use std::collections::BTreeSet;
use std::fmt;

use crate::RuleErrorKind;

/// The ports of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ports {
    /// `*`: any port.
    Any,
    /// These ports, sorted and unique, none of them 0. Empty only for ICMP, which has no ports.
    List(Vec<u16>),
}

impl Ports {
    /// Blanks around a port are ignored.
    pub(crate) fn parse(text: &str) -> Result<Ports, RuleErrorKind> {
        let mut ports = BTreeSet::new();
        let mut any = false;
        for item in text.split(',').map(|item| item.trim_matches([' ', '\t'])) {
            if item == "*" {
                any = true;
            } else {
                ports.insert(parse_port(item)?);
            }
        }
        match (any, ports.is_empty()) {
            (true, false) => Err(RuleErrorKind::MixedPorts),
            (true, true) => Ok(Ports::Any),
            (false, _) => Ok(Ports::List(ports.into_iter().collect())),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ports::Any => f.write_str("*"),
            Ports::List(ports) => write_list(f, ports),
        }
    }
}

/// A set of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortSet {
    /// Every port.
    Any,
    /// These and no other.
    Only(BTreeSet<u16>),
}

/// The TCP ports that the kernel itself can be told to allow, on whatever address.
pub type KernelPorts = PortSet;

impl PortSet {
    /// Whether `port` is in it.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        match self {
            PortSet::Any => true,
            PortSet::Only(ports) => ports.contains(&port),
        }
    }

    /// Whether no port is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, PortSet::Only(ports) if ports.is_empty())
    }

    /// Whether all of `other` is in it. Of ICMP, which has no ports, both are empty.
    pub(crate) fn covers(&self, other: &PortSet) -> bool {
        match (self, other) {
            (PortSet::Any, _) => true,
            (PortSet::Only(_), PortSet::Any) => false,
            (PortSet::Only(own), PortSet::Only(other)) => own.is_superset(other),
        }
    }

    pub(crate) fn extend(&mut self, ports: &Ports) {
        match (self, ports) {
            (PortSet::Any, _) => {}
            (this, Ports::Any) => *this = PortSet::Any,
            (PortSet::Only(only), Ports::List(list)) => only.extend(list),
        }
    }
}

/// The empty set.
impl Default for PortSet {
    fn default() -> PortSet {
        PortSet::Only(BTreeSet::new())
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortSet::Any => f.write_str("*"),
            PortSet::Only(ports) => write_list(f, ports),
        }
    }
}

fn parse_port(item: &str) -> Result<u16, RuleErrorKind> {
    let plain = item.bytes().all(|byte| byte.is_ascii_digit());
    match if plain { item.parse().ok() } else { None } {
        Some(0) => Err(RuleErrorKind::PortZero),
        Some(port) => Ok(port),
        None => Err(RuleErrorKind::InvalidPort(item.to_owned())),
    }
}

fn write_list<'a>(f: &mut fmt::Formatter<'_>, ports: impl IntoIterator<Item = &'a u16>) -> fmt::Result {
    for (index, port) in ports.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(f, "{comma}{port}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_sorted_and_unique() {
        assert_eq!(Ports::parse("443,22, 443\t,80"), Ok(Ports::List(vec![22, 80, 443])));
        assert_eq!(Ports::parse(" * ,*"), Ok(Ports::Any));
    }

    #[test]
    fn what_is_not_plain_digits_is_refused() {
        for (text, item) in [
            ("+80", "+80"),
            ("-1", "-1"),
            ("80,,443", ""),
            ("80,", ""),
            ("", ""),
            ("8 0", "8 0"),
            ("0x50", "0x50"),
            ("80-90", "80-90"),
            ("65536", "65536"),
            ("٨٠", "٨٠"),
            ("80\n", "80\n"),
            ("*,http", "http"),
        ] {
            assert_eq!(Ports::parse(text), Err(RuleErrorKind::InvalidPort(item.into())), "{text:?}");
        }
        assert_eq!(Ports::parse("0"), Err(RuleErrorKind::PortZero));
    }

    #[test]
    fn a_set_that_has_any_port_keeps_it() {
        let mut set = PortSet::default();
        assert!(set.is_empty() && !set.contains(80));
        set.extend(&Ports::List(vec![80]));
        assert!(set.contains(80) && !set.contains(81));
        set.extend(&Ports::Any);
        set.extend(&Ports::List(vec![80]));
        assert_eq!(set, PortSet::Any);
    }
}
