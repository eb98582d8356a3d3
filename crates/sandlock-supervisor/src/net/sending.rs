//! One message on its way: sent at once, or piece by piece as there is room.
//!
//! What waits holds no payload: it is read again when there is room, since the payload decides nothing. So memory
//! held for blocked sends is bounded by their number alone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;
use sandlock_sys::socket::{Outgoing, send, send_unreadable};
use sandlock_sys::{ChildPtr, Errno, Tid, memory, signal};

use super::connect::{blocks, deadline};
use super::control::Control;
use super::socket::{Socket, UnixKind};
use super::target::Target;
use crate::call::{Done, Failure};
use crate::waiting::{Turn, Waiting};

/// A message whose destination and control messages were checked.
pub(crate) struct Sending {
    pub(crate) socket: OwnedFd,
    pub(crate) kind: Socket,
    pub(crate) target: Target,
    pub(crate) control: Control,
    pub(crate) tid: Tid,
    /// Where the payload is, in the caller's memory.
    pub(crate) parts: Vec<(ChildPtr, usize)>,
    pub(crate) flags: u32,
    /// How much of a stream's payload was sent.
    pub(crate) done: usize,
    pub(crate) deadline: Option<Instant>,
}

/// How an attempt went.
enum Attempt {
    Finished(Result<usize, Errno>),
    NoRoom,
    CallerGone,
}

impl Sending {
    /// Sends what can be sent now; `payload` is the whole payload if it was read already.
    ///
    /// # Errors
    ///
    /// That of the send.
    pub(crate) fn begin(
        mut self,
        payload: Option<&[u8]>,
        caller_waits: &dyn Fn() -> bool,
    ) -> Result<Done, Failure> {
        let hopeless = match self.target {
            Target::Nowhere(_, errno) => Some(errno),
            _ if self.kind.is_stream() => None,
            _ => (self.length() > self.kind.longest_message()).then_some(Errno::MSGSIZE),
        };
        let attempt = match hopeless {
            Some(errno) => self.refused(errno, caller_waits),
            None => self.attempt_now(payload, caller_waits),
        };
        match attempt {
            Attempt::Finished(Ok(sent)) => Ok(Done::Value(sent as i64)),
            Attempt::Finished(Err(errno)) => Err(errno.into()),
            Attempt::CallerGone => Err(Failure::Gone),
            Attempt::NoRoom if self.flags & MSG_DONTWAIT == 0 && blocks(self.socket.as_fd())? => {
                self.deadline = deadline(self.socket.as_fd())?;
                Ok(Done::Wait(Box::new(self)))
            }
            Attempt::NoRoom => self.so_far().map(Done::Value).map_err(Failure::Errno),
        }
    }

    fn attempt_now(&mut self, payload: Option<&[u8]>, caller_waits: &dyn Fn() -> bool) -> Attempt {
        if self.kind.is_stream() { self.stream(caller_waits) } else { self.datagram(payload, caller_waits) }
    }

    fn datagram(&mut self, payload: Option<&[u8]>, caller_waits: &dyn Fn() -> bool) -> Attempt {
        let read;
        let payload = match payload {
            Some(payload) => payload,
            None => {
                let mut bytes = vec![0; self.length()];
                match memory::gather(self.tid, &self.parts, &mut bytes) {
                    Ok(len) if len == bytes.len() => {}
                    Ok(_) | Err(Errno::FAULT) => return self.unreadable(caller_waits),
                    Err(errno) => return Attempt::Finished(Err(errno)),
                }
                read = bytes;
                &read
            }
        };
        if !caller_waits() {
            return Attempt::CallerGone;
        }
        match self.send(payload, 0) {
            Err(Errno::AGAIN) => Attempt::NoRoom,
            result => Attempt::Finished(result),
        }
    }

    /// A bounded part of a long stream at a time, so that others have their turn.
    fn stream(&mut self, caller_waits: &dyn Fn() -> bool) -> Attempt {
        let total = self.length();
        let zerocopy = self.flags & MSG_ZEROCOPY != 0;
        for _ in 0..PIECES_AT_ONCE {
            let mut piece = vec![0; (total - self.done).min(PIECE)];
            let read = match gather_from(self.tid, &self.parts, self.done, &mut piece) {
                Ok(read) => read,
                Err(Errno::FAULT) if self.done == 0 => return self.unreadable(caller_waits),
                Err(errno) => return Attempt::Finished(self.so_far_or(errno)),
            };
            // The kernel copies a short write whole or not at all.
            if self.done == 0 && read < piece.len() && read < WHOLE_OR_NOT {
                return self.unreadable(caller_waits);
            }
            if !caller_waits() {
                return Attempt::CallerGone;
            }
            let last = self.done + read == total || read < piece.len();
            match self.send(&piece[..read], if last { 0 } else { MSG_MORE }) {
                Ok(sent) => {
                    self.done += sent;
                    // Each zero-copy send is told of once: the caller counts on one for its one call.
                    if self.done == total || zerocopy || (last && sent == read) {
                        return Attempt::Finished(Ok(self.done));
                    }
                }
                Err(Errno::AGAIN) => return Attempt::NoRoom,
                Err(errno) => {
                    let result = self.so_far_or(errno);
                    if result == Err(Errno::PIPE) && self.flags & MSG_NOSIGNAL == 0 {
                        signal::raise_sigpipe(self.tid);
                    }
                    return Attempt::Finished(result);
                }
            }
        }
        Attempt::NoRoom
    }

