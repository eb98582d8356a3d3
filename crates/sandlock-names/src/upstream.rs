//! Whom names are asked of.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::timeout;

use crate::client::Client;
use crate::question::wire_name;
use crate::system::System;
use crate::{Answer, Failure};

/// How long a name may take, with all its aliases and servers.
const LIMIT: Duration = Duration::from_secs(5);
/// Nothing changes what `localhost` is.
const LOCALHOST_TTL: Duration = Duration::from_secs(3600);

/// Whom names are asked of.
#[derive(Clone)]
pub struct Upstream(Kind);

#[derive(Clone)]
enum Kind {
    System(System),
    Server(Client),
}

impl Upstream {
    /// What the machine is set up to ask: its hosts file, its name servers, and then its C library.
    #[must_use]
    pub fn system() -> Upstream {
        Upstream(Kind::System(System::new()))
    }

    /// One name server, and nobody else: not the machine's hosts file either.
    #[must_use]
    pub fn server(address: SocketAddr) -> Upstream {
        Upstream(Kind::Server(Client { servers: [address].into(), tcp: false }))
    }

    #[cfg(test)]
    pub(crate) fn with_system(system: System) -> Upstream {
        Upstream(Kind::System(system))
    }

    /// All addresses of a name, written as rules have it, in bounded time.
    pub(crate) async fn ask(&self, name: &str) -> Result<Answer, Failure> {
        if name == "localhost" {
            let addresses = vec![IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
            return Ok(Answer { addresses, own: true, ..Answer::new(LOCALHOST_TTL) });
        }
        let asked = async {
            match &self.0 {
                Kind::System(system) => system.ask(name).await,
                Kind::Server(client) => client.look_up(&wire_name(name).ok_or(Failure::NoSuchName)?).await,
            }
        };
        timeout(LIMIT, asked).await.unwrap_or(Err(Failure::Silent))
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::System(_) => f.write_str("Upstream::system()"),
            Kind::Server(client) => write!(f, "Upstream::server({:?})", client.servers),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::name_server::{NameServer, Zone};
    use crate::runtime::runtime;

    /// A machine with a hosts file, a name server, and a C library that knows one name.
    struct Machine {
        server: NameServer,
        upstream: Upstream,
        library: Arc<Mutex<Vec<String>>>,
        _files: tempfile::TempDir,
    }

    fn machine() -> Machine {
        let server = NameServer::start();
        let files = tempfile::tempdir().unwrap();
        let (hosts, resolver) = (files.path().join("hosts"), files.path().join("resolv.conf"));
        std::fs::write(&hosts, "127.0.0.7 own.test\n10.9.9.9 localhost\n").unwrap();
        std::fs::write(&resolver, "nameserver 127.0.0.1\n").unwrap();
        let library = Arc::<Mutex<Vec<String>>>::default();
        let asked = Arc::clone(&library);
        let look_up = move |name: &str| {
            asked.lock().unwrap().push(name.to_owned());
            match name {
                "printer.local" | "box" | "ldap.test" => Ok(vec!["10.0.0.3".parse().unwrap()]),
                _ => Err(io::Error::other("unknown to the library")),
            }
        };
        let port = server.address().port();
        let system = System { hosts, resolver, port, look_up: Arc::new(look_up), ..System::new() };
        Machine { server, upstream: Upstream::with_system(system), library, _files: files }
    }

    fn ask(upstream: &Upstream, name: &str) -> Result<Answer, Failure> {
        runtime().unwrap().block_on(upstream.ask(name))
    }

    fn address(answer: &Answer) -> String {
        answer.addresses[0].to_string()
    }

    #[test]
    fn the_hosts_file_comes_first_and_may_speak_of_this_machine() {
        let machine = machine();
        machine.server.set("own.test", Zone::addresses(["10.0.0.1"]));
        let answer = ask(&machine.upstream, "own.test").unwrap();
        assert_eq!((address(&answer), answer.own), ("127.0.0.7".into(), true));
        assert!(machine.server.asked().is_empty());
    }

    #[test]
    fn localhost_is_loopback_whatever_anybody_says() {
        let machine = machine();
        for upstream in [&machine.upstream, &Upstream::server(machine.server.address())] {
            let answer = ask(upstream, "localhost").unwrap();
            assert!(answer.own && answer.addresses.iter().all(IpAddr::is_loopback));
        }
        assert!(machine.server.asked().is_empty());
    }

    #[test]
    fn names_of_the_internet_are_asked_of_dns_which_tells_how_long_they_hold() {
        let machine = machine();
        machine.server.set("api.test", Zone::addresses(["10.0.0.1"]).ttl(7));
        let answer = ask(&machine.upstream, "api.test").unwrap();
        assert_eq!((address(&answer), answer.ttl), ("10.0.0.1".into(), Duration::from_secs(7)));
        assert!(!answer.own && machine.library.lock().unwrap().is_empty());
    }

    #[test]
    fn what_dns_does_not_know_the_library_may() {
        let machine = machine();
        let answer = ask(&machine.upstream, "ldap.test").unwrap();
        assert_eq!((address(&answer), answer.life()), ("10.0.0.3".into(), Duration::from_secs(60)));
        assert_eq!(machine.server.count("ldap.test"), 1);
        assert_eq!(ask(&machine.upstream, "no.test").unwrap_err(), Failure::NoSuchName);
    }

    #[test]
    fn names_of_the_local_network_are_the_librarys() {
        let machine = machine();
        for name in ["box", "printer.local"] {
            assert_eq!(address(&ask(&machine.upstream, name).unwrap()), "10.0.0.3");
        }
        assert!(machine.server.asked().is_empty());
        let failure = ask(&machine.upstream, "nowhere").unwrap_err();
        assert_eq!(failure, Failure::System("unknown to the library".into()));
    }

    #[test]
    fn a_server_that_was_named_is_asked_and_nobody_else() {
        let machine = machine();
        machine.server.set("own.test", Zone::addresses(["10.0.0.1"]));
        let upstream = Upstream::server(machine.server.address());
        assert_eq!(address(&ask(&upstream, "own.test").unwrap()), "10.0.0.1");
        assert_eq!(ask(&upstream, "ldap.test").unwrap_err(), Failure::NoSuchName);
        assert!(machine.library.lock().unwrap().is_empty());
    }
}
