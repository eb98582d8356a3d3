//! Where a message goes: its name judged for the socket that it is sent on.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use sandlock_policy::{Allowed, Destination};
use sandlock_sys::Errno;

use super::address::{AF_UNSPEC, Form, Meaning, RawAddress, socket_address_bytes};
use super::netlink;
use super::socket::{Socket, UnixKind};
use super::unix::{self, Peer};
use crate::call::{Call, Failure};
use crate::context::Context;

/// Where a message may go.
#[derive(Debug)]
pub(crate) enum Target {
    /// To the connected peer, which was checked when it was connected; or nowhere, as the kernel will say.
    Connected,
    Internet(Allowed<Destination>, Form),
    Unix(Allowed<Peer>),
    /// The kernel itself, over netlink.
    Kernel,
    /// Nowhere: the socket takes no such name. Kept for the kernel to say which of the message's errors it tells, this
    /// one or another.
    Nowhere(RawAddress, Errno),
    /// Nowhere: a unix stream takes no name at all.
    Unwanted,
}

impl Target {
    /// Judges a name (`None` when the message has none).
    ///
    /// # Errors
    ///
    /// The policy's denial, or what the kernel says to a unix or netlink name that the socket cannot use.
    pub(crate) fn check(
        cx: &Context<'_>,
        call: &Call,
        kind: Socket,
        name: Option<&RawAddress>,
    ) -> Result<Self, Failure> {
        let Some(name) = name else {
            return Ok(Target::Connected);
        };
        match kind {
            // tcp_sendmsg and unix_seqpacket_sendmsg do not look at a name.
            _ if kind.is_tcp() => Ok(Target::Connected),
            Socket::Unix(UnixKind::SeqPacket) => Ok(Target::Connected),
            Socket::Unix(UnixKind::Stream) if name.bytes().is_empty() => Ok(Target::Connected),
            Socket::Unix(UnixKind::Stream) => Ok(Target::Unwanted),
            Socket::Unix(UnixKind::Datagram) => {
                Ok(Target::Unix(sandlock_policy::check_unix(Peer::resolve(cx, call, name)?)?))
            }
            Socket::Netlink => {
                netlink::kernel(name)?;
                Ok(Target::Kernel)
            }
            Socket::Internet { family, protocol } => match name.for_send(family, protocol) {
                Ok(None | Some(Meaning::Disconnect)) => Ok(Target::Connected),
                Ok(Some(Meaning::Place(destination, form))) => {
                    Ok(Target::Internet(cx.check_datagram(destination)?, form))
                }
                Err(errno) => Ok(Target::Nowhere(*name, errno)),
            },
        }
    }

    /// Whether the packets are IPv4's; asks the socket when it is connected.
    pub(crate) fn is_v4(&self, socket: BorrowedFd<'_>) -> bool {
        let address = match self {
            Target::Internet(destination, _) => Some(destination.get().address()),
            _ => rustix::net::getpeername(socket)
                .ok()
                .flatten()
                .and_then(|peer| SocketAddr::try_from(peer).ok())
                .map(|peer| peer.ip().to_canonical()),
        };
        address.is_some_and(|address| matches!(address, IpAddr::V4(_)))
    }

    /// The name to send to, as the kernel takes it; empty when there is none.
    pub(crate) fn name(&self) -> Vec<u8> {
        match self {
            Target::Connected => Vec::new(),
            // A name without a byte is a name to `sendto`, and as short as one of one byte.
            Target::Nowhere(name, _) if name.bytes().is_empty() => vec![0],
            Target::Nowhere(name, _) => name.bytes().to_vec(),
            Target::Unwanted => AF_UNSPEC.to_ne_bytes().to_vec(),
            Target::Internet(destination, form) => socket_address_bytes(destination, *form),
            Target::Unix(peer) => unix::address_bytes(peer),
            Target::Kernel => netlink::KERNEL.to_vec(),
        }
    }
}
