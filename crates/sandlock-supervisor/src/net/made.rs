//! Sockets where no descriptor of a caller can be taken (`pidfd_getfd(2)` is refused by a filter around, such as that of
//! Docker's default profile): they are made here, and the caller is given a descriptor of the same open file.
//!
//! What a later call is about is looked up by the inode that the caller's number leads to. That look chooses among sockets of
//! this run, and does no more: the call is judged by, and performed on, what was found, whatever the number means since.
//!
//! When the program closes a connection, its peer is told only when nobody else has it open. So a socket is let go when it is
//! connected or listens; others when nobody inside has them any more, which is looked for when there are many, and before
//! one is bound, whose port a closed one could have. What was let go, accepted or inherited is not found.

use std::cell::Cell;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, getpeername, socket_with, sockopt};
use sandlock_sys::{ChildFd, Errno, Tid};

use super::socket::inode;
use super::{bind, connect, listen, socket_table};
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::lock::lock;
use crate::table::Binding;
use crate::task::{sockets, tree};
use crate::waiting::{Turn, Waiting};

/// The inode of what a call is about.
pub(crate) type Found = Cell<Option<u64>>;

/// The sockets that are held.
#[derive(Default)]
pub(crate) struct Made(Mutex<Held>);

#[derive(Default)]
struct Held {
    sockets: HashMap<u64, OwnedFd>,
    /// When those that are gone are looked for.
    most: usize,
}

impl Made {
    /// The socket that a descriptor of the caller leads to; `found` says which.
    ///
    /// # Errors
    ///
    /// EBADF; ENOTSOCK; EISCONN for a socket that is not held, and EALREADY if it is being connected.
    pub(crate) fn find(&self, found: &Found, tid: Tid, fd: ChildFd) -> Result<OwnedFd, Failure> {
        found.set(None);
        let link = match rustix::fs::readlink(format!("/proc/{tid}/fd/{}", fd.get()), Vec::new()) {
            Err(Errno::NOENT) => return Err(Errno::BADF.into()),
            link => link?,
        };
        let inode = sockets::inode(link.as_bytes()).ok_or(Errno::NOTSOCK)?;
        let ours = lock(&self.0).sockets.get(&inode).map(|socket| rustix::io::fcntl_dupfd_cloexec(socket, 0));
        match ours {
            Some(socket) => {
                found.set(Some(inode));
                Ok(socket?)
            }
            None if socket_table::is_being_connected(inode) => Err(Errno::ALREADY.into()),
            None => Err(Errno::ISCONN.into()),
        }
    }

    fn hold(&self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let (inode, ours) = (inode(socket)?, rustix::io::fcntl_dupfd_cloexec(socket, 0)?);
        let mut held = lock(&self.0);
        // Before it is held: nobody inside has it yet.
        if held.sockets.len() >= held.most.max(MANY) {
            held.sweep();
            held.most = held.sockets.len() * 2;
        }
        held.sockets.insert(inode, ours);
        Ok(())
    }

    fn let_go(&self, inode: u64) {
        lock(&self.0).sockets.remove(&inode);
    }

    fn is_settled(&self, inode: u64, is_settled: impl Fn(&OwnedFd) -> bool) -> bool {
        lock(&self.0).sockets.get(&inode).is_some_and(is_settled)
    }
}

impl Held {
    /// Lets go what nobody inside has open, and what was connected while nobody looked. One that is nowhere but in a message
    /// between two sockets is not found.
    fn sweep(&mut self) {
        if self.sockets.is_empty() {
            return;
        }
        let open = tree::sockets();
        self.sockets.retain(|inode, socket| open.contains(inode) && !is_connected(socket));
    }
}

/// Netlink's always have a peer, and are connected anew: they have no connection whose end is waited for.
fn is_connected(socket: &OwnedFd) -> bool {
    sockopt::socket_domain(socket) != Ok(AddressFamily::NETLINK) && getpeername(socket).is_ok()
}

