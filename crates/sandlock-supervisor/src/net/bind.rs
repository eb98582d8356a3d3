//! `bind(2)`: ports by the rules, names of unix sockets by the file rules.

use std::os::fd::{AsFd, BorrowedFd};

use sandlock_policy::{Allowed, LocalPort, Matter, Protocol};
use sandlock_sys::Errno;

use super::address::RawAddress;
use super::socket::Socket;
use super::{netlink, port_space, unix_bind};
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::decision::{Hands, asks_about_binds, decide};
use crate::table::Binding;

/// `bind(fd, address, length)`.
pub(crate) fn bind(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let socket = cx.pin(call, call.descriptor(0))?;
    let kind = Socket::of(socket.as_fd());
    // A handle of a path is no descriptor to the kernel; whether another is a socket is asked after the address.
    if kind == Err(Errno::BADF) {
        return Err(Errno::BADF.into());
    }
    let address = RawAddress::read(call.tid, call.pointer(1), call.int(2))?;
    cx.confirm(call)?;
    let kind = kind?;
    let allowed = check(cx, kind, &address)?;
    if let Some(local) = allowed.as_ref().map(Allowed::get)
        && asks_about_binds(cx)
    {
        let matter = Matter::Bind { protocol: local.protocol, port: local.port };
        let go_on = move |_, hands: &Hands<'_>| match (hands.caller_waits)() {
            true => perform(socket.as_fd(), &address, allowed),
            false => Err(Failure::Gone),
        };
        return decide(cx, call, matter, Box::new(go_on));
    }
    if cx.needs.binding == Binding::Guarded {
        // Whatever memory says by now and whichever socket the descriptor is: no UDP socket can be here, and on TCP
        // ports and on the names of unix sockets Landlock decides. The look was for the sake of the report.
        return Ok(Done::Continue);
    }
    match kind {
        Socket::Internet { family, .. } => match (&cx.ports, &allowed) {
            (Some(space), Some(allowed)) => {
                port_space::bind(cx, space, socket.as_fd(), family, &address, allowed)
            }
            _ => perform(socket.as_fd(), &address, allowed),
        },
        Socket::Netlink => netlink::bind(&socket, call.tid, &address),
        Socket::Unix(_) => unix_bind::bind(cx, call, &socket, &address),
    }
}

/// What the rules about ports say, which are silent about other sockets than TCP's and UDP's.
fn check(
    cx: &Context<'_>,
    kind: Socket,
    address: &RawAddress,
) -> Result<Option<Allowed<LocalPort>>, Failure> {
    match kind {
        Socket::Internet { protocol: Protocol::Icmp, .. } | Socket::Netlink | Socket::Unix(_) => Ok(None),
        // The port is in the same place whatever the family says: AF_UNSPEC can mean AF_INET here.
        Socket::Internet { protocol, .. } => Ok(Some(cx.bind.check_bind(protocol, port_in(address))?)),
    }
}

/// The port that the kernel will read. What is too short for one is too short for the kernel.
fn port_in(address: &RawAddress) -> u16 {
    address.bytes().get(2..4).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]))
}

/// Binds to the address that was read, with the port that was checked.
fn perform(
    socket: BorrowedFd<'_>,
    address: &RawAddress,
    allowed: Option<Allowed<LocalPort>>,
) -> Result<Done, Failure> {
    let mut bytes = address.bytes().to_vec();
    if let (Some(allowed), Some(port)) = (allowed, bytes.get_mut(2..4)) {
        port.copy_from_slice(&allowed.get().port.to_be_bytes());
    }
    sandlock_sys::socket::bind(socket, &bytes)?;
    Ok(Done::Value(0))
}
