//! `bind(2)`, on kernels whose Landlock does not know TCP (before version 4).

use std::os::fd::{AsFd, OwnedFd};

use sandlock_policy::{Denied, Protocol};
use sandlock_sys::Errno;

use super::address::RawAddress;
use super::socket::Socket;
use crate::call::{Call, Done, Failure};
use crate::context::Context;

/// `bind(fd, address, length)`: what Landlock would decide, decided here. Port 0 is always allowed, since clients
/// and runtimes probe with it; `listen` is what makes a server.
pub(crate) fn bind(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let socket = cx.pin(call, call.descriptor(0))?;
    let address = RawAddress::read(call.tid, call.pointer(1), call.int(2))?;
    cx.confirm(call)?;
    match Socket::of(socket.as_fd())? {
        // The port is in the same place whatever the family says: AF_UNSPEC can mean AF_INET here.
        Socket::Internet { protocol: Protocol::Tcp, .. } => {
            let port = address.bytes().get(2..4).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
            if port != 0 {
                return Err(Denied::Listen { protocol: Protocol::Tcp, port: Some(port) }.into());
            }
            perform(&socket, &address)
        }
        Socket::Internet { .. } | Socket::Netlink => perform(&socket, &address),
        // A pathname would be resolved and made by this process, under this process's rights. Refused.
        Socket::Unix(_) => Err(Errno::ACCESS.into()),
    }
}

fn perform(socket: &OwnedFd, address: &RawAddress) -> Result<Done, Failure> {
    sandlock_sys::socket::bind(socket.as_fd(), address.bytes())?;
    Ok(Done::Value(0))
}
