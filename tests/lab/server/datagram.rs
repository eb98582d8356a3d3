//! A server of datagrams.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use super::thread::{Pump, Served};
use super::{GREETING, Seen};

/// A UDP server: answers each datagram by a line.
pub struct UdpServer {
    address: SocketAddr,
    served: Served<Datagrams>,
}

impl UdpServer {
    /// On an address of loopback.
    pub fn start(ip: impl Into<IpAddr>) -> Self {
        Self::of(UdpSocket::bind((ip.into(), 0)).unwrap())
    }

    /// On this very address; `None` when it is taken.
    pub fn on(address: SocketAddr) -> Option<Self> {
        UdpSocket::bind(address).ok().map(Self::of)
    }

    fn of(socket: UdpSocket) -> Self {
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        UdpServer { address, served: Served::start(Datagrams { socket, seen: Vec::new() }) }
    }

    /// On 127.0.0.1.
    pub fn v4() -> Self {
        Self::start([127, 0, 0, 1])
    }

    /// On ::1.
    pub fn v6() -> Self {
        Self::start(std::net::Ipv6Addr::LOCALHOST)
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
        format!("udp://{}", self.address)
    }

    /// The datagrams that have come.
    pub fn saw(&self) -> Vec<Seen> {
        self.served.look(|datagrams| datagrams.seen.clone())
    }
}

struct Datagrams {
    socket: UdpSocket,
    seen: Vec<Seen>,
}

impl Pump for Datagrams {
    fn sources(&self) -> Vec<RawFd> {
        vec![self.socket.as_raw_fd()]
    }

    fn pump(&mut self) {
        let mut buffer = [0; 65536];
        while let Ok((count, from)) = self.socket.recv_from(&mut buffer) {
            self.seen.push(Seen { from: Some(from), bytes: buffer[..count].to_vec() });
            let _ = self.socket.send_to(GREETING, from);
        }
    }
}
