//! Socket addresses: read once from the caller, then judged as the socket would understand them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use sandlock_policy::{Allowed, Destination, Protocol};
use sandlock_sys::{ChildPtr, Errno, Tid, memory};

use super::socket::Family;

/// The bytes of a `struct sockaddr`, as the caller had them at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawAddress {
    bytes: [u8; LONGEST],
    len: usize,
}

/// What an address means to an IPv4 or IPv6 socket.
#[derive(Clone, Debug)]
pub(crate) enum Meaning {
    /// `AF_UNSPEC`: take the destination back.
    Disconnect,
    /// A place to reach.
    Place(Destination, Form),
}

/// How a destination is to be written for the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// `struct sockaddr_in`.
    V4,
    /// `struct sockaddr_in6`, with an IPv4 address mapped; and the scope that the caller gave.
    V6 { scope: u32 },
}

impl RawAddress {
    /// Copies an address, as `move_addr_to_kernel` of net/socket.c does.
    ///
    /// # Errors
    ///
    /// EINVAL for a length below 0 or above 128, EFAULT when it cannot be read.
    pub(crate) fn read(tid: Tid, from: ChildPtr, len: i32) -> Result<Self, Errno> {
        let len = usize::try_from(len).ok().filter(|len| *len <= LONGEST).ok_or(Errno::INVAL)?;
        let mut address = RawAddress { bytes: [0; LONGEST], len };
        memory::read(tid, from, &mut address.bytes[..len])?;
        Ok(address)
    }

