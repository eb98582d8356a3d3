//! What a proxy costs, beside the same client without one: `cargo bench -p sandlock-proxy`.
//!
//! The client and the upstream are threads that do as little as can be, in the clear; with TLS both are rustls.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench shows numbers, and may fail loudly"
)]

#[path = "../tests/lab/mod.rs"]
mod lab;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::Lab;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use sandlock_proxy::{Authority, Tls};

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: a.test\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
const LAST: &[u8] = b"GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
const BIG: usize = 1 << 30;
const TIME: Duration = Duration::from_secs(2);

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Answers each request with 1 KiB, or with 1 GiB.
fn serve(mut stream: impl Stream, big: bool) {
    let size = if big { BIG } else { 1024 };
    let answer =
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").into_bytes(), vec![b'x'; 1024]]
            .concat();
    let block = vec![b'x'; 256 * 1024];
    let (mut bytes, mut filled) = (vec![0; 4096], 0);
    loop {
        match stream.read(&mut bytes[filled..]) {
            Ok(count @ 1..) => filled += count,
            _ => return,
        }
        if !bytes[..filled].ends_with(b"\r\n\r\n") {
            continue;
        }
        filled = 0;
        if !big {
            let _ = stream.write_all(&answer);
            continue;
        }
        let _ = stream.write_all(&answer[..answer.len() - 1024]);
        for _ in 0..BIG / block.len() {
            if stream.write_all(&block).is_err() {
                return;
            }
        }
    }
}

fn upstream(tls: Option<Arc<ServerConfig>>, big: bool) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, tls) = (stream.unwrap(), tls.clone());
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || match tls {
                Some(config) => serve(StreamOwned::new(ServerConnection::new(config).unwrap(), stream), big),
                None => serve(stream, big),
            });
        }
    });
    address
}

/// One request and its answer; how many bytes of body.
fn ask(stream: &mut impl Stream, request: &[u8], bytes: &mut [u8]) -> usize {
    stream.write_all(request).unwrap();
    let (mut filled, mut length) = (0, None);
    loop {
        let count = stream.read(&mut bytes[filled..]).unwrap();
        assert_ne!(count, 0);
        match length {
            None => {
                filled += count;
                if let Some(end) = bytes[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
                    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                    assert!(head.starts_with("http/1.1 200"), "{head}");
                    let (_, rest) = head.split_once("content-length: ").unwrap();
                    let wanted: usize = rest.lines().next().unwrap().trim().parse().unwrap();
                    length = Some((wanted, filled - end - 4));
                    filled = 0;
                }
            }
            Some((_, ref mut came)) => *came += count,
        }
        if let Some((wanted, came)) = length
            && came >= wanted
        {
            return came;
        }
    }
}

struct Client {
    lab: Option<Arc<Lab>>,
    to: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Client {
    fn connect(&self) -> Box<dyn Stream> {
        let stream = match &self.lab {
            Some(lab) => lab.connect(self.to),
            None => TcpStream::connect(self.to).unwrap(),
        };
        stream.set_nodelay(true).unwrap();
        match &self.tls {
            Some(config) => {
                let name = ServerName::try_from("a.test").unwrap();
                let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
                Box::new(StreamOwned::new(connection, stream))
            }
            None => Box::new(stream),
        }
    }

    /// Requests a second, and the median of what one took.
    fn keep_alive(&self) -> (f64, Duration) {
        let (mut stream, mut bytes) = (self.connect(), vec![0; 256 * 1024]);
        for _ in 0..200 {
            ask(&mut stream, REQUEST, &mut bytes);
        }
        measure(|| {
            ask(&mut stream, REQUEST, &mut bytes);
        })
    }

    /// The same with eight clients at once.
    fn many(&self) -> f64 {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| self.keep_alive().0)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        })
    }

    fn connections(&self) -> (f64, Duration) {
        let mut bytes = vec![0; 256 * 1024];
        measure(|| {
            ask(&mut self.connect(), LAST, &mut bytes);
        })
    }

    /// MiB a second.
    fn big(&self) -> f64 {
        let (mut stream, mut bytes) = (self.connect(), vec![0; 256 * 1024]);
        let started = Instant::now();
        ask(&mut stream, REQUEST, &mut bytes);
        (BIG >> 20) as f64 / started.elapsed().as_secs_f64()
    }
}

fn measure(mut act: impl FnMut()) -> (f64, Duration) {
    let (started, mut took) = (Instant::now(), Vec::new());
    while started.elapsed() < TIME {
        let began = Instant::now();
        act();
        took.push(began.elapsed());
    }
    took.sort();
    (took.len() as f64 / started.elapsed().as_secs_f64(), took[took.len() / 2])
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn show(what: &str, direct: &Client, through: &Client, big: (&Client, &Client)) {
    let ((a, la), (b, lb)) = (direct.keep_alive(), through.keep_alive());
    println!(
        "{what} keep-alive: direct {a:.0}/s, through {b:.0}/s ({:.0} %), {:?} more",
        100.0 * b / a,
        lb.saturating_sub(la)
    );
    let (a, b) = (direct.many(), through.many());
    println!("{what} keep-alive, 8 at once: direct {a:.0}/s, through {b:.0}/s ({:.0} %)", 100.0 * b / a);
    let ((a, la), (b, lb)) = (direct.connections(), through.connections());
    println!(
        "{what} connections: direct {a:.0}/s, through {b:.0}/s ({:.0} %), {:?} more",
        100.0 * b / a,
        lb.saturating_sub(la)
    );
    let (a, before) = (big.0.big(), resident());
    let b = big.1.big();
    println!(
        "{what} 1 GiB: direct {a:.0} MiB/s, through {b:.0} MiB/s ({:.0} %), {} MiB more resident",
        100.0 * b / a,
        resident().saturating_sub(before)
    );
}

fn clients(tls: bool) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, leaf.pem()).unwrap();
    let server = tls.then(|| {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Arc::new(builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], private).unwrap())
    });
    let (small, large) = (upstream(server.clone(), false), upstream(server, true));
    let client = |certificate: &CertificateDer<'static>| {
        let mut store = RootCertStore::empty();
        store.add(certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        Arc::new(builder.with_root_certificates(store).with_no_client_auth())
    };
    let authority = Authority::generate(&[]).unwrap();
    let ours = CertificateDer::from(authority.cert_der());
    let lab = Arc::new(Lab::with(
        &[&format!("GET a.test:{}", small.port()), &format!("GET a.test:{}", large.port())],
        &[],
        |settings| {
            settings.tls = Tls::Inject(authority);
            settings.upstream_roots = vec![roots];
        },
    ));
    let direct = |to| Client { lab: None, to, tls: tls.then(|| client(leaf.der())) };
    let through = |to| Client { lab: Some(Arc::clone(&lab)), to, tls: tls.then(|| client(&ours)) };
    if tls {
        for (what, client) in
            [("direct", direct(small)), ("through", through(small)), ("through, again", through(small))]
        {
            let (started, mut bytes) = (Instant::now(), vec![0; 65536]);
            ask(&mut client.connect(), LAST, &mut bytes);
            println!("first TLS connection {what}: {:?}", started.elapsed());
        }
    }
    let what = if tls { "TLS" } else { "clear" };
    show(what, &direct(small), &through(small), (&direct(large), &through(large)));
}

fn main() {
    clients(false);
    clients(true);
}
