//! What the machine itself is set up to say about names: its hosts file, its name servers, and whatever else its C
//! library asks.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use sandlock_policy::addresses_in_hosts;
use tokio::sync::Semaphore;

use crate::answer::UNKNOWN_TTL;
use crate::client::Client;
use crate::question::wire_name;
use crate::{Answer, Failure};

/// `getaddrinfo` blocks a thread each; it cannot be told to stop.
pub(crate) const MOST_THREADS: usize = 64;
/// As the C library.
const MOST_SERVERS: usize = 3;
const DNS: u16 = 53;

type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The machine's own configuration, read anew at each question: it changes when a laptop moves.
#[derive(Clone)]
pub(crate) struct System {
    pub(crate) hosts: PathBuf,
    pub(crate) resolver: PathBuf,
    /// The port of the name servers in that file.
    pub(crate) port: u16,
    pub(crate) look_up: Arc<LookUp>,
    pub(crate) threads: Arc<Semaphore>,
}

impl System {
    pub(crate) fn new() -> System {
        System {
            hosts: "/etc/hosts".into(),
            resolver: "/etc/resolv.conf".into(),
            port: DNS,
            look_up: Arc::new(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())),
            threads: Arc::new(Semaphore::new(MOST_THREADS)),
        }
    }

    pub(crate) async fn ask(&self, name: &str) -> Result<Answer, Failure> {
        let hosts = String::from_utf8_lossy(&std::fs::read(&self.hosts).unwrap_or_default()).into_owned();
        let addresses = addresses_in_hosts(&hosts, name);
        if !addresses.is_empty() {
            return Ok(Answer { addresses, own: true, ..Answer::new(UNKNOWN_TTL) });
        }
        let failure = match self.ask_servers(name).await {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(failure)) => Some(failure),
            None => None,
        };
        // What DNS said tells more than that the library found nothing either.
        self.ask_library(name).await.map_err(|error| failure.unwrap_or(error))
    }

    /// Asks the name servers, since only DNS tells how long an answer holds. `None` when the name is not theirs.
    async fn ask_servers(&self, name: &str) -> Option<Result<Answer, Failure>> {
        if !name.contains('.') || name.ends_with(".local") {
            return None;
        }
        let client = client(&std::fs::read_to_string(&self.resolver).ok()?, self.port)?;
        Some(client.look_up(&wire_name(name)?).await)
    }

    async fn ask_library(&self, name: &str) -> Result<Answer, Failure> {
        let permit = Arc::clone(&self.threads).acquire_owned().await;
        let (name, look_up) = (name.to_owned(), Arc::clone(&self.look_up));
        let ask = move || {
            // Held while the thread works, however soon the answer is given up: threads are bounded by it.
            let _permit = permit;
            look_up(&name)
        };
        match tokio::task::spawn_blocking(ask).await {
            Ok(Ok(addresses)) if addresses.is_empty() => Err(Failure::NoAddress),
            Ok(Ok(addresses)) => Ok(Answer { addresses, ..Answer::new(UNKNOWN_TTL) }),
            Ok(Err(error)) => Err(Failure::of(&error)),
            Err(_) => Err(Failure::Silent),
        }
    }
}

/// The name servers of a `resolv.conf`. Those with a zone are left to the C library.
fn client(file: &str, port: u16) -> Option<Client> {
    let words = |key: &'static str| {
        let lines = file.lines().map(str::split_ascii_whitespace);
        lines.filter_map(move |mut words| (words.next() == Some(key)).then_some(words))
    };
    let servers = words("nameserver").filter_map(|mut words| words.next()?.parse::<IpAddr>().ok());
    let servers: Arc<[_]> =
        servers.take(MOST_SERVERS).map(|address| SocketAddr::new(address, port)).collect();
    let tcp = words("options").flatten().any(|option| option == "use-vc");
    (!servers.is_empty()).then_some(Client { servers, tcp })
}

#[cfg(test)]
mod tests {
    #[test]
    fn resolver_files_are_read_as_the_c_library_does() {
        let file = "# nameserver 9.9.9.9\nnameserver 127.0.0.53 # here\nsearch a.test\nnameserver fe80::1%eth0\n\
                    nameserver ::1\nnameserver bad\noptions edns0 use-vc\nnameserver 1.1.1.1\nnameserver 2.2.2.2\n";
        let client = super::client(file, 53).unwrap();
        let expected = ["127.0.0.53:53", "[::1]:53", "1.1.1.1:53"].map(|text| text.parse().unwrap());
        assert_eq!((&*client.servers, client.tcp), (&expected[..], true));
        assert!(super::client("options use-vc\n", 53).is_none());
        assert!(!super::client("nameserver ::1\n", 53).unwrap().tcp);
    }
}
