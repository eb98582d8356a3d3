//! Hosts of rules, and hosts of requests.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{HttpRuleErrorKind, Malformed};
use crate::Host;
use crate::address::canonical;

/// The host of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HttpHost {
    /// `*`: any.
    Any,
    /// A name: lower-cased, without a trailing dot.
    Name(String),
    /// `*.domain`: every name below the domain, not the domain itself. It holds the domain alone.
    Subdomains(String),
    /// An address, in canonical form.
    Address(IpAddr),
}

impl HttpHost {
    /// Whether it speaks of `host`.
    #[must_use]
    pub fn matches(&self, host: &HttpName) -> bool {
        match (self, host) {
            (HttpHost::Any, _) => true,
            (HttpHost::Name(own), HttpName::Name(name)) => own == name,
            (HttpHost::Subdomains(domain), HttpName::Name(name)) => {
                let below = name.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.'));
                below.is_some_and(|labels| !labels.is_empty())
            }
            (HttpHost::Address(own), HttpName::Address(address)) => own == address,
            _ => false,
        }
    }

    /// The host of a network rule that speaks of the same; `None` for any.
    pub(crate) fn concrete(&self) -> Option<Host> {
        match self {
            HttpHost::Any => None,
            HttpHost::Name(name) => Some(Host::Name(name.clone())),
            HttpHost::Subdomains(domain) => Some(Host::Subdomains(domain.clone())),
            HttpHost::Address(address) => Some(Host::Range((*address).into())),
        }
    }
}

/// A name, `*.domain`, an address (IPv6 in brackets), or `*`.
impl FromStr for HttpHost {
    type Err = HttpRuleErrorKind;

    fn from_str(text: &str) -> Result<HttpHost, HttpRuleErrorKind> {
        match Host::parse(text).map_err(HttpRuleErrorKind::Host)? {
            Host::Any if text.is_empty() => Err(HttpRuleErrorKind::MissingHost),
            Host::Any => Ok(HttpHost::Any),
            Host::Name(name) => Ok(HttpHost::Name(name)),
            Host::Subdomains(domain) => Ok(HttpHost::Subdomains(domain)),
            Host::Range(range) if text.contains('/') => Err(HttpRuleErrorKind::Range(range.to_string())),
            Host::Range(range) => Ok(HttpHost::Address(canonical(range.addr()))),
        }
    }
}

impl fmt::Display for HttpHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpHost::Any => f.write_str("*"),
            HttpHost::Name(name) => f.write_str(name),
            HttpHost::Subdomains(domain) => write!(f, "*.{domain}"),
            HttpHost::Address(address) => write_address(f, *address),
        }
    }
}

impl Serialize for HttpHost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HttpHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HttpHost, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The host of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpName {
    /// A name: lower-cased, without a trailing dot.
    Name(String),
    /// An address, in canonical form: never IPv4-mapped, never unspecified.
    Address(IpAddr),
}

/// A host as it stands in an authority: an IPv6 address is in brackets.
impl FromStr for HttpName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<HttpName, Malformed> {
        match Host::parse(text) {
            Ok(Host::Name(name)) => Ok(HttpName::Name(name)),
            Ok(Host::Range(range)) if !text.contains('/') => Ok(HttpName::from(range.addr())),
            _ if text.is_empty() => Err(Malformed::MissingHost),
            _ => Err(Malformed::BadHost),
        }
    }
}

impl From<IpAddr> for HttpName {
    fn from(address: IpAddr) -> HttpName {
        HttpName::Address(canonical(address))
    }
}

/// As it stands in an authority.
impl fmt::Display for HttpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpName::Name(name) => f.write_str(name),
            HttpName::Address(address) => write_address(f, *address),
        }
    }
}

impl Serialize for HttpName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HttpName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HttpName, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn write_address(f: &mut fmt::Formatter<'_>, address: IpAddr) -> fmt::Result {
    match address {
        IpAddr::V4(v4) => write!(f, "{v4}"),
        IpAddr::V6(v6) => write!(f, "[{v6}]"),
    }
}
