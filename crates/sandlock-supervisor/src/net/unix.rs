//! Unix sockets: a pathname is resolved where the caller stands, its inode is pinned, and the kernel itself says
//! whether the policy lets it be written.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::net::SocketAddrUnix;
use sandlock_policy::{Allowed, Denied, UnixFacts, UnixTarget, check_unix};
use sandlock_sys::Errno;

use super::address::{AF_UNIX, AF_UNSPEC, RawAddress};
use super::connect::{blocks, deadline, outcome};
use super::socket::UnixKind;
use crate::call::{Call, Done, Failure};
use crate::context::{Context, PATIENCE};
use crate::control_socket;
use crate::fs::path::{self, Base};
use crate::waiting::{Turn, Waiting};

/// `connect` on a unix socket.
pub(crate) fn connect(
    cx: &Context<'_>,
    call: &Call,
    socket: OwnedFd,
    kind: UnixKind,
    address: &RawAddress,
) -> Result<Done, Failure> {
    if address.family() == Some(AF_UNSPEC) && kind == UnixKind::Datagram {
        rustix::net::connect_unspec(&socket)?;
        return Ok(Done::Value(0));
    }
    let peer = check_unix(Peer::resolve(cx, call, address)?)?;
    let connect = Connect { socket, peer, deadline: None };
    if kind == UnixKind::Datagram || !blocks(connect.socket.as_fd())? {
        return connect.once().map(|()| Done::Value(0)).map_err(|errno| connect.failure(errno));
    }
    match cx.briefly(true, || connect.once()) {
        Ok(()) => Ok(Done::Value(0)),
        Err(Errno::INTR) => {
            let deadline = deadline(connect.socket.as_fd())?;
            Ok(Done::Wait(Box::new(Connect { deadline, ..connect })))
        }
        Err(errno) => Err(connect.failure(errno)),
    }
}

/// The socket that an address leads to.
#[derive(Debug)]
pub(crate) enum Peer {
    /// An inode, held, so that no rename or symlink changes what was judged.
    Pathname { inode: OwnedFd, path: PathBuf, writable: bool, of_control: bool },
    /// A name without a file.
    Abstract { name: Vec<u8>, scoped: bool },
}

impl Peer {
    /// Finds what an address means to the caller.
    ///
    /// # Errors
    ///
    /// EINVAL for what is no address of a unix socket; those of path resolution; ECONNREFUSED for a file that is
    /// no socket; EACCES for one that the caller's user may not write.
    pub(crate) fn resolve(cx: &Context<'_>, call: &Call, address: &RawAddress) -> Result<Self, Failure> {
        let bytes = address.bytes();
        // unix_validate_addr of net/unix/af_unix.c.
        if bytes.len() <= SUN_PATH || bytes.len() > SOCKADDR_UN || address.family() != Some(AF_UNIX) {
            return Err(Errno::INVAL.into());
        }
        let name = &bytes[SUN_PATH..];
        if name[0] == 0 {
            return Ok(Peer::Abstract { name: name[1..].to_vec(), scoped: cx.needs.scoped });
        }
        let name = name.split(|byte| *byte == 0).next().unwrap_or(name);
        let inode = path::pin(cx, call, &Base::WorkingDirectory, name, path::Follow::Yes)?;
        cx.confirm(call)?;
        let mut peer = Self::pathname(inode, name)?;
        if let Peer::Pathname { inode, writable, .. } = &mut peer {
            *writable = *writable && cx.holes.leave(inode.as_fd())?;
        }
        Ok(peer)
    }

    fn pathname(inode: OwnedFd, name: &[u8]) -> Result<Self, Errno> {
        // unix_find_bsd: permission first, then the kind of file.
        rustix::fs::accessat(CWD, path::of(inode.as_fd()), Access::WRITE_OK, AtFlags::EACCESS)?;
        let stat = rustix::fs::fstat(&inode)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
            return Err(Errno::CONNREFUSED);
        }
        let path = rustix::fs::readlink(path::of(inode.as_fd()), Vec::new())
            .map_or_else(|_| name.to_vec(), |real| real.into_bytes());
        let of_control = control_socket::is_marked(&stat);
        let writable = !of_control && may_be_written(inode.as_fd());
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(&path));
        Ok(Peer::Pathname { inode, path, writable, of_control })
    }
}

/// Whether the file rules let this socket be written: the kernel is asked, under the supervisor's own Landlock
/// domain, by opening it. A socket cannot be opened, and the kernel says so (ENXIO) only after Landlock agreed.
fn may_be_written(inode: BorrowedFd<'_>) -> bool {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    matches!(rustix::fs::open(path::of(inode), flags, Mode::empty()), Err(Errno::NXIO))
}

impl UnixTarget for Peer {
    fn facts(&self) -> UnixFacts {
        match self {
            Peer::Pathname { writable, .. } => UnixFacts::Pathname { writable: *writable },
            // Without Landlock's scope nothing tells whose name it is.
            Peer::Abstract { scoped: false, .. } => UnixFacts::Pathname { writable: false },
            Peer::Abstract { .. } => UnixFacts::Abstract,
        }
    }

    fn denied(&self) -> Denied {
        match self {
            Peer::Pathname { path, of_control: true, .. } => Denied::ControlSocket(path.clone()),
            Peer::Pathname { path, .. } => Denied::UnixPath(path.clone()),
            Peer::Abstract { name, .. } => Denied::UnixAbstract(name.clone()),
        }
    }
}

struct Connect {
    socket: OwnedFd,
    peer: Allowed<Peer>,
    deadline: Option<Instant>,
}

impl Connect {
    fn once(&self) -> Result<(), Errno> {
        rustix::net::connect(&self.socket, &address_of(&self.peer)?)
    }

    /// Landlock's answer to an abstract name outside is a denial like any other.
    fn failure(&self, errno: Errno) -> Failure {
        match self.peer.get() {
            Peer::Abstract { .. } if errno == Errno::PERM => self.peer.get().denied().into(),
            _ => errno.into(),
        }
    }
}

/// The address by which a checked peer is reached: the pinned inode, not the path that led there.
pub(crate) fn address_of(peer: &Allowed<Peer>) -> Result<SocketAddrUnix, Errno> {
    match peer.get() {
        Peer::Pathname { inode, .. } => SocketAddrUnix::new(path::of(inode.as_fd())),
        Peer::Abstract { name, .. } => SocketAddrUnix::new_abstract_name(name),
    }
}

/// The same as the bytes of a `struct sockaddr_un`.
pub(crate) fn address_bytes(peer: &Allowed<Peer>) -> Vec<u8> {
    let mut bytes = AF_UNIX.to_ne_bytes().to_vec();
    match peer.get() {
        Peer::Pathname { inode, .. } => {
            bytes.extend(path::of(inode.as_fd()).bytes());
            bytes.push(0);
        }
        Peer::Abstract { name, .. } => {
            bytes.push(0);
            bytes.extend(name);
        }
    }
    bytes
}

impl Waiting for Connect {
    fn attempt(&mut self, turn: &Turn<'_>) -> Option<Result<i64, Errno>> {
        outcome(turn.interrupter.within(PATIENCE, || self.once()))
    }

    /// Nothing tells when there is room in a listener's backlog.
    fn watch(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        None
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn expired(&self) -> Result<i64, Errno> {
        Err(Errno::AGAIN)
    }

    fn interrupted(&self) -> Option<i64> {
        None
    }
}

/// `offsetof(struct sockaddr_un, sun_path)`.
pub(super) const SUN_PATH: usize = 2;
pub(super) const SOCKADDR_UN: usize = 110;
