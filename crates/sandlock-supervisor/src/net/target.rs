//! Where a message goes: its name judged for the socket that it is sent on.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use sandlock_policy::{Allowed, Approval, Denied, Destination, Matter, NetworkPolicy, Route, Tree};
use sandlock_sys::Errno;

use super::address::{AF_UNSPEC, Form, Meaning, RawAddress, socket_address_bytes};
use super::netlink;
use super::socket::{Socket, UnixKind};
use super::unix::{self, Peer};
use crate::call::{Call, Failure};
use crate::context::Context;
use crate::decision::{Standing, standing};

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

/// What a look at a name came to.
pub(crate) enum Judged {
    /// This is where the message may go.
    Target(Target),
    /// It is to be asked about.
    Open { matter: Matter, tree: Tree, destination: Destination, form: Form },
}

impl From<Target> for Judged {
    fn from(target: Target) -> Self {
        Judged::Target(target)
    }
}

impl Judged {
    /// As [`Target::is_v4`].
    pub(crate) fn is_v4(&self, socket: BorrowedFd<'_>) -> bool {
        match self {
            Judged::Target(target) => target.is_v4(socket),
            Judged::Open { destination, .. } => destination.address().is_ipv4(),
        }
    }
}

impl Target {
    /// Judges a name (`None` when the message has none). What is to be asked about is not judged yet.
    ///
    /// # Errors
    ///
    /// The policy's denial, or what the kernel says to a unix or netlink name that the socket cannot use.
    pub(crate) fn check(
        cx: &Context<'_>,
        call: &Call,
        kind: Socket,
        name: Option<&RawAddress>,
    ) -> Result<Judged, Failure> {
        let Some(name) = name else {
            return Ok(Target::Connected.into());
        };
        let target = match kind {
            // tcp_sendmsg and unix_seqpacket_sendmsg do not look at a name.
            _ if kind.is_tcp() => Target::Connected,
            Socket::Unix(UnixKind::SeqPacket) => Target::Connected,
            Socket::Unix(UnixKind::Stream) if name.bytes().is_empty() => Target::Connected,
            Socket::Unix(UnixKind::Stream) => Target::Unwanted,
            Socket::Unix(UnixKind::Datagram) => {
                Target::Unix(sandlock_policy::check_unix(Peer::resolve(cx, call, name)?)?)
            }
            Socket::Netlink => {
                netlink::kernel(name)?;
                Target::Kernel
            }
            Socket::Internet { family, protocol } => match name.for_send(family, protocol) {
                Ok(None | Some(Meaning::Disconnect)) => Target::Connected,
                Ok(Some(Meaning::Place(destination, form))) => {
                    let tree = cx.tree_of(call)?;
                    match standing(cx, tree, destination) {
                        Standing::ByRules => Target::Internet(cx.check_datagram(tree, destination)?, form),
                        Standing::Approved(approval) => {
                            Target::approved(cx.network.load().of(tree), destination, form, approval)?
                        }
                        Standing::Open(matter) => {
                            return Ok(Judged::Open { matter, tree, destination, form });
                        }
                    }
                }
                Err(errno) => Target::Nowhere(*name, errno),
            },
        };
        Ok(target.into())
    }

    /// A destination that somebody who was asked approved.
    ///
    /// # Errors
    ///
    /// The denial of what nobody can approve.
    pub(crate) fn approved(
        network: &NetworkPolicy,
        destination: Destination,
        form: Form,
        approval: Approval,
    ) -> Result<Self, Failure> {
        match network.approved(destination, approval)? {
            Route::Direct(destination) => Ok(Target::Internet(destination, form)),
            // Datagrams are not led anywhere.
            Route::Resolver(_) | Route::Proxy { .. } => Err(Denied::Quic(destination).into()),
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
