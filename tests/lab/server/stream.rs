//! Servers of streams: TCP and unix sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::thread::{Pump, Served};
use super::{GREETING, Seen};
use crate::Lab;

/// A TCP server.
pub struct TcpServer {
    address: SocketAddr,
    served: Served<Streams>,
}

impl TcpServer {
    /// On an address of loopback: greets by a line.
    pub fn start(ip: impl Into<IpAddr>) -> Self {
        Self::new(ip.into(), Manner::Greet)
    }

    /// On 127.0.0.1.
    pub fn v4() -> Self {
        Self::start([127, 0, 0, 1])
    }

    /// On ::1.
    pub fn v6() -> Self {
        Self::start(std::net::Ipv6Addr::LOCALHOST)
    }

    /// On several addresses of loopback, all with the same port.
    pub fn same_port<const N: usize>(addresses: [&str; N]) -> [Self; N] {
        listeners_on_same_port(addresses).map(|listener| Self::of(listener, Manner::Greet))
    }

    /// As [`TcpServer::same_port`], speaking HTTP.
    pub fn http_on_same_port<const N: usize>(addresses: [&str; N], files: &Path) -> [Self; N] {
        listeners_on_same_port(addresses).map(|listener| Self::of(listener, Manner::Http(files.to_owned())))
    }

    /// On this very address; `None` when it is taken.
    pub fn on(address: SocketAddr) -> Option<Self> {
        TcpListener::bind(address).ok().map(|listener| Self::of(listener, Manner::Greet))
    }

    /// Speaks HTTP: serves the files below a directory.
    pub fn http(ip: impl Into<IpAddr>, files: impl Into<PathBuf>) -> Self {
        Self::new(ip.into(), Manner::Http(files.into()))
    }

    fn new(ip: IpAddr, manner: Manner) -> Self {
        Self::of(TcpListener::bind((ip, 0)).unwrap(), manner)
    }

    fn of(listener: TcpListener, manner: Manner) -> Self {
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        TcpServer { address, served: Served::start(Streams::new(listener, manner)) }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The rule that allows it, and nothing else.
    pub fn rule(&self) -> String {
        self.address.to_string()
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// The connections that have come, with their bytes so far.
    pub fn saw(&self) -> Vec<Seen> {
        self.served.look(Streams::seen)
    }
}

fn listeners_on_same_port<const N: usize>(addresses: [&str; N]) -> [TcpListener; N] {
    for _ in 0..100 {
        let first = TcpListener::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let rest = addresses[1..].iter().map(|ip| TcpListener::bind((*ip, port)));
        let all: Result<Vec<_>, _> = std::iter::once(Ok(first)).chain(rest).collect();
        // Else somebody has that port on one of the others.
        if let Some(all) = all.ok().and_then(|all| all.try_into().ok()) {
            return all;
        }
    }
    panic!("no port is free on all of {addresses:?}")
}

/// A server on a unix socket.
pub struct UnixServer {
    served: Served<Streams>,
}

impl UnixServer {
    /// At a path; of the lab's user.
    pub fn at(lab: &Lab, path: impl AsRef<Path>) -> Self {
        let server = Self::new(UnixListener::bind(&path).unwrap());
        lab.own(path.as_ref());
        server
    }

    /// Under an abstract name.
    pub fn named(name: impl AsRef<[u8]>) -> Self {
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        Self::new(UnixListener::bind_addr(&address).unwrap())
    }

    fn new(listener: UnixListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        UnixServer { served: Served::start(Streams::new(listener, Manner::Greet)) }
    }

    /// The connections that have come, with their bytes so far.
    pub fn saw(&self) -> Vec<Seen> {
        self.served.look(Streams::seen)
    }
}

/// What a server does.
enum Manner {
    /// Sends a line at once.
    Greet,
    /// Answers one request with a file.
    Http(PathBuf),
}

struct Streams {
    listener: Box<dyn Listener>,
    manner: Manner,
    connections: Vec<Connection>,
}

struct Connection {
    stream: Option<Box<dyn Stream>>,
    seen: Seen,
    answered: bool,
}

trait Stream: Read + Write + AsRawFd + Send {}
impl<T: Read + Write + AsRawFd + Send> Stream for T {}

trait Listener: AsRawFd + Send {
    fn take(&self) -> Option<(Box<dyn Stream>, Option<SocketAddr>)>;
}

impl Listener for TcpListener {
    fn take(&self) -> Option<(Box<dyn Stream>, Option<SocketAddr>)> {
        let (stream, from) = self.accept().ok()?;
        stream.set_nonblocking(true).unwrap();
        Some((Box::new(stream), Some(from)))
    }
}

impl Listener for UnixListener {
    fn take(&self) -> Option<(Box<dyn Stream>, Option<SocketAddr>)> {
        let (stream, _) = self.accept().ok()?;
        stream.set_nonblocking(true).unwrap();
        Some((Box::new(stream), None))
    }
}

impl Streams {
    fn new(listener: impl Listener + 'static, manner: Manner) -> Self {
        Streams { listener: Box::new(listener), manner, connections: Vec::new() }
    }

    fn seen(&self) -> Vec<Seen> {
        self.connections.iter().map(|connection| connection.seen.clone()).collect()
    }
}

impl Pump for Streams {
    fn sources(&self) -> Vec<RawFd> {
        let streams = self.connections.iter().filter_map(|connection| connection.stream.as_ref());
        std::iter::once(self.listener.as_raw_fd()).chain(streams.map(|stream| stream.as_raw_fd())).collect()
    }

    fn pump(&mut self) {
        while let Some((mut stream, from)) = self.listener.take() {
            if matches!(self.manner, Manner::Greet) {
                let _ = stream.write_all(GREETING);
            }
            let seen = Seen { from, bytes: Vec::new() };
            self.connections.push(Connection { stream: Some(stream), seen, answered: false });
        }
        for connection in &mut self.connections {
            connection.pump(&self.manner);
        }
    }
}

impl Connection {
    fn pump(&mut self, manner: &Manner) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut buffer = [0; 65536];
        let ended = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(count) => self.seen.bytes.extend(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error.kind() != ErrorKind::WouldBlock,
            }
        };
        if let Manner::Http(files) = manner
            && !self.answered
            && let Some(path) = requested(&self.seen.bytes)
        {
            self.answered = true;
            let _ = stream.write_all(&answer(files, path));
            self.stream = None;
        } else if ended {
            self.stream = None;
        }
    }
}

/// The path of a complete HTTP request, without a query.
fn requested(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, _) = text.split_once("\r\n\r\n")?;
    head.split(' ').nth(1)?.split('?').next()
}

fn answer(files: &Path, path: &str) -> Vec<u8> {
    let content = std::fs::read(files.join(path.trim_start_matches('/')));
    let status = if content.is_ok() { "200 OK" } else { "404 Not Found" };
    let content = content.unwrap_or_default();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
    [head.into_bytes(), content].concat()
}