    /// An address whose bytes were read together with other things. More than 128 bytes are cut off, as
    /// `sendmsg` does.
    pub(crate) fn from_bytes(from: &[u8]) -> Self {
        let len = from.len().min(LONGEST);
        let mut bytes = [0; LONGEST];
        bytes[..len].copy_from_slice(&from[..len]);
        RawAddress { bytes, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The family that the caller wrote; `None` when there is not even room for one.
    pub(crate) fn family(&self) -> Option<u16> {
        (self.len >= 2).then(|| u16::from_ne_bytes([self.bytes[0], self.bytes[1]]))
    }

    /// What `connect` on such a socket makes of it.
    ///
    /// # Errors
    ///
    /// What the kernel says to an address that the socket cannot use.
    pub(crate) fn for_connect(&self, family: Family, protocol: Protocol) -> Result<Meaning, Errno> {
        match self.family().ok_or(Errno::INVAL)? {
            AF_UNSPEC => Ok(Meaning::Disconnect),
            _ => self.place(family, protocol),
        }
    }

    /// What sending to it means; `None` is the connected peer.
    ///
    /// # Errors
    ///
    /// As [`RawAddress::for_connect`].
    pub(crate) fn for_send(&self, family: Family, protocol: Protocol) -> Result<Option<Meaning>, Errno> {
        match (family, protocol, self.family()) {
            // udp_sendmsg of net/ipv4/udp.c takes an unspecified family for IPv4.
            (Family::V4, Protocol::Udp, Some(AF_UNSPEC)) => self.v4(protocol).map(Some),
            // udpv6_sendmsg of net/ipv6/udp.c takes it for no name at all, and knows only these families.
            (Family::V6, Protocol::Udp, Some(AF_UNSPEC)) => Ok(None),
            (Family::V6, Protocol::Udp, Some(AF_INET | AF_INET6)) => self.place(family, protocol).map(Some),
            (Family::V6, Protocol::Udp, _) => Err(Errno::INVAL),
            _ => self.place(family, protocol).map(Some),
        }
    }

    fn place(&self, socket: Family, protocol: Protocol) -> Result<Meaning, Errno> {
        let family = self.family();
        match socket {
            Family::V4 if self.len < SOCKADDR_IN => Err(Errno::INVAL),
            Family::V4 if family != Some(AF_INET) => Err(Errno::AFNOSUPPORT),
            Family::V4 => self.v4(protocol),
            // A datagram socket for IPv6 takes IPv4 names.
            Family::V6 if family == Some(AF_INET) && protocol == Protocol::Udp => self.v4(protocol),
            Family::V6 if self.len < SHORTEST_SOCKADDR_IN6 => Err(Errno::INVAL),
            Family::V6 if family != Some(AF_INET6) => Err(Errno::AFNOSUPPORT),
            Family::V6 => Ok(self.v6(protocol)),
        }
    }

    fn v4(&self, protocol: Protocol) -> Result<Meaning, Errno> {
        if self.len < SOCKADDR_IN {
            return Err(Errno::INVAL);
        }
        let b = &self.bytes;
        let address = Ipv4Addr::new(b[4], b[5], b[6], b[7]);
        Ok(Meaning::Place(Destination::new(protocol, IpAddr::V4(address), self.port(protocol)), Form::V4))
    }

    fn v6(&self, protocol: Protocol) -> Meaning {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.bytes[8..24]);
        // A shorter structure (RFC 2133) has no scope; the bytes past it are zero.
        let scope = u32::from_ne_bytes([self.bytes[24], self.bytes[25], self.bytes[26], self.bytes[27]]);
        let address = IpAddr::V6(Ipv6Addr::from(octets));
        Meaning::Place(Destination::new(protocol, address, self.port(protocol)), Form::V6 { scope })
    }

    /// ICMP has no ports: what stands there says nothing.
    fn port(&self, protocol: Protocol) -> u16 {
        match protocol {
            Protocol::Icmp => 0,
            _ => u16::from_be_bytes([self.bytes[2], self.bytes[3]]),
        }
    }
}

/// Writes a checked destination as the socket takes it: canonical, so that nothing that the check did not see,
/// such as an unspecified address that means the socket's own, is left to the kernel's reading.
pub(crate) fn socket_address(destination: &Allowed<Destination>, form: Form) -> SocketAddr {
    let destination = destination.get();
    let port = destination.port();
    match (form, destination.address()) {
        (Form::V4, IpAddr::V4(address)) => SocketAddrV4::new(address, port).into(),
        (Form::V6 { scope }, IpAddr::V6(address)) => SocketAddrV6::new(address, port, 0, scope).into(),
        (Form::V6 { scope }, IpAddr::V4(address)) => {
            SocketAddrV6::new(address.to_ipv6_mapped(), port, 0, scope).into()
        }
        // A V4 form never holds an IPv6 address; if it did, the socket refuses this one.
        (Form::V4, IpAddr::V6(address)) => SocketAddrV6::new(address, port, 0, 0).into(),
    }
}

/// A checked destination as somebody else is to connect to it. On a link's own addresses the scope is a part of where.
pub(crate) fn wanted_address(destination: &Allowed<Destination>, form: Form) -> SocketAddr {
    match (form, destination.get().address()) {
        (Form::V6 { .. }, IpAddr::V6(address)) if address.is_unicast_link_local() => {
            socket_address(destination, form)
        }
        _ => destination.get().socket_addr(),
    }
}

/// A checked destination as the bytes of a `struct sockaddr`.
pub(crate) fn socket_address_bytes(destination: &Allowed<Destination>, form: Form) -> Vec<u8> {
    bytes_of(socket_address(destination, form))
}

/// An address as the bytes of a `struct sockaddr`.
pub(crate) fn bytes_of(address: SocketAddr) -> Vec<u8> {
    match address {
        SocketAddr::V4(address) => {
            let mut bytes = [0; SOCKADDR_IN];
            bytes[..2].copy_from_slice(&AF_INET.to_ne_bytes());
            bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
            bytes[4..8].copy_from_slice(&address.ip().octets());
            bytes.to_vec()
        }
        SocketAddr::V6(address) => {
            let mut bytes = [0; SOCKADDR_IN6];
            bytes[..2].copy_from_slice(&AF_INET6.to_ne_bytes());
            bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
            bytes[8..24].copy_from_slice(&address.ip().octets());
            bytes[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
            bytes.to_vec()
        }
    }
}

/// `sizeof(struct sockaddr_storage)`.
pub(crate) const LONGEST: usize = 128;
const SOCKADDR_IN: usize = 16;
const SOCKADDR_IN6: usize = 28;
/// `SIN6_LEN_RFC2133`: without the scope.
const SHORTEST_SOCKADDR_IN6: usize = 24;
pub(crate) const AF_UNSPEC: u16 = 0;
pub(crate) const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
pub(crate) const AF_NETLINK: u16 = 16;
