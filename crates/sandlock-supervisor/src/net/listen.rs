//! `listen(2)`: binds a TCP socket by itself, which Landlock does not see.

use std::os::fd::AsFd;

use sandlock_policy::{Denied, Protocol};

use super::socket::Socket;
use crate::call::{Call, Done, Failure};
use crate::context::Context;

/// `listen(fd, backlog)`.
pub(crate) fn listen(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let socket = cx.pin(call, call.descriptor(0))?;
    cx.confirm(call)?;
    // Other sockets than streams cannot listen, as the kernel says itself.
    if let Socket::Internet { protocol: protocol @ Protocol::Tcp, .. } = Socket::of(socket.as_fd())? {
        let port = rustix::net::getsockname(&socket)
            .ok()
            .and_then(|address| std::net::SocketAddr::try_from(address).ok())
            .map(|address| address.port())
            .filter(|port| *port != 0);
        return Err(Denied::Listen { protocol, port }.into());
    }
    rustix::net::listen(&socket, call.int(1))?;
    Ok(Done::Value(0))
}