/// `socket(family, type, protocol)`: which of them may exist the filter has decided, by the registers.
pub(crate) fn socket(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let made = held_by(cx)?;
    let kind = call.int(1) as u32;
    let flags = SocketFlags::from_bits_truncate(kind);
    let make = || {
        socket_with(
            AddressFamily::from_raw(call.int(0) as u16),
            SocketType::from_raw(kind & !SocketFlags::all().bits()),
            flags | SocketFlags::CLOEXEC,
            NonZeroU32::new(call.int(2) as u32).map(Protocol::from_raw),
        )
    };
    let file = match make() {
        // This process has no room.
        Err(Errno::MFILE) => {
            lock(&made.0).sweep();
            make()?
        }
        socket => socket?,
    };
    made.hold(file.as_fd())?;
    Ok(Done::Descriptor { file, close_on_exec: flags.contains(SocketFlags::CLOEXEC) })
}

/// `connect(fd, address, length)`.
pub(crate) fn connect(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    settle(cx, connect::connect(cx, call), is_connected)
}

/// `listen(fd, backlog)`.
pub(crate) fn listen(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let done = listen::listen(cx, call);
    settle(cx, unbound(cx, done), |_| true)
}

/// `bind(fd, address, length)`.
pub(crate) fn bind(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    lock(&held_by(cx)?.0).sweep();
    match cx.needs.binding {
        // There is nothing to refuse but by the kernel.
        Binding::Free => Ok(Done::Continue),
        _ => unbound(cx, bind::bind(cx, call)),
    }
}

fn held_by<'a>(cx: &'a Context<'_>) -> Result<&'a Arc<Made>, Errno> {
    cx.made.as_ref().ok_or(Errno::PERM)
}

/// The errno of a socket that is connected, where that is not what `connect` says.
fn unbound(cx: &Context<'_>, done: Result<Done, Failure>) -> Result<Done, Failure> {
    match done {
        Err(Failure::Errno(Errno::ISCONN | Errno::ALREADY)) if cx.found.get().is_none() => {
            Err(Errno::INVAL.into())
        }
        done => done,
    }
}

/// Lets the socket go that a call was about, if that is how it ended; or when it will have ended so.
fn settle(
    cx: &Context<'_>,
    done: Result<Done, Failure>,
    is_settled: impl Fn(&OwnedFd) -> bool,
) -> Result<Done, Failure> {
    let (made, Some(inode)) = (held_by(cx)?, cx.found.take()) else {
        return done;
    };
    match done {
        Ok(Done::Wait(waiting)) => {
            return Ok(Done::Wait(Box::new(Settling { waiting, made: Arc::clone(made), inode })));
        }
        Ok(Done::Value(_)) if made.is_settled(inode, is_settled) => made.let_go(inode),
        Err(Failure::Errno(Errno::INPROGRESS)) => made.let_go(inode),
        _ => {}
    }
    done
}

/// A call that waits, and lets its socket go when it is done.
struct Settling {
    waiting: Box<dyn Waiting>,
    made: Arc<Made>,
    inode: u64,
}

impl Settling {
    /// Before the answer: the caller may close it at once.
    fn after(&self, result: Result<i64, Errno>) -> Result<i64, Errno> {
        if matches!(result, Ok(_) | Err(Errno::INPROGRESS)) {
            self.made.let_go(self.inode);
        }
        result
    }
}

impl Waiting for Settling {
    fn attempt(&mut self, turn: &Turn<'_>) -> Option<Result<i64, Errno>> {
        let result = self.waiting.attempt(turn)?;
        Some(self.after(result))
    }

    fn watch(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.waiting.watch()
    }

    fn deadline(&self) -> Option<Instant> {
        self.waiting.deadline()
    }

    fn expired(&self) -> Result<i64, Errno> {
        self.after(self.waiting.expired())
    }

    /// It is held on: the call is restarted, or made again to learn what became of it.
    fn interrupted(&self) -> Option<i64> {
        self.waiting.interrupted()
    }

    fn continues(&self) -> bool {
        self.waiting.continues()
    }
}

const MANY: usize = 64;
