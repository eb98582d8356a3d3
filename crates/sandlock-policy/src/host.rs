//! The host part of a rule: a name, the names under a domain, an address or a range, or any.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::RuleErrorKind;

/// Whom a rule grants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// `*` or nothing: any address.
    Any,
    /// A host name: lower-cased, without a trailing dot.
    Name(String),
    /// `*.domain`: every name below the domain, not the domain itself. It holds the domain alone.
    Subdomains(String),
    /// A range of addresses without host bits; a single address is a /32 or a /128. IPv4 addresses that were
    /// written as IPv4-mapped IPv6 are IPv4 here.
    Range(IpNet),
}

impl Host {
    /// Whether it speaks of `name`, in lower case and without a trailing dot, by name.
    #[must_use]
    pub fn matches_name(&self, name: &str) -> bool {
        match self {
            Host::Name(own) => own == name,
            Host::Subdomains(domain) => {
                let below = name.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.'));
                below.is_some_and(|labels| !labels.is_empty())
            }
            Host::Any | Host::Range(_) => false,
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Host, RuleErrorKind> {
        if text.is_empty() || text == "*" {
            return Ok(Host::Any);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(|| invalid(text))?;
            return parse_ipv6(inner, text).map(Host::Range);
        }
        if text.contains('*') {
            return parse_subdomains(text).map(Host::Subdomains);
        }
        if let Some((address, prefix)) = text.split_once('/') {
            let address: Ipv4Addr = address.parse().map_err(|_| invalid(text))?;
            return ipv4_range(address, prefix).map(Host::Range);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Host::Range(IpAddr::V4(address).into()));
        }
        parse_name(text, text).map(Host::Name)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Any => f.write_str("*"),
            Host::Name(name) => f.write_str(name),
            Host::Subdomains(domain) => write!(f, "*.{domain}"),
            Host::Range(range) => write_range(f, range),
        }
    }
}

pub(crate) fn write_range(f: &mut fmt::Formatter<'_>, range: &IpNet) -> fmt::Result {
    let single = range.prefix_len() == range.max_prefix_len();
    match range {
        IpNet::V4(v4) if single => write!(f, "{}", v4.addr()),
        IpNet::V4(v4) => write!(f, "{v4}"),
        IpNet::V6(v6) if single => write!(f, "[{}]", v6.addr()),
        IpNet::V6(v6) => write!(f, "[{v6}]"),
    }
}

/// An IPv6 address or range. IPv4-mapped ones become IPv4, because the destination that is checked against
/// them does too.
fn parse_ipv6(inner: &str, whole: &str) -> Result<IpNet, RuleErrorKind> {
    if inner.contains('%') {
        return Err(RuleErrorKind::ZoneId(whole.to_owned()));
    }
    let Some((address, prefix)) = inner.split_once('/') else {
        let address: Ipv6Addr = inner.parse().map_err(|_| invalid(whole))?;
        return Ok(IpAddr::V6(address).to_canonical().into());
    };
    let address: Ipv6Addr = address.parse().map_err(|_| invalid(whole))?;
    let range = ipv6_range(address, prefix)?;
    let v4 = address.to_ipv4_mapped().zip(range.prefix_len().checked_sub(96));
    let v4 = v4.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    Ok(v4.map_or(IpNet::V6(range), |v4| IpNet::V4(v4.trunc())))
}

fn ipv4_range(address: Ipv4Addr, prefix: &str) -> Result<IpNet, RuleErrorKind> {
    let range = Ipv4Net::new(address, parse_prefix(prefix)?).map_err(|_| invalid_prefix(prefix))?;
    Ok(IpNet::V4(range.trunc()))
}

fn ipv6_range(address: Ipv6Addr, prefix: &str) -> Result<Ipv6Net, RuleErrorKind> {
    let range = Ipv6Net::new(address, parse_prefix(prefix)?).map_err(|_| invalid_prefix(prefix))?;
    Ok(range.trunc())
}

/// A plain decimal number: no sign, and no leading zero, which some programs read as octal.
fn parse_prefix(text: &str) -> Result<u8, RuleErrorKind> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = if plain { text.parse().ok() } else { None };
    length.ok_or_else(|| invalid_prefix(text))
}

fn parse_subdomains(text: &str) -> Result<String, RuleErrorKind> {
    match text.strip_prefix("*.") {
        Some(domain) if !domain.contains('*') => parse_name(domain, text),
        _ => Err(RuleErrorKind::MisplacedWildcard(text.to_owned())),
    }
}

fn parse_name(name: &str, whole: &str) -> Result<String, RuleErrorKind> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(invalid(whole));
    }
    if name.rsplit('.').next().is_some_and(is_number) {
        return Err(RuleErrorKind::NumericHost(whole.to_owned()));
    }
    Ok(name)
}

