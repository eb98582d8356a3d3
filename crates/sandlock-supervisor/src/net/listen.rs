//! `listen(2)`: makes a server, and binds a TCP socket by itself, which Landlock does not see.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use sandlock_policy::{Allowed, Approval, BindPolicy, Denied, LocalPort, Protocol};
use sandlock_sys::Errno;

use super::port_space::SharedPorts;
use super::socket::Socket;
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::decision::{self, Hands, PortStanding, decide};

/// `listen(fd, backlog)`.
pub(crate) fn listen(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let socket = cx.pin(call, call.descriptor(0))?;
    cx.confirm(call)?;
    let backlog = call.int(1);
    // Other sockets than streams cannot listen, as the kernel says itself.
    let Socket::Internet { protocol: Protocol::Tcp, .. } = Socket::of(socket.as_fd())? else {
        return Ok(rustix::net::listen(&socket, backlog).map(|()| Done::Value(0))?);
    };
    let local = local_port(cx.ports.as_deref(), socket.as_fd())?;
    let first = match decision::listening(cx, socket.as_fd(), local)? {
        PortStanding::Allowed(allowed) => allowed,
        PortStanding::Open(matter) => {
            let (rules, ports) = (Arc::clone(&cx.bind), cx.ports.clone());
            let go_on = move |approval: Approval, hands: &Hands<'_>| {
                if !(hands.caller_waits)() {
                    return Err(Failure::Gone);
                }
                // Bound to another port meanwhile it is one that was asked about then, or that the kernel chose.
                let judge = |local| rules.approved_listen(local, approval);
                let first = judge(local_port(ports.as_deref(), socket.as_fd())?)?;
                let allowed = have_port(&rules, socket.as_fd(), first, judge)?;
                perform(ports.as_deref(), socket.as_fd(), &allowed, backlog)
            };
            return decide(cx, call, matter, Box::new(go_on));
        }
    };
    let judge = |local: LocalPort| match decision::listening(cx, socket.as_fd(), local)? {
        PortStanding::Allowed(allowed) => Ok(allowed),
        // The answer for ports that the kernel chooses is there, or the rules have it.
        PortStanding::Open(_) => {
            Err(Denied::Listen { protocol: Protocol::Tcp, port: None, forbidden: false })
        }
    };
    let allowed = have_port(&cx.bind, socket.as_fd(), first, judge)?;
    perform(cx.ports.as_deref(), socket.as_fd(), &allowed, backlog)
}

/// The port that the socket is bound to: what rules speak of is the run's.
fn local_port(ports: Option<&SharedPorts>, socket: BorrowedFd<'_>) -> Result<LocalPort, Errno> {
    let (protocol, bound) = (Protocol::Tcp, own_address(socket)?.port());
    let port = ports.map_or(bound, |space| space.lock().port_of(protocol, socket, bound));
    Ok(LocalPort { protocol, port })
}

/// Sees to it that the socket has a port, and that it may listen there.
fn have_port(
    rules: &BindPolicy,
    socket: BorrowedFd<'_>,
    allowed: Allowed<LocalPort>,
    judge: impl Fn(LocalPort) -> Result<Allowed<LocalPort>, Denied>,
) -> Result<Allowed<LocalPort>, Failure> {
    let bound = own_address(socket)?;
    if bound.port() != 0 {
        return Ok(allowed);
    }
    match rustix::net::bind(socket, &bound) {
        // EINVAL: it is bound by now, or in a state in which it cannot listen either, as the kernel will say.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    let protocol = Protocol::Tcp;
    match own_address(socket)?.port() {
        // With IP_BIND_ADDRESS_NO_PORT it has a port only when it listens, so nobody could judge it before.
        0 if rules.denies(protocol) => Err(Denied::Listen { protocol, port: None, forbidden: true }.into()),
        port => Ok(judge(LocalPort { protocol, port })?),
    }
}

fn perform(
    ports: Option<&SharedPorts>,
    socket: BorrowedFd<'_>,
    _allowed: &Allowed<LocalPort>,
    backlog: i32,
) -> Result<Done, Failure> {
    rustix::net::listen(socket, backlog)?;
    if let Some(space) = ports {
        space.lock().listens(socket, own_address(socket)?)?;
    }
    Ok(Done::Value(0))
}

fn own_address(socket: BorrowedFd<'_>) -> Result<SocketAddr, Errno> {
    SocketAddr::try_from(rustix::net::getsockname(socket)?).map_err(|_| Errno::AFNOSUPPORT)
}
