//! Why the text of a rule was not accepted.

/// A rule that is not in the grammar.
///
/// Its text names the flag, the whole rule and the offending part:
/// `--net-allow "example.com:http": invalid port "http"`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {spec:?}: {kind}")]
pub struct RuleError<K: std::fmt::Display = RuleErrorKind> {
    flag: String,
    spec: String,
    kind: K,
}

impl<K: std::fmt::Display> RuleError<K> {
    pub(crate) fn new(flag: &str, spec: &str, kind: K) -> RuleError<K> {
        RuleError { flag: flag.to_owned(), spec: spec.to_owned(), kind }
    }

    /// The flag that the rule was given with, such as `--net-allow`.
    #[must_use]
    pub fn flag(&self) -> &str {
        &self.flag
    }

    /// The rule as it was written.
    #[must_use]
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// What is wrong with it.
    #[must_use]
    pub fn kind(&self) -> &K {
        &self.kind
    }
}

/// What is wrong with a rule. A string is the offending part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleErrorKind {
    /// A scheme other than `tcp`, `udp` or `icmp`.
    #[error("unknown scheme {0:?}: use tcp://, udp:// or icmp://")]
    UnknownScheme(String),
    /// No `:PORTS`.
    #[error("expected HOST:PORTS, such as example.com:443 or :8080")]
    MissingPorts,
    /// Not a number from 1 to 65535.
    #[error("invalid port {0:?}: a port is a number from 1 to 65535, or `*` for any")]
    InvalidPort(String),
    /// Port 0, which no peer can have.
    #[error("port 0 is not a port to connect to; `*` means any port")]
    PortZero,
    /// Both `*` and numbers.
    #[error("cannot mix `*` with port numbers")]
    MixedPorts,
    /// Not a port of the run's own, as rules write them.
    #[error("invalid port {0:?}: write 8080, 8000-8099, 0 for one that the kernel chooses, or `*` for any")]
    InvalidOwnPort(String),
    /// A range whose first port is above its last, or 0.
    #[error("{0:?} is no range of ports: write the lower one first, and 0 by itself")]
    InvalidPortRange(String),
    /// Not one or two ports.
    #[error("{0:?}: write PORT or HOST_PORT:PORT, each a number from 1 to 65535")]
    InvalidPublish(String),
    /// A scheme other than `tcp` or `udp`, where ports are bound.
    #[error("unknown scheme {0:?}: use tcp:// or udp://")]
    UnknownBindScheme(String),
    /// An ICMP rule with `:PORTS`.
    #[error("icmp rules take no port")]
    IcmpWithPorts,
    /// `icmp://` with nothing after it.
    #[error("an icmp rule needs a host or `*`")]
    IcmpWithoutHost,
    /// An IPv6 address outside of brackets: where its port begins could only be guessed.
    #[error("{0:?}: bracket an IPv6 address, such as [::1]:8080")]
    BareIpv6(String),
    /// An address with `%ZONE`: zones are numbered anew by each boot.
    #[error("invalid host {0:?}: an address with a zone is not supported")]
    ZoneId(String),
    /// A range whose prefix length is too long or not a plain number.
    #[error("invalid prefix length {0:?}")]
    InvalidPrefix(String),
    /// A `*` elsewhere than as the whole first label.
    #[error("{0:?}: a wildcard is only `*` or a leading `*.`")]
    MisplacedWildcard(String),
    /// It ends in a number, so the system's resolver may read it as an address in a way of its own.
    #[error("invalid host {0:?}: it ends in a number but is no IPv4 address in dotted decimal")]
    NumericHost(String),
    /// Neither a host name, nor an address, nor a range.
    #[error("invalid host {0:?}")]
    InvalidHost(String),
}