/// Letters, digits and hyphens, as RFC 1123 has it, and the underscore that real names contain.
fn is_label(label: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(known)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether `inet_aton` would take the label for a number. `getaddrinfo` reads `1.2.3` as 1.2.0.3 and
/// `0x7f.1` as 127.0.0.1: what looks like a name to us must not be an address to it.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn invalid(text: &str) -> RuleErrorKind {
    RuleErrorKind::InvalidHost(text.to_owned())
}

fn invalid_prefix(text: &str) -> RuleErrorKind {
    RuleErrorKind::InvalidPrefix(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Host {
        Host::Range(text.parse().unwrap())
    }

    #[test]
    fn names_are_lower_cased_and_lose_the_trailing_dot() {
        assert_eq!(Host::parse("API.Example.COM."), Ok(Host::Name("api.example.com".into())));
        assert_eq!(Host::parse("*.Example.COM."), Ok(Host::Subdomains("example.com".into())));
        assert_eq!(Host::parse("_srv.a-b.x1"), Ok(Host::Name("_srv.a-b.x1".into())));
    }

    #[test]
    fn names_that_a_resolver_may_read_as_an_address_are_refused() {
        for text in [
            "1.2.3",
            "999.1.1.1",
            "1",
            "0x7f.1",
            "0x7f000001",
            "0X7F.0x1",
            "127.0.0.01",
            "1.2.3.4.5",
            "1.2.3.4.",
            "example.0x",
            "*.1.2.3.4",
            "2130706433",
        ] {
            assert_eq!(Host::parse(text), Err(RuleErrorKind::NumericHost(text.into())));
        }
    }

    #[test]
    fn names_outside_of_the_alphabet_or_the_lengths_are_refused() {
        let long_label = "a".repeat(64);
        let long_name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(62)].join(".");
        for text in [
            ".",
            "..",
            "a..b",
            ".a",
            "-a.com",
            "a-.com",
            "münchen.de",
            "a\0b",
            "a\nb",
            "a/b",
            "a@b",
            " a",
            "a ",
            "*.",
            "[",
            "[]",
            "[1.2.3.4]",
            "[::1",
            "example.com/8",
            "10.0.0/8",
            &long_label,
            &long_name,
        ] {
            assert_eq!(Host::parse(text), Err(invalid(text)), "{text}");
        }
        let longest = &long_name[..253];
        assert_eq!(Host::parse(longest), Ok(Host::Name(longest.into())));
    }

    #[test]
    fn host_bits_of_a_range_are_dropped() {
        assert_eq!(Host::parse("10.1.2.3/8"), Ok(range("10.0.0.0/8")));
        assert_eq!(Host::parse("[2606:4700::1/32]"), Ok(range("2606:4700::/32")));
        assert_eq!(Host::parse("10.1.2.3/0"), Ok(range("0.0.0.0/0")));
    }

    #[test]
    fn mapped_addresses_and_ranges_become_ipv4() {
        assert_eq!(Host::parse("[::ffff:10.0.0.1]"), Ok(range("10.0.0.1/32")));
        assert_eq!(Host::parse("[::ffff:10.9.9.9/104]"), Ok(range("10.0.0.0/8")));
        assert_eq!(Host::parse("[::ffff:0:0/96]"), Ok(range("0.0.0.0/0")));
        assert_eq!(Host::parse("[::ffff:0:0/95]"), Ok(range("::fffe:0:0/95")));
    }

    #[test]
    fn prefixes_are_plain_numbers_in_range() {
        for (text, prefix) in [
            ("10.0.0.0/33", "33"),
            ("10.0.0.0/08", "08"),
            ("10.0.0.0/+8", "+8"),
            ("10.0.0.0/", ""),
            ("10.0.0.0/-1", "-1"),
            ("10.0.0.0/8/8", "8/8"),
            ("10.0.0.0/264", "264"),
            ("[::/129]", "129"),
            ("[::/]", ""),
            ("10.0.0.0/00", "00"),
            ("10.0.0.0/255.0.0.0", "255.0.0.0"),
        ] {
            assert_eq!(Host::parse(text), Err(RuleErrorKind::InvalidPrefix(prefix.into())), "{text}");
        }
    }

    #[test]
    fn zones_are_refused() {
        assert_eq!(Host::parse("[fe80::1%eth0]"), Err(RuleErrorKind::ZoneId("[fe80::1%eth0]".into())));
    }

    #[test]
    fn wildcards_stand_only_for_the_whole_first_label() {
        for text in ["a*.example.com", "*a.example.com", "a.*.com", "*.*.com", "**", "*example.com"] {
            assert_eq!(Host::parse(text), Err(RuleErrorKind::MisplacedWildcard(text.into())));
        }
    }
}
