//! The thread of the proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::crypto::ring::default_provider;
use sandlock_service::{Doors, Thread};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;

use crate::auth::Auths;
use crate::certificates::Certificates;
use crate::connection;
use crate::limits::{MOST_CONNECTIONS, MOST_REQUESTS, PATIENCE, Patience};
use crate::run::Run;
use crate::trust;
use crate::upstream::Upstreams;
use crate::{Settings, Tls};

/// Serves the announced connections of programs, in a thread of its own. Dropping it ends the thread, and all connections.
#[derive(Debug)]
pub struct Proxy {
    /// Each connection comes with where its program wanted it to go.
    doors: Doors<SocketAddr>,
    _thread: Thread,
}

impl Proxy {
    /// Starts it.
    ///
    /// # Errors
    /// No thread can be started, the kernel refuses to wait for a listener, or a file of certificates has none.
    pub fn start(settings: Settings) -> io::Result<Proxy> {
        Proxy::start_with(settings, PATIENCE)
    }

    pub(crate) fn start_with(settings: Settings, patience: Patience) -> io::Result<Proxy> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let Settings {
            rules,
            listeners,
            tls,
            upstream_roots,
            upstream_proxy,
            passthrough,
            names,
            outbox,
            ..
        } = settings;
        let auths = Auths::new(settings.auths, settings.cleartext_credentials);
        let listeners = listeners.into_iter().map(|listener| Doors::<SocketAddr>::open(&runtime, listener));
        let listeners = listeners.collect::<io::Result<Vec<TcpListener>>>()?;
        let provider = Arc::new(default_provider());
        let mut roots = trust::given(&upstream_roots)?;
        let certificates = match tls {
            Tls::ByName => None,
            Tls::Inject(authority) => Some(Arc::new(Certificates::new(authority, Arc::clone(&provider)))),
        };
        let next_told = Mutex::new(tokio::time::Instant::now());
        let doors = Doors::new(MOST_CONNECTIONS);
        let entrance = doors.clone();
        let thread = Thread::start("http", move |stopped| {
            // It takes a while, which nobody has to wait for.
            if certificates.is_some() {
                trust::add_native(&mut roots);
            }
            let upstreams = Upstreams::new(patience, provider, upstream_proxy, roots);
            let run = Run {
                rules,
                requests: Arc::new(Semaphore::new(MOST_REQUESTS)),
                names,
                upstreams,
                auths,
                certificates,
                passthrough,
                patience,
                outbox,
                next_told,
            };
            let run = Arc::new(run);
            runtime.block_on(async {
                for listener in listeners {
                    tokio::spawn(accept(Arc::clone(&run), listener, entrance.clone()));
                }
                stopped.wait().await;
            });
            // What a look-up of the machine's own still waits for is nobody's business any more.
            runtime.shutdown_background();
        })?;
        Ok(Proxy { doors, _thread: thread })
    }

    /// The connection from this address is of a program of the run, which wanted it to go to `to`.
    pub fn announced(&self, from: SocketAddr, to: SocketAddr) {
        self.doors.announce(from, to);
    }
}

/// Accepts connections, as long as it is polled.
async fn accept(run: Arc<Run>, listener: TcpListener, doors: Doors<SocketAddr>) {
    loop {
        let newcomer = doors.next(&listener).await;
        let run = Arc::clone(&run);
        tokio::spawn(async move {
            if let Some((stream, to, place)) = newcomer.admitted().await {
                connection::serve(run, stream, to, place).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
    use std::time::Duration;

    use sandlock_policy::HttpRules;

    use super::*;
    use crate::NamesOf;

    struct Nobody;

    impl NamesOf for Nobody {
        fn knows(&self, _: &str) -> bool {
            false
        }

        fn is_of(&self, _: &str, _: IpAddr) -> bool {
            false
        }
    }

    const SHORT: Patience = Patience {
        head: Duration::from_millis(200),
        idle: Duration::from_millis(400),
        connect: Duration::from_millis(200),
    };

    /// A program's connection to a proxy of little patience.
    fn connect(to: SocketAddr) -> (Proxy, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut settings = Settings::new(Arc::new(HttpRules::default()), Arc::new(Nobody), Box::new(|_| {}));
        settings.listeners = vec![listener];
        let proxy = Proxy::start_with(settings, SHORT).unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        proxy.announced(stream.local_addr().unwrap(), to);
        (proxy, stream)
    }

    fn is_closed(stream: &mut TcpStream) -> bool {
        stream.read_to_end(&mut Vec::new()).is_ok()
    }

    #[test]
    fn who_says_nothing_is_not_waited_for() {
        for beginning in
            [&b""[..], b"G", b"GET / HTTP/1.1\r\nHost: x\r\n", b"PRI * HTTP", b"\x16\x03\x01\x01\0\x01"]
        {
            let (_proxy, mut stream) = connect(([127, 0, 0, 1], 80).into());
            stream.write_all(beginning).unwrap();
            assert!(is_closed(&mut stream), "{beginning:?}");
        }
        let (_proxy, mut stream) = connect(([127, 0, 0, 1], 80).into());
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        assert!(is_closed(&mut stream));
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
        let (_proxy, mut stream) = connect(([127, 0, 0, 1], 80).into());
        let sent = (0..1000).take_while(|_| {
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(b"G").is_ok()
        });
        assert!(sent.count() < 100);
    }

    #[test]
    fn an_answer_may_take_as_long_as_it_likes() {
        let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = upstream.local_addr().unwrap();
        let (_proxy, mut stream) = connect(to);
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).unwrap();
        let (mut server, _) = upstream.accept().unwrap();
        std::thread::sleep(SHORT.idle * 3);
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }

    #[test]
    fn a_proxy_that_is_dropped_is_gone() {
        let (proxy, mut stream) = connect(([127, 0, 0, 1], 80).into());
        let address = stream.peer_addr().unwrap();
        drop(proxy);
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        assert!(TcpStream::connect(address).is_err());
    }
}
