//! What a pinned socket is: asked of the socket itself, never taken from the address that the caller wrote.

use std::os::fd::BorrowedFd;

use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketType, ipproto};
use sandlock_policy::Protocol;
use sandlock_sys::Errno;

/// The kinds of socket that a call on behalf can be about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Socket {
    /// IPv4 or IPv6, with the protocol whose rules apply.
    Internet { family: Family, protocol: Protocol },
    /// A unix socket.
    Unix(UnixKind),
    /// A netlink socket.
    Netlink,
}

/// `AF_INET` or `AF_INET6`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

/// The types of unix socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UnixKind {
    Stream,
    SeqPacket,
    Datagram,
}

impl Socket {
    /// Whether it is a stream of bytes, where a call may be cut in pieces.
    pub(crate) fn is_stream(self) -> bool {
        self.is_tcp() || self == Socket::Unix(UnixKind::Stream)
    }

    pub(crate) fn is_tcp(self) -> bool {
        matches!(self, Socket::Internet { protocol: Protocol::Tcp, .. })
    }

    /// The longest message that may be sent on it in one call, in bytes. A stream takes any length.
    pub(crate) fn longest_message(self) -> usize {
        match self {
            // An IPv4 packet less its headers; more is refused before anything is copied.
            Socket::Internet { family: Family::V4, protocol: Protocol::Udp } => 0xFFFF - 20 - 8,
            // "if (len > 0xFFFF) return -EMSGSIZE": net/ipv6/udp.c and net/ipv4/ping.c.
            Socket::Internet { protocol: Protocol::Udp | Protocol::Icmp, .. } => 0xFFFF,
            _ if self.is_stream() => usize::MAX,
            _ => LONGEST_MESSAGE,
        }
    }

    /// Asks the socket.
    ///
    /// # Errors
    ///
    /// ENOTSOCK for another kind of file; EACCES for a kind of socket that no rule speaks of (one that was
    /// inherited or received: none can be made inside).
    pub(crate) fn of(socket: BorrowedFd<'_>) -> Result<Self, Errno> {
        let domain = sockopt::socket_domain(socket)?;
        if domain == AddressFamily::UNIX {
            return Ok(Socket::Unix(match sockopt::socket_type(socket)? {
                SocketType::STREAM => UnixKind::Stream,
                SocketType::SEQPACKET => UnixKind::SeqPacket,
                SocketType::DGRAM => UnixKind::Datagram,
                _ => return Err(Errno::ACCESS),
            }));
        }
        let protocol = sockopt::socket_protocol(socket)?;
        if domain == AddressFamily::NETLINK {
            // NETLINK_ROUTE is protocol 0.
            return if protocol.is_none() { Ok(Socket::Netlink) } else { Err(Errno::ACCESS) };
        }
        let family = match domain {
            AddressFamily::INET => Family::V4,
            AddressFamily::INET6 => Family::V6,
            _ => return Err(Errno::ACCESS),
        };
        let protocol = match protocol {
            Some(ipproto::TCP) => Protocol::Tcp,
            Some(protocol) if sockopt::socket_type(socket)? == SocketType::DGRAM => match protocol {
                ipproto::UDP => Protocol::Udp,
                ipproto::ICMP if family == Family::V4 => Protocol::Icmp,
                ipproto::ICMPV6 if family == Family::V6 => Protocol::Icmp,
                _ => return Err(Errno::ACCESS),
            },
            _ => return Err(Errno::ACCESS),
        };
        Ok(Socket::Internet { family, protocol })
    }
}

/// 64 MiB: more than the kernel's own limits for unix datagrams (`net.core.wmem_max`) let through.
const LONGEST_MESSAGE: usize = 64 << 20;

/// What a socket is known by in the tables of the kernel.
pub(crate) fn inode(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    Ok(rustix::fs::fstat(socket)?.st_ino)
}
