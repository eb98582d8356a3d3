//! Where a message goes: its name judged for the socket that it is sent on.

use std::os::fd::BorrowedFd;

use sandlock_policy::{Allowed, Destination};
use sandlock_sys::Errno;

use super::address::{Form, Meaning, RawAddress, socket_address_bytes};
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
}

impl Target {
    /// Judges a name (`None` when the message has none).
    ///
    /// # Errors
    ///
    /// The policy's denial, or what the kernel says to a name that the socket cannot use.
    pub(crate) fn check(
        cx: &Context<'_>,
        call: &Call,
        socket: BorrowedFd<'_>,
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
            Socket::Unix(UnixKind::Stream) => Err(match rustix::net::getpeername(socket) {
                Ok(_) => Errno::ISCONN,
                Err(_) => Errno::OPNOTSUPP,
            }
            .into()),
            Socket::Unix(UnixKind::Datagram) => {
                Ok(Target::Unix(sandlock_policy::check_unix(Peer::resolve(cx, call, name)?)?))
            }
            Socket::Netlink => {
                netlink::kernel(name)?;
                Ok(Target::Kernel)
            }
            Socket::Internet { family, protocol } => match name.for_send(family, protocol)? {
                None | Some(Meaning::Disconnect) => Ok(Target::Connected),
                Some(Meaning::Place(destination, form)) => {
                    Ok(Target::Internet(cx.network.check(destination)?, form))
                }
            },
        }
    }

    /// The name to send to, as the kernel takes it; empty when there is none.
    pub(crate) fn name(&self) -> Vec<u8> {
        match self {
            Target::Connected => Vec::new(),
            Target::Internet(destination, form) => socket_address_bytes(destination, *form),
            Target::Unix(peer) => unix::address_bytes(peer),
            Target::Kernel => netlink::KERNEL.to_vec(),
        }
    }
}
