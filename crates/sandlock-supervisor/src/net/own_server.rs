//! Connections to the run's own servers in its port space.
//!
//! The look at who listens is over when the connection is made, and by then a service outside could have come to listen
//! there. So there is a second look, at who took the connection: one that the run did not take is broken off.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sandlock_policy::{Allowed, Destination, Protocol};
use sandlock_sys::Errno;

use super::address::{Form, socket_address};
use super::connect::{blocks, deadline};
use super::port_space::{PortSpace, listener_at};
use super::socket_at::SocketDiag;
use crate::call::{Done, Failure};
use crate::context::{Context, PATIENCE};
use crate::task::tree;
use crate::waiting::{Turn, Waiting};

/// A server of the run's own, as it was found.
pub(crate) struct OwnServer {
    /// Where it is on this machine.
    pub(crate) destination: Allowed<Destination>,
    /// The inodes of the sockets that may answer there.
    pub(crate) sockets: Vec<u64>,
}

impl OwnServer {
    /// Whether it is there still.
    fn listens(&self, diag: Option<&SocketDiag>) -> bool {
        let to = self.destination.get();
        listener_at(diag, Protocol::Tcp, to.address(), to.port()).is_some_and(|at| self.sockets.contains(&at))
    }

    /// Breaks a connection off that somebody else took. Says nothing of one that does not stand, or leads elsewhere.
    fn verify(&self, diag: Option<&SocketDiag>, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let (address, port) = (self.destination.get().address(), self.destination.get().port());
        if peer_of(socket) != Some((address, port)) || self.took(diag, socket, address, port) {
            return Ok(());
        }
        // By a reset, after which the socket is as one that never was connected.
        if rustix::net::connect_unspec(socket).is_err() {
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
        Err(Errno::CONNREFUSED)
    }

    fn took(&self, diag: Option<&SocketDiag>, socket: BorrowedFd<'_>, address: IpAddr, port: u16) -> bool {
        match listener_at(diag, Protocol::Tcp, address, port) {
            Some(listener) if self.sockets.contains(&listener) => true,
            // A server that takes one connection and closes: whoever took it has it, or it is closed already.
            None => true,
            Some(_) => {
                let accepted = diag.zip(own_address(socket)).and_then(|(diag, own)| {
                    diag.socket_between(Protocol::Tcp, SocketAddr::new(address, port), own)
                });
                accepted.is_some_and(|accepted| tree::sockets().contains(&accepted))
            }
        }
    }
}

/// Connects to a server of the run's own.
///
/// A connection is never left in the making, as one is to a server whose queue is full: it could come to stand when the
/// server is gone, with whoever listens there then. Instead it is tried again.
pub(crate) fn connect(
    cx: &Context<'_>,
    space: &PortSpace,
    socket: OwnedFd,
    server: OwnServer,
    form: Form,
) -> Result<Done, Failure> {
    let blocks = blocks(socket.as_fd())?;
    let mut connect = ConnectToOwn { socket, server, form, blocks, deadline: None };
    match connect.once(space.diag(), |once| cx.briefly(true, once)) {
        Some(result) => Ok(Done::Value(result.map(|()| 0)?)),
        None => {
            connect.deadline = if blocks {
                deadline(connect.socket.as_fd())?
            } else {
                Instant::now().checked_add(LONGEST_WITHOUT_BLOCKING)
            };
            Ok(Done::Wait(Box::new(connect)))
        }
    }
}

/// A connection that is wanted.
struct ConnectToOwn {
    socket: OwnedFd,
    server: OwnServer,
    form: Form,
    blocks: bool,
    deadline: Option<Instant>,
}

impl ConnectToOwn {
    /// Tries; `None` when the server takes no more for now.
    fn once(
        &self,
        diag: Option<&SocketDiag>,
        briefly: impl FnOnce(&dyn Fn() -> Result<(), Errno>) -> Result<(), Errno>,
    ) -> Option<Result<(), Errno>> {
        let to = socket_address(&self.server.destination, self.form);
        let begun = briefly(&|| rustix::net::connect(&self.socket, &to));
        match begun {
            Ok(()) => Some(self.server.verify(diag, self.socket.as_fd())),
            Err(Errno::INPROGRESS | Errno::INTR) => {
                if peer_of(self.socket.as_fd()).is_none() {
                    // For a moment when the kernel is busy.
                    let mut fds = [PollFd::new(&self.socket, PollFlags::OUT)];
                    let moment = Timespec { tv_sec: 0, tv_nsec: PATIENCE.subsec_nanos().into() };
                    let _ = poll(&mut fds, Some(&moment));
                }
                match peer_of(self.socket.as_fd()) {
                    Some(_) => Some(
                        self.server.verify(diag, self.socket.as_fd()).and_then(|()| begun_as(self.blocks)),
                    ),
                    None => match rustix::net::connect_unspec(&self.socket) {
                        Ok(()) => None,
                        Err(errno) => Some(Err(errno)),
                    },
                }
            }
            other => Some(other),
        }
    }
}

/// What is said of a connection that stands by now.
fn begun_as(blocks: bool) -> Result<(), Errno> {
    if blocks { Ok(()) } else { Err(Errno::INPROGRESS) }
}

impl Waiting for ConnectToOwn {
    fn attempt(&mut self, turn: &Turn<'_>) -> Option<Result<i64, Errno>> {
        let diag = SocketDiag::new().ok();
        if !self.server.listens(diag.as_ref()) {
            return Some(Err(Errno::CONNREFUSED));
        }
        let attempt = self.once(diag.as_ref(), |once| turn.interrupter.within(PATIENCE, once));
        attempt.map(|result| result.map(|()| 0))
    }

