//! `bind(2)`: ports by the rules, names of unix sockets by the file rules.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use sandlock_policy::{Allowed, Approval, LocalPort, Matter, Protocol};
use sandlock_sys::Errno;

use super::address::RawAddress;
use super::port_space::SharedPorts;
use super::socket::{Family, Socket};
use super::{netlink, port_space, unix_bind};
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::decision::{self, Hands, PortStanding, decide};
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
    let allowed = match check(cx, kind, &address)? {
        Some(PortStanding::Open(matter)) => return ask(cx, call, socket, kind, address, matter),
        Some(PortStanding::Allowed(allowed)) => Some(allowed),
        None => None,
    };
    if cx.needs.binding == Binding::Guarded {
        // Whatever memory says by now and whichever socket the descriptor is: no UDP socket can be here, and on TCP
        // ports and on the names of unix sockets Landlock decides. The look was for the sake of the report.
        return Ok(Done::Continue);
    }
    match kind {
        Socket::Internet { family, .. } => {
            let waits = || cx.confirm(call).is_ok();
            let hands = Hands::of_context(cx, &waits);
            perform(&hands, cx.ports.as_deref(), socket.as_fd(), family, &address, allowed.as_ref())
        }
        Socket::Netlink => netlink::bind(&socket, call.tid, &address),
        Socket::Unix(_) => unix_bind::bind(cx, call, &socket, &address),
    }
}

/// How the port stands. Rules about ports are silent about other sockets than TCP's and UDP's.
fn check(cx: &Context<'_>, kind: Socket, address: &RawAddress) -> Result<Option<PortStanding>, Failure> {
    Ok(local_port(kind, address).map(|local| decision::binding(cx, local)).transpose()?)
}

fn local_port(kind: Socket, address: &RawAddress) -> Option<LocalPort> {
    match kind {
        Socket::Internet { protocol: Protocol::Icmp, .. } | Socket::Netlink | Socket::Unix(_) => None,
        // The port is in the same place whatever the family says: AF_UNSPEC can mean AF_INET here.
        Socket::Internet { protocol, .. } => Some(LocalPort { protocol, port: port_in(address) }),
    }
}

/// The port that the kernel will read. What is too short for one is too short for the kernel.
fn port_in(address: &RawAddress) -> u16 {
    address.bytes().get(2..4).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]))
}

/// Asks about the port, and binds what was pinned to what was read when the answer is yes.
fn ask(
    cx: &Context<'_>,
    call: &Call,
    socket: OwnedFd,
    kind: Socket,
    address: RawAddress,
    matter: Matter,
) -> Result<Done, Failure> {
    let (Socket::Internet { family, .. }, Some(local)) = (kind, local_port(kind, &address)) else {
        return Err(Errno::ACCESS.into());
    };
    let (rules, ports, desk) = (Arc::clone(&cx.bind), cx.ports.clone(), cx.desk.clone());
    let go_on = move |approval: Approval, hands: &Hands<'_>| {
        if !(hands.caller_waits)() {
            return Err(Failure::Gone);
        }
        let allowed = rules.approved_bind(local, approval)?;
        let done = perform(hands, ports.as_deref(), socket.as_fd(), family, &address, Some(&allowed))?;
        if let Some(desk) = desk {
            desk.was_bound(socket.as_fd(), local, approval);
        }
        Ok(done)
    };
    decide(cx, call, matter, Box::new(go_on))
}

/// Binds to the address that was read, with the port that was checked, or what it stands for in a port space.
fn perform(
    hands: &Hands<'_>,
    ports: Option<&SharedPorts>,
    socket: BorrowedFd<'_>,
    family: Family,
    address: &RawAddress,
    allowed: Option<&Allowed<LocalPort>>,
) -> Result<Done, Failure> {
    if let (Some(ports), Some(allowed)) = (ports, allowed) {
        return port_space::bind(hands, &ports.lock(), socket, family, address, allowed);
    }
    let mut bytes = address.bytes().to_vec();
    if let (Some(allowed), Some(port)) = (allowed, bytes.get_mut(2..4)) {
        port.copy_from_slice(&allowed.get().port.to_be_bytes());
    }
    sandlock_sys::socket::bind(socket, &bytes)?;
    Ok(Done::Value(0))
}
