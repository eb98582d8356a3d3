//! `getsockname(2)` and `getpeername(2)` in a run with a port space of its own: what they tell has the run's ports in it.
//!
//! Nothing is decided here. What is not to be changed goes on in the kernel.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::SocketAddrAny;
use sandlock_policy::Protocol;
use sandlock_sys::{Errno, memory};

use super::address::bytes_of;
use super::socket::Socket;
use crate::call::{Call, Done, Failure};
use crate::context::Context;

/// `getsockname(fd, address, length)`.
pub(crate) fn getsockname(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    tell(cx, call, |socket| rustix::net::getsockname(socket).map(Some))
}

/// `getpeername(fd, address, length)`.
pub(crate) fn getpeername(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    tell(cx, call, |socket| rustix::net::getpeername(socket))
}

fn tell(
    cx: &Context<'_>,
    call: &Call,
    ask: impl Fn(&OwnedFd) -> Result<Option<SocketAddrAny>, Errno>,
) -> Result<Done, Failure> {
    let Ok(socket) = cx.pin(call, call.descriptor(0)) else {
        return Ok(Done::Continue);
    };
    let Ok(Socket::Internet { protocol: protocol @ (Protocol::Tcp | Protocol::Udp), .. }) =
        Socket::of(socket.as_fd())
    else {
        return Ok(Done::Continue);
    };
    let Ok(Some(address)) = ask(&socket) else {
        return Ok(Done::Continue);
    };
    let Ok(mut address) = SocketAddr::try_from(address) else {
        return Ok(Done::Continue);
    };
    match cx.ports.as_ref().and_then(|ports| ports.lock().shown(protocol, address)) {
        Some(port) if port != address.port() => address.set_port(port),
        _ => return Ok(Done::Continue),
    }
    // move_addr_to_user of net/socket.c: as much as there is room for, and the whole length.
    let mut length = [0; 4];
    memory::read(call.tid, call.pointer(2), &mut length)?;
    let bytes = bytes_of(address);
    let room = usize::try_from(i32::from_ne_bytes(length)).map_err(|_| Errno::INVAL)?;
    cx.confirm(call)?;
    memory::write(call.tid, call.pointer(1), &bytes[..bytes.len().min(room)])?;
    memory::write(call.tid, call.pointer(2), &(bytes.len() as u32).to_ne_bytes())?;
    Ok(Done::Value(0))
}
