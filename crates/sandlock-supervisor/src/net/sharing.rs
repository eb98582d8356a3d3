//! `setsockopt(2)` of SO_REUSEADDR and SO_REUSEPORT, in a run with a port space of its own.
//!
//! A port of the machine that the run shares with others would lead out. So a socket that may share its port is not given
//! one that others could ask for by its number (see `port_space`), and one that has such a port is not made to share it.
//! All that binds is done by the same thread as this, so nothing is bound between the look and the act.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::sockopt;
use sandlock_policy::Protocol;
use sandlock_sys::{Errno, memory};

use super::socket::Socket;
use crate::call::{Call, Done, Failure};
use crate::context::Context;

/// `setsockopt(fd, SOL_SOCKET, SO_REUSEADDR | SO_REUSEPORT, value, length)`.
pub(crate) fn setsockopt(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let socket = cx.pin(call, call.descriptor(0))?;
    // ENOTSOCK comes before what is wrong with the value.
    sockopt::socket_type(&socket)?;
    if call.int(4) < 4 {
        return Err(Errno::INVAL.into());
    }
    let mut value = [0; 4];
    memory::read(call.tid, call.pointer(3), &mut value)?;
    cx.confirm(call)?;
    let on = i32::from_ne_bytes(value) != 0;
    let reuse_port = call.int(2) as u32 == SO_REUSEPORT;
    if on && is_bound(socket.as_fd()) && shares(socket.as_fd(), reuse_port) {
        return Err(Errno::INVAL.into());
    }
    match reuse_port {
        true => sockopt::set_socket_reuseport(&socket, on)?,
        false => sockopt::set_socket_reuseaddr(&socket, on)?,
    }
    Ok(Done::Value(0))
}

/// Whether the option would make the socket share its port with another that serves: for TCP only one of them does.
fn shares(socket: BorrowedFd<'_>, reuse_port: bool) -> bool {
    match Socket::of(socket) {
        Ok(Socket::Internet { protocol: Protocol::Tcp, .. }) => {
            reuse_port && !sockopt::socket_reuseport(socket).unwrap_or(false)
        }
        Ok(Socket::Internet { protocol: Protocol::Udp, .. }) => !may_share(socket, Protocol::Udp),
        _ => false,
    }
}

/// Whether a socket may come to share its port with others that serve.
pub(super) fn may_share(socket: BorrowedFd<'_>, protocol: Protocol) -> bool {
    sockopt::socket_reuseport(socket).unwrap_or(true)
        || (protocol == Protocol::Udp && sockopt::socket_reuseaddr(socket).unwrap_or(true))
}

fn is_bound(socket: BorrowedFd<'_>) -> bool {
    let address = rustix::net::getsockname(socket).ok().and_then(|name| SocketAddr::try_from(name).ok());
    address.is_some_and(|address| address.port() != 0)
}

pub(crate) const SO_REUSEADDR: u32 = 2;
pub(crate) const SO_REUSEPORT: u32 = 15;