    fn watch(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        None
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn expired(&self) -> Result<i64, Errno> {
        Err(if self.blocks { Errno::INPROGRESS } else { Errno::CONNREFUSED })
    }

    fn interrupted(&self) -> Option<i64> {
        None
    }
}

/// Whom it is connected to; `None` while it is not.
fn peer_of(socket: BorrowedFd<'_>) -> Option<(IpAddr, u16)> {
    let peer = SocketAddr::try_from(rustix::net::getpeername(socket).ok()??).ok()?;
    Some((peer.ip().to_canonical(), peer.port()))
}

fn own_address(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    let own = SocketAddr::try_from(rustix::net::getsockname(socket).ok()?).ok()?;
    Some(SocketAddr::new(own.ip().to_canonical(), own.port()))
}

/// How long a call that does not block is held for a server whose queue is full.
const LONGEST_WITHOUT_BLOCKING: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use sandlock_policy::{Holder, check_own};

    use super::*;

    fn inode(socket: impl AsFd) -> u64 {
        rustix::fs::fstat(socket).unwrap().st_ino
    }

    fn found(at: SocketAddr, listener: &TcpListener) -> OwnServer {
        let destination = Destination::new(Protocol::Tcp, at.ip(), at.port());
        let destination = check_own(destination, Holder::Run).ok().unwrap();
        OwnServer { destination, sockets: vec![inode(listener)] }
    }

    #[test]
    fn a_connection_that_somebody_else_took_is_broken_off() {
        let diag = SocketDiag::new().unwrap();
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let own = TcpListener::bind(at).unwrap();
            let server = found(own.local_addr().unwrap(), &own);
            let client = TcpStream::connect(own.local_addr().unwrap()).unwrap();
            assert_eq!(server.verify(Some(&diag), client.as_fd()), Ok(()), "{at}");
            let at = own.local_addr().unwrap();
            drop((client, own));
            // Who comes between the look and the connection.
            let other = TcpListener::bind(at).unwrap();
            let client = TcpStream::connect(at).unwrap();
            assert_eq!(server.verify(Some(&diag), client.as_fd()), Err(Errno::CONNREFUSED), "{at}");
            assert_eq!(peer_of(client.as_fd()), None);
            let (mut taken, _) = other.accept().unwrap();
            let read = std::io::Read::read(&mut taken, &mut [0; 1]);
            assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        }
    }

    #[test]
    fn a_connection_elsewhere_is_let_be() {
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = found(own.local_addr().unwrap(), &own);
        drop(own);
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(other.local_addr().unwrap()).unwrap();
        assert_eq!(server.verify(None, client.as_fd()), Ok(()));
        assert!(peer_of(client.as_fd()).is_some());
    }
}
