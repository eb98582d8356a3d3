//! What a check refused, as data: for events, for reports, and for the hint that would allow it.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::http::{name_hint as tls_hint, request_hint};
use crate::shell::shell_word;
use crate::{
    AnswerRefusal, Destination, HttpName, Malformed, NetRule, Protocol, Resolved, Scheme, escape_terminal,
};

/// What was refused. Its text is safe to print: what a program chose is [escaped](escape_terminal).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Denied {
    /// Traffic to a destination that no rule grants.
    Destination(Destination),
    /// Traffic to a destination that a rule of `--net-deny` takes away.
    Forbidden(Destination),
    /// Asking for a name that no rule grants, or that one takes away.
    Name {
        /// The name.
        name: String,
        /// Whether a rule takes it away.
        forbidden: bool,
    },
    /// Reaching one of the addresses that a resolver answered for a name.
    Answer {
        /// The name.
        name: String,
        /// The address.
        address: IpAddr,
        /// Why it is not taken.
        why: AnswerRefusal,
    },
    /// A unix socket at a path that may not be written.
    UnixPath(#[serde(with = "crate::lossless::path")] PathBuf),
    /// An abstract unix socket, by its name without the leading NUL.
    UnixAbstract(#[serde(with = "crate::lossless::bytes")] Vec<u8>),
    /// The socket at which a run of sandlock is asked and told things, of which no program inside is to make use.
    ControlSocket(#[serde(with = "crate::lossless::path")] PathBuf),
    /// Changing the mode, owner, times or attributes of a file that may not be written.
    Metadata(#[serde(with = "crate::lossless::path")] PathBuf),
    /// Making the name of a unix socket in a directory that may not be written.
    UnixName(#[serde(with = "crate::lossless::path")] PathBuf),
    /// Having a port that no rule grants, or that one takes away.
    Bind {
        /// The protocol of the socket.
        protocol: Protocol,
        /// The port.
        port: u16,
        /// Whether a rule takes it away.
        forbidden: bool,
    },
    /// Accepting connections.
    Listen {
        /// The protocol of the socket.
        protocol: Protocol,
        /// The port; `None` when the kernel was to choose one, or did.
        port: Option<u16>,
        /// Whether a rule takes it away.
        forbidden: bool,
    },
    /// A file or directory that a rule of `--fs-deny` takes away.
    Hole(#[serde(with = "crate::lossless::path")] PathBuf),
    /// A process or thread beyond the limit.
    Processes {
        /// How many there may be at once.
        limit: u32,
    },
    /// An HTTP request that no rule grants, or that one takes away.
    Http {
        /// How it travelled.
        scheme: Scheme,
        /// Its method.
        method: String,
        /// The host that it named.
        host: HttpName,
        /// The port of its connection.
        port: u16,
        /// Its path, as rules see it.
        path: String,
        /// Whether a rule takes it away.
        forbidden: bool,
    },
    /// A request that is not understood, or could be understood in two ways.
    HttpMalformed {
        /// Where its connection was to go.
        destination: Destination,
        /// What is wrong with it.
        why: Malformed,
    },
    /// TLS that is not looked into, to a name that no rule grants as a whole, or of which one takes something away.
    TlsName {
        /// The name, or the address; empty when the client hello says none.
        name: String,
        /// The port of its connection.
        port: u16,
        /// Whether a rule takes it away.
        forbidden: bool,
    },
    /// UDP to a port whose HTTP requests are looked at: QUIC would go past that.
    Quic(Destination),
    /// Traffic to a destination: whoever was asked said no.
    Declined(Destination),
    /// Traffic to a destination: nobody answered in time, or there was nobody to ask.
    Unanswered(Destination),
    /// Executing a file: whoever was asked said no, or nothing in time.
    Exec(#[serde(with = "crate::lossless::path")] PathBuf),
}

impl Denied {
    /// The flag that would have allowed exactly this, such as `--net-allow api.example.com:80`; a known name is
    /// preferred to its address. `None` when no flag can.
    #[must_use]
    pub fn hint(&self, names: &Resolved) -> Option<String> {
        match self {
            Denied::Destination(destination)
            | Denied::Declined(destination)
            | Denied::Unanswered(destination) => destination_hint(destination, names),
            // Names are what rules are for.
            Denied::UnixPath(path) if NAME_DAEMONS.iter().any(|daemon| path.starts_with(daemon)) => None,
            Denied::UnixPath(path) | Denied::UnixName(path) | Denied::Metadata(path) => {
                Some(format!("-w {}", shell_word(path.as_os_str().as_encoded_bytes())))
            }
            Denied::Name { name, forbidden: false } => name_hint(name),
            Denied::Answer { why: AnswerRefusal::Loopback, .. } => Some("--names-may-be-local".to_owned()),
            Denied::Http { scheme, method, host, port, path, forbidden: false } => {
                request_hint(method, *scheme, host, *port, path)
            }
            Denied::TlsName { name, port, forbidden: false } => tls_hint(name, *port),
            Denied::Bind { protocol, port, forbidden: false } => Some(bind_hint(*protocol, *port)),
            Denied::Listen { protocol, port, forbidden: false } => {
                Some(bind_hint(*protocol, port.unwrap_or(0)))
            }
            Denied::Hole(_) => None,
            Denied::Processes { limit } => Some(format!("--processes {}", limit.saturating_mul(2))),
            Denied::Http { .. }
            | Denied::HttpMalformed { .. }
            | Denied::TlsName { .. }
            | Denied::Quic(_)
            | Denied::Exec(_)
            | Denied::Forbidden(_)
            | Denied::Name { .. }
            | Denied::Answer { .. }
            | Denied::UnixAbstract(_)
            | Denied::ControlSocket(_)
            | Denied::Bind { .. }
            | Denied::Listen { .. } => None,
        }
    }
}

/// Where nscd and systemd-resolved are asked for names, of anybody and about anything.
const NAME_DAEMONS: [&str; 3] = ["/run/nscd", "/var/run/nscd", "/run/systemd/resolve"];

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::Destination(destination) => write!(f, "{destination}"),
            Denied::Forbidden(destination) => write!(f, "{destination}, which --net-deny refuses"),
            Denied::Name { name, forbidden: false } => write!(f, "the name {}", escape_terminal(name)),
            Denied::Name { name, forbidden: true } => {
                write!(f, "the name {}, which --net-deny refuses", escape_terminal(name))
            }
            Denied::Answer { name, address, why } => {
                write!(f, "the answer {address} for {}: {why}", escape_terminal(name))
            }
            Denied::UnixPath(path) => write!(f, "unix {}", shown_path(path)),
            Denied::UnixAbstract(name) => {
                write!(f, "abstract unix @{}", escape_terminal(&String::from_utf8_lossy(name)))
            }
            Denied::ControlSocket(path) => write!(f, "the control socket {} of a run", shown_path(path)),
            Denied::UnixName(path) => write!(f, "the name of a unix socket in {}", shown_path(path)),
            Denied::Metadata(path) => write!(f, "metadata of {}", shown_path(path)),
            Denied::Bind { protocol, port, forbidden } => {
                write!(f, "{protocol} bind to port {port}{}", not_to_be_bound(*forbidden))
            }
            Denied::Listen { protocol, port: Some(port), forbidden } => {
                write!(f, "{protocol} listen on port {port}{}", not_to_be_bound(*forbidden))
            }
            Denied::Listen { protocol, port: None, forbidden } => {
                write!(f, "{protocol} listen on an automatic port{}", not_to_be_bound(*forbidden))
            }
            Denied::Hole(path) => write!(f, "{}, which --fs-deny refuses", shown_path(path)),
            Denied::Processes { limit } => {
                write!(f, "more than {limit} processes and threads at once (--processes)")
            }
            Denied::Http { scheme, method, host, port, path, forbidden } => {
                let url = shown_url(*scheme, host, *port, path);
                write!(f, "{} {url}{}", escape_terminal(method), refused_by(*forbidden))
            }
            Denied::HttpMalformed { destination, why } => write!(f, "a request to {destination}: {why}"),
            Denied::TlsName { name, port, forbidden: _ } if name.is_empty() => {
                write!(f, "tls without a name, port {port}")
            }
            Denied::TlsName { name, port, forbidden } => {
                write!(f, "tls to {}:{port}{}", escape_terminal(name), refused_by(*forbidden))
            }
            Denied::Quic(destination) => write!(f, "{destination}, which would go past the HTTP rules"),
            Denied::Declined(destination) => write!(f, "{destination}, which was asked about and refused"),
            Denied::Unanswered(destination) => write!(f, "{destination}: asked about, and nobody answered"),
            Denied::Exec(path) => write!(f, "executing {}", shown_path(path)),
        }
    }
}

/// Parsed before it is shown: a hint that sandlock itself refuses (port 0) helps nobody.
fn destination_hint(destination: &Destination, names: &Resolved) -> Option<String> {
    let host = match names.name_of(destination.address()) {
        Some(name) => name.to_owned(),
        None if destination.address().is_ipv6() => format!("[{}]", destination.address()),
        None => destination.address().to_string(),
    };
    let spec = match destination.protocol() {
        Protocol::Icmp => format!("icmp://{host}"),
        protocol => format!("{protocol}://{host}:{}", destination.port()),
    };
    let rule: NetRule = spec.parse().ok()?;
    Some(format!("--net-allow {rule}"))
}

fn bind_hint(protocol: Protocol, port: u16) -> String {
    match protocol {
        Protocol::Tcp => format!("--net-allow-bind {port}"),
        protocol => format!("--net-allow-bind {protocol}://{port}"),
    }
}

fn not_to_be_bound(forbidden: bool) -> &'static str {
    if forbidden { ", which --net-deny-bind refuses" } else { "" }
}

/// Which port is wanted is not known: the commonest.
fn name_hint(name: &str) -> Option<String> {
    let rule: NetRule = format!("{name}:443").parse().ok()?;
    Some(format!("--net-allow {rule}"))
}

fn shown_url(scheme: Scheme, host: &HttpName, port: u16, path: &str) -> String {
    let port = if port == scheme.default_port() { String::new() } else { format!(":{port}") };
    escape_terminal(&format!("{scheme}://{host}{port}{path}"))
}

fn refused_by(forbidden: bool) -> &'static str {
    if forbidden { ", which --http-deny refuses" } else { "" }
}

fn shown_path(path: &Path) -> String {
    escape_terminal(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(protocol: Protocol, address: &str, port: u16) -> Denied {
        Denied::Destination(Destination::new(protocol, address.parse().unwrap(), port))
    }

    fn named() -> Resolved {
        let mut names = Resolved::new();
        names.insert("api.example.com", ["10.0.0.7".parse().unwrap()]);
        names
    }

    #[test]
    fn the_hint_is_the_exact_flag() {
        for (denied, flag) in [
            (to(Protocol::Tcp, "10.0.0.7", 80), "--net-allow api.example.com:80"),
            (to(Protocol::Icmp, "::ffff:10.0.0.7", 0), "--net-allow icmp://api.example.com"),
            (to(Protocol::Tcp, "127.0.0.1", 80), "--net-allow 127.0.0.1:80"),
            (to(Protocol::Udp, "::1", 53), "--net-allow udp://[::1]:53"),
            (to(Protocol::Icmp, "1.2.3.4", 0), "--net-allow icmp://1.2.3.4"),
            (Denied::Name { name: "evil.test".into(), forbidden: false }, "--net-allow evil.test:443"),
            (Denied::UnixPath("/run/x.sock".into()), "-w /run/x.sock"),
            (Denied::Bind { protocol: Protocol::Tcp, port: 80, forbidden: false }, "--net-allow-bind 80"),
            (
                Denied::Bind { protocol: Protocol::Udp, port: 53, forbidden: false },
                "--net-allow-bind udp://53",
            ),
            (Denied::Listen { protocol: Protocol::Tcp, port: None, forbidden: false }, "--net-allow-bind 0"),
            (Denied::UnixName("/run/x".into()), "-w /run/x"),
            (Denied::UnixPath("/run/x y.sock".into()), "-w '/run/x y.sock'"),
        ] {
            assert_eq!(denied.hint(&named()).as_deref(), Some(flag));
        }
    }

    fn http(method: &str, url: (Scheme, &str, u16, &str), forbidden: bool) -> Denied {
        let (scheme, host, port, path) = url;
        let (method, path) = (method.into(), path.into());
        Denied::Http { scheme, method, host: host.parse().unwrap(), port, path, forbidden }
    }

    fn tls(name: &str, port: u16, forbidden: bool) -> Denied {
        Denied::TlsName { name: name.into(), port, forbidden }
    }

    #[test]
    fn the_hint_of_a_request_is_one_word_of_a_shell_and_means_that_request_alone() {
        for (denied, flag) in [
            (http("GET", (Scheme::Http, "a.test", 80, "/x"), false), "--http-allow 'GET a.test/x'"),
            (http("GET", (Scheme::Https, "a.test", 80, "/"), false), "--http-allow 'GET a.test:80/'"),
            (http("GET", (Scheme::Https, "[::1]", 443, "/$(rm)"), false), "--http-allow 'GET [::1]/$(rm)'"),
            (
                http("GET", (Scheme::Http, "a.test", 80, "/it's/*?"), false),
                r"--http-allow 'GET a.test/it'\''s/%2A%3F'",
            ),
            (http("GET", (Scheme::Http, "10.0.0.7", 80, "/8"), false), "--http-allow 'GET 10.0.0.7:80/8'"),
            (tls("a.test", 443, false), "--http-allow '* a.test'"),
            (tls("a.test", 8443, false), "--http-allow '* a.test:8443'"),
        ] {
            assert_eq!(denied.hint(&named()).as_deref(), Some(flag));
        }
        for denied in [
            http("GET", (Scheme::Http, "a.test", 80, "/x"), true),
            http("G T", (Scheme::Http, "a.test", 80, "/x"), false),
            http("GET", (Scheme::Http, "a.test", 0, "/x"), false),
            tls("a.test", 443, true),
            tls("", 443, false),
            tls("a b", 443, false),
            Denied::HttpMalformed { destination: destination(80), why: Malformed::Backslash },
            Denied::Quic(destination(443)),
        ] {
            assert_eq!(denied.hint(&named()), None, "{denied}");
        }
    }

    #[test]
    fn the_text_of_a_request_is_safe_to_print() {
        let why = Malformed::EncodedSlash;
        for (denied, text) in [
            (http("GET", (Scheme::Https, "a.test", 443, "/x"), false), "GET https://a.test/x"),
            (
                http("GET", (Scheme::Http, "[::1]", 8080, "/x"), true),
                "GET http://[::1]:8080/x, which --http-deny refuses",
            ),
            (http("G\x1b[", (Scheme::Http, "a.test", 80, "/"), false), r"G\u{1b}[ http://a.test/"),
            (
                Denied::HttpMalformed { destination: destination(80), why },
                "a request to tcp 10.0.0.7:80: an encoded slash in the path",
            ),
            (tls("a.test", 443, false), "tls to a.test:443"),
            (tls("", 443, false), "tls without a name, port 443"),
            (tls("a.test", 443, true), "tls to a.test:443, which --http-deny refuses"),
            (
                Denied::Quic(Destination::new(Protocol::Udp, [10, 0, 0, 7].into(), 443)),
                "udp 10.0.0.7:443, which would go past the HTTP rules",
            ),
        ] {
            assert_eq!(denied.to_string(), text);
        }
    }

    fn destination(port: u16) -> Destination {
        Destination::new(Protocol::Tcp, [10, 0, 0, 7].into(), port)
    }

    #[test]
    fn there_is_no_hint_for_what_no_flag_allows() {
        let listen = Denied::Listen { protocol: Protocol::Tcp, port: Some(80), forbidden: true };
        let name = Denied::Name { name: "not a name".into(), forbidden: false };
        assert_eq!(Denied::UnixPath("/run/systemd/resolve/io.systemd.Resolve".into()).hint(&named()), None);
        for denied in [name, to(Protocol::Tcp, "1.2.3.4", 0), Denied::UnixAbstract(b"x".to_vec()), listen] {
            assert_eq!(denied.hint(&named()), None);
        }
    }

    #[test]
    fn the_text_is_safe_to_print() {
        for (denied, text) in [
            (to(Protocol::Tcp, "127.0.0.1", 9999), "tcp 127.0.0.1:9999"),
            (Denied::UnixPath("/run/docker.sock".into()), "unix /run/docker.sock"),
            (Denied::UnixPath("/run/\x1b[2J\n".into()), r"unix /run/\u{1b}[2J\n"),
            (Denied::UnixAbstract(b"name".to_vec()), "abstract unix @name"),
            (Denied::UnixAbstract(b"a\0\xff".to_vec()), "abstract unix @a\\u{0}\u{fffd}"),
            (
                Denied::Listen { protocol: Protocol::Tcp, port: Some(80), forbidden: true },
                "tcp listen on port 80, which --net-deny-bind refuses",
            ),
            (
                Denied::Listen { protocol: Protocol::Tcp, port: None, forbidden: false },
                "tcp listen on an automatic port",
            ),
            (Denied::Bind { protocol: Protocol::Udp, port: 53, forbidden: false }, "udp bind to port 53"),
        ] {
            assert_eq!(denied.to_string(), text);
        }
    }
}
