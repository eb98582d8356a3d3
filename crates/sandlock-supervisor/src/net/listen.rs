//! `listen(2)`: makes a server, and binds a TCP socket by itself, which Landlock does not see.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use sandlock_policy::{Allowed, Denied, LocalPort, Protocol};
use sandlock_sys::Errno;

use super::socket::Socket;
use crate::call::{Call, Done, Failure};
use crate::context::Context;

/// `listen(fd, backlog)`.
pub(crate) fn listen(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let socket = cx.pin(call, call.descriptor(0))?;
    cx.confirm(call)?;
    // Other sockets than streams cannot listen, as the kernel says itself.
    match Socket::of(socket.as_fd())? {
        Socket::Internet { protocol: Protocol::Tcp, .. } => {
            let done = perform(socket.as_fd(), &check(cx, socket.as_fd())?, call.int(1))?;
            if let Some(space) = &cx.ports {
                space.listens(socket.as_fd(), own_address(socket.as_fd())?)?;
            }
            Ok(done)
        }
        _ => Ok(rustix::net::listen(&socket, call.int(1)).map(|()| Done::Value(0))?),
    }
}

/// Sees to it that the socket has a port, and that it may listen there. Nobody takes the port from it again meanwhile:
/// that would be a `connect`, which this thread performs as well.
fn check(cx: &Context<'_>, socket: BorrowedFd<'_>) -> Result<Allowed<LocalPort>, Failure> {
    let bound = own_address(socket)?;
    // What rules speak of is the run's port.
    let port = match &cx.ports {
        Some(space) => space.port_of(Protocol::Tcp, socket, bound.port()),
        None => bound.port(),
    };
    let allowed = cx.bind.check_listen(Protocol::Tcp, port)?;
    if bound.port() != 0 {
        return Ok(allowed);
    }
    match rustix::net::bind(socket, &bound) {
        // EINVAL: it is bound by now, or in a state in which it cannot listen either, as the kernel will say.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    match own_address(socket)?.port() {
        // With IP_BIND_ADDRESS_NO_PORT it has a port only when it listens, so nobody could judge it before.
        0 if cx.bind.denies(Protocol::Tcp) => {
            Err(Denied::Listen { protocol: Protocol::Tcp, port: None, forbidden: true }.into())
        }
        port => Ok(cx.bind.check_listen(Protocol::Tcp, port)?),
    }
}

fn perform(socket: BorrowedFd<'_>, _allowed: &Allowed<LocalPort>, backlog: i32) -> Result<Done, Failure> {
    rustix::net::listen(socket, backlog)?;
    Ok(Done::Value(0))
}

fn own_address(socket: BorrowedFd<'_>) -> Result<SocketAddr, Errno> {
    SocketAddr::try_from(rustix::net::getsockname(socket)?).map_err(|_| Errno::AFNOSUPPORT)
}
