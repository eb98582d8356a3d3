//! The connections that were made for the sandbox, and the end of those whose destination is not granted any more. Only in
//! runs whose rules may change.
//!
//! Sockets are known by their inodes, under which they are found in the tables of processes. What the sandbox accepted or
//! inherited is not among them: its peer is nobody that a rule speaks of.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::net::Shutdown;
use sandlock_policy::{Destination, Protocol, Tree};
use sandlock_sys::ChildFd;
use sandlock_sys::pidfd::TaskFd;
use sandlock_sys::socket::peer_or_goal;

use super::socket::{self, inode};
use super::socket_table;
use crate::lock::lock;
use crate::task::tree;

/// The connections that were made, or begun.
#[derive(Default)]
pub(crate) struct Connections {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    made: HashMap<u64, Made>,
    /// Those that were ended, until they are connected again.
    cut: HashSet<u64>,
    /// When those that are gone are looked for.
    most: usize,
}

struct Made {
    way: Way,
    /// By whose rules.
    tree: Tree,
    at: Instant,
}

/// How a connection was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// To its destination: the socket says which.
    Direct(Protocol),
    /// To the run's proxy, for traffic to this destination.
    Led(Destination),
}

/// A connection that is being made.
pub(crate) struct Being {
    connections: Arc<Connections>,
    inode: u64,
}

impl Being {
    /// Whether it was ended meanwhile.
    pub(crate) fn is_cut(&self) -> bool {
        self.connections.known().cut.contains(&self.inode)
    }
}

impl Connections {
    /// To be told before the connection is begun: who looks from then on finds it.
    pub(crate) fn begin(
        connections: &Arc<Connections>,
        socket: BorrowedFd<'_>,
        tree: Tree,
        way: Way,
    ) -> Option<Being> {
        let inode = inode(socket).ok()?;
        let mut known = connections.known();
        if known.made.len() >= known.most.max(MANY) {
            known.forget_what_is_gone();
        }
        known.cut.remove(&inode);
        known.made.insert(inode, Made { way, tree, at: Instant::now() });
        drop(known);
        Some(Being { connections: Arc::clone(connections), inode })
    }

    /// Ends what is not granted. The policy was changed before, and calls that began under the old one have ended.
    pub(crate) fn cut(&self, is_granted: impl Fn(Tree, Destination) -> bool) {
        // A descriptor can be handed from a process that was not looked at yet to one that was.
        for _ in 0..MOST_LOOKS {
            if !self.look(&is_granted) {
                return;
            }
        }
    }

    /// Looks at every process once. Says whether something was ended.
    fn look(&self, is_granted: &impl Fn(Tree, Destination) -> bool) -> bool {
        let mut found = false;
        let mut looked_at = HashSet::new();
        tree::each_socket(|thread, number, inode| {
            let Some((tree, way)) = self.known().made.get(&inode).map(|made| (made.tree, made.way)) else {
                return;
            };
            // A number means something else when it was closed since: what is held now is asked what it is.
            if looked_at.contains(&inode) {
                return;
            }
            let Ok(socket) = TaskFd::open_number(thread)
                .and_then(|task| task.descriptor(ChildFd::from_register(number as u64)))
            else {
                return;
            };
            if socket::inode(socket.as_fd()) != Ok(inode) {
                return;
            }
            looked_at.insert(inode);
            let destination = match way {
                Way::Led(destination) => Some(destination),
                Way::Direct(protocol) => peer_or_goal(socket.as_fd())
                    .ok()
                    .flatten()
                    .map(|peer| Destination::new(protocol, peer.ip(), peer.port())),
            };
            if destination.is_some_and(|destination| !is_granted(tree, destination)) {
                let mut known = self.known();
                known.cut.insert(inode);
                known.made.remove(&inode);
                drop(known);
                end(socket.as_fd());
                found = true;
            }
        });
        found
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

impl Known {
    /// Forgets the sockets that the kernel does not list any more, and nobody inside has open: its list can pass over one
    /// while others come and go, and one that is forgotten would not be cut. One that is being connected at this moment may
    /// not be listed yet.
    fn forget_what_is_gone(&mut self) {
        let Some(listed) = socket_table::inodes() else {
            self.most = self.made.len() * 2;
            return;
        };
        let open = tree::sockets();
        let is_there = |inode: &u64| listed.contains(inode) || open.contains(inode);
        self.made.retain(|inode, made| is_there(inode) || made.at.elapsed() < JUST_NOW);
        self.cut.clear();
        self.most = self.made.len() * 2;
    }
}

/// Ends a connection. To no address is what throws away what was written and not sent, and tells both ends that it was no
/// orderly end (`tcp_disconnect` in net/ipv4/tcp.c); kernels that refuse that while a thread waits let it be woken first.
fn end(socket: BorrowedFd<'_>) {
    if rustix::net::connect_unspec(socket).is_err() {
        let _ = rustix::net::shutdown(socket, Shutdown::Both);
        let _ = rustix::net::connect_unspec(socket);
    }
}

const MANY: usize = 1024;
const JUST_NOW: Duration = Duration::from_secs(5);
const MOST_LOOKS: usize = 8;

#[cfg(test)]
mod tests {
    use sandlock_sys::Errno;

    use super::*;

    #[test]
    fn sockets_that_are_gone_are_forgotten() {
        let connections = Arc::new(Connections::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let way = Way::Direct(Protocol::Tcp);
        let being = Connections::begin(&connections, stream.as_fd(), Tree::Run, way).unwrap();
        assert!(!being.is_cut());
        let long_ago = Instant::now().checked_sub(JUST_NOW).unwrap();
        let mut known = connections.known();
        known
            .made
            .extend((0..5000).map(|number| (u64::MAX - number, Made { way, tree: Tree::Run, at: long_ago })));
        known.made.get_mut(&being.inode).unwrap().at = long_ago;
        known.forget_what_is_gone();
        assert_eq!(known.made.keys().collect::<Vec<_>>(), [&being.inode]);
    }

    #[test]
    fn an_ended_connection_is_reset_with_what_was_not_sent() {
        use std::io::{ErrorKind, Read};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        assert_eq!(peer_or_goal(stream.as_fd()), Ok(Some(listener.local_addr().unwrap())));
        end(stream.as_fd());
        assert_eq!(other.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(peer_or_goal(stream.as_fd()), Err(Errno::NOTCONN));
    }
}
