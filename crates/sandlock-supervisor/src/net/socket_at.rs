//! Whose socket is at an address: the kernel is asked, by `sock_diag(7)`, for the one socket that would be reached.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use sandlock_policy::Protocol;
use sandlock_sys::Errno;

/// Asks the kernel about sockets.
pub(crate) struct SocketDiag {
    socket: OwnedFd,
    asked: Cell<u32>,
}

impl SocketDiag {
    pub(crate) fn new() -> Result<Self, Errno> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        Ok(SocketDiag { socket, asked: Cell::new(0) })
    }

    /// The inode of the socket that takes what comes to this address from nobody in particular: one that listens, or
    /// a datagram socket that is not connected. `None` when there is none, or the kernel does not say.
    pub(crate) fn socket_at(&self, protocol: Protocol, address: IpAddr, port: u16) -> Option<u64> {
        self.ask(protocol, SocketAddr::new(address, port), None)
    }

    /// The inode of the socket at `here` that is connected to `there`. `None` when nobody has it: it is not accepted,
    /// or closed.
    pub(crate) fn socket_between(
        &self,
        protocol: Protocol,
        here: SocketAddr,
        there: SocketAddr,
    ) -> Option<u64> {
        self.ask(protocol, here, Some(there))
    }

    fn ask(&self, protocol: Protocol, here: SocketAddr, there: Option<SocketAddr>) -> Option<u64> {
        let number = self.asked.get().wrapping_add(1);
        self.asked.set(number);
        rustix::net::send(&self.socket, &request(number, protocol, here, there)?, SendFlags::empty()).ok()?;
        let mut answer = [0; 1024];
        loop {
            let (count, _) = rustix::net::recv(&self.socket, &mut answer[..], RecvFlags::empty()).ok()?;
            // One that nobody waited for is not this one.
            if answer[..count].get(8..12) == Some(&number.to_ne_bytes()) {
                return inode_in(&answer[..count]);
            }
        }
    }
}

/// `struct nlmsghdr`, `struct inet_diag_req_v2`.
fn request(number: u32, protocol: Protocol, here: SocketAddr, there: Option<SocketAddr>) -> Option<Vec<u8>> {
    let protocol_number = match protocol {
        Protocol::Tcp => IPPROTO_TCP,
        Protocol::Udp => IPPROTO_UDP,
        Protocol::Icmp => return None,
    };
    let family = if here.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut ends = [[0u8; 16]; 2];
    let mut ports = [0u16, 0];
    // "src and dst are swapped for historical reasons": udp_dump_one of net/ipv4/udp_diag.c.
    let own = usize::from(protocol == Protocol::Udp);
    for (end, address) in [(own, Some(here)), (1 - own, there)] {
        let Some(address) = address else { continue };
        match address.ip() {
            IpAddr::V4(v4) => ends[end][..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => ends[end].copy_from_slice(&v6.octets()),
        }
        ports[end] = address.port();
    }
    let mut bytes = Vec::with_capacity(REQUEST);
    bytes.extend((REQUEST as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, protocol_number, 0, 0]);
    // Every state.
    bytes.extend(u32::MAX.to_ne_bytes());
    ports.iter().for_each(|port| bytes.extend(port.to_be_bytes()));
    ends.iter().for_each(|end| bytes.extend(end));
    bytes.extend([0; 4]);
    // INET_DIAG_NOCOOKIE.
    bytes.extend([0xff; 8]);
    Some(bytes)
}

/// The inode in a `struct inet_diag_msg`; `None` for an error or anything else.
fn inode_in(answer: &[u8]) -> Option<u64> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if kind != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let inode = u32::from_ne_bytes(answer.get(HEADER + 68..HEADER + 72)?.try_into().ok()?);
    (inode != 0).then_some(u64::from(inode))
}

const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use super::*;

    fn inode(socket: impl AsFd) -> u64 {
        rustix::fs::fstat(socket).unwrap().st_ino
    }

    #[test]
    fn the_socket_that_is_reached_is_told() {
        let diag = SocketDiag::new().unwrap();
        for (bound, asked) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("0.0.0.0:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
            ("[::]:0", "::1"),
            ("[::]:0", "127.0.0.1"),
        ] {
            let (bound, asked): (SocketAddr, IpAddr) = (bound.parse().unwrap(), asked.parse().unwrap());
            let listener = TcpListener::bind(bound).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_eq!(diag.socket_at(Protocol::Tcp, asked, port), Some(inode(&listener)), "{bound}");
            drop(listener);
            assert_eq!(diag.socket_at(Protocol::Tcp, asked, port), None, "{bound}");
            let socket = UdpSocket::bind(bound).unwrap();
            let port = socket.local_addr().unwrap().port();
            assert_eq!(diag.socket_at(Protocol::Udp, asked, port), Some(inode(&socket)), "{bound}");
        }
    }

    #[test]
    fn the_socket_of_a_connection_is_told() {
        let diag = SocketDiag::new().unwrap();
        for bound in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(bound).unwrap();
            let port = listener.local_addr().unwrap().port();
            let to = if bound == "[::1]:0" { "[::1]" } else { "127.0.0.1" };
            let to: SocketAddr = format!("{to}:{port}").parse().unwrap();
            let client = TcpStream::connect(to).unwrap();
            let there = client.local_addr().unwrap();
            // Not accepted yet: nobody's.
            assert_eq!(diag.socket_between(Protocol::Tcp, to, there), None, "{bound}");
            let (accepted, _) = listener.accept().unwrap();
            assert_eq!(diag.socket_between(Protocol::Tcp, to, there), Some(inode(&accepted)), "{bound}");
        }
    }

    #[test]
    fn what_is_no_answer_tells_nothing() {
        assert_eq!(inode_in(&[]), None);
        assert_eq!(inode_in(&[0; 200]), None);
        let mut short = [0; 40];
        short[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        assert_eq!(inode_in(&short), None);
    }
}