    /// The payload cannot be read, and the message may be wrong in other ways: the kernel says which it tells.
    fn unreadable(&self, caller_waits: &dyn Fn() -> bool) -> Attempt {
        self.refused(Errno::FAULT, caller_waits)
    }

    /// Nothing of this message can go, for this error if for no other: the kernel says which it tells, given the message
    /// with a payload that cannot be read, so that nothing goes whatever it thinks of the rest.
    fn refused(&self, known: Errno, caller_waits: &dyn Fn() -> bool) -> Attempt {
        if !caller_waits() {
            return Attempt::CallerGone;
        }
        let flags = (self.flags & !MSG_FASTOPEN & !MSG_ZEROCOPY) | MSG_DONTWAIT;
        let (name, control, len) = (self.target.name(), &self.control.bytes, self.length());
        let Err(errno) = send_unreadable(self.socket.as_fd(), &name, control, len, flags);
        if errno == Errno::PIPE && self.kind.is_stream() && self.flags & MSG_NOSIGNAL == 0 {
            signal::raise_sigpipe(self.tid);
        }
        Attempt::Finished(Err(if matches!(errno, Errno::AGAIN | Errno::FAULT) { known } else { errno }))
    }

    fn send(&self, payload: &[u8], more_flags: u32) -> Result<usize, Errno> {
        // Control messages, such as descriptors, go with the first byte only.
        let control = if self.done == 0 { &self.control.bytes[..] } else { &[] };
        let name = self.target.name();
        let flags = (self.flags & !MSG_FASTOPEN) | MSG_DONTWAIT | more_flags;
        send(self.socket.as_fd(), Outgoing { name: &name, payload, control }, flags)
    }

    fn length(&self) -> usize {
        self.parts.iter().map(|(_, len)| len).sum()
    }

    /// A partial write is told as such, never as an error that invites a repetition.
    fn so_far_or(&self, errno: Errno) -> Result<usize, Errno> {
        if self.done > 0 { Ok(self.done) } else { Err(errno) }
    }

    fn so_far(&self) -> Result<i64, Errno> {
        self.so_far_or(Errno::AGAIN).map(|done| done as i64)
    }
}

impl Waiting for Sending {
    fn attempt(&mut self, turn: &Turn<'_>) -> Option<Result<i64, Errno>> {
        match self.attempt_now(None, turn.caller_waits) {
            Attempt::Finished(result) => Some(result.map(|sent| sent as i64)),
            Attempt::NoRoom => None,
            // Nobody hears the answer.
            Attempt::CallerGone => Some(Err(Errno::INTR)),
        }
    }

    fn watch(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        // The room that matters to a unix datagram is in its peer, which cannot be polled.
        if self.kind == Socket::Unix(UnixKind::Datagram) {
            return None;
        }
        Some((self.socket.as_fd(), PollFlags::OUT))
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn expired(&self) -> Result<i64, Errno> {
        self.so_far()
    }

    fn interrupted(&self) -> Option<i64> {
        (self.done > 0).then_some(self.done as i64)
    }
}

/// Gathers the caller's parts from byte `skip` on, as much as `into` takes.
fn gather_from(
    tid: Tid,
    parts: &[(ChildPtr, usize)],
    mut skip: usize,
    into: &mut [u8],
) -> Result<usize, Errno> {
    let mut wanted = Vec::new();
    let mut room = into.len();
    for &(at, len) in parts {
        let skipped = len.min(skip);
        skip -= skipped;
        let take = (len - skipped).min(room);
        room -= take;
        if take > 0 {
            wanted.push((at.offset(skipped as u64).ok_or(Errno::FAULT)?, take));
        }
        if room == 0 {
            break;
        }
    }
    memory::gather(tid, &wanted, into)
}

/// About what fits into one packet buffer.
const WHOLE_OR_NOT: usize = 16 * 1024;
const PIECE: usize = 256 * 1024;
const PIECES_AT_ONCE: usize = 4;
pub(super) const MSG_DONTWAIT: u32 = 0x40;
const MSG_NOSIGNAL: u32 = 0x4000;
const MSG_MORE: u32 = 0x8000;
pub(super) const MSG_ZEROCOPY: u32 = 0x400_0000;
pub(super) const MSG_FASTOPEN: u32 = 0x2000_0000;
