//! `sendmmsg(2)`: as many of the messages at once as can be read and sent together, else one by one, which tells exactly
//! what is wrong.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;
use sandlock_sys::socket::{Outgoing, send_batch};
use sandlock_sys::{ChildPtr, Errno, memory};

use super::control::Control;
use super::message::{HEADER, Header, Message};
use super::send::{read_all, refuse_compat, send_one};
use super::sending::{MSG_DONTWAIT, MSG_FASTOPEN, MSG_ZEROCOPY};
use super::socket::Socket;
use super::target::{Judged, Target};
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::waiting::{Turn, Waiting};

/// `sendmmsg(fd, messages, count, flags)`: messages are sent until one fails or would have to wait; that one's
/// error is told only if it is the first.
pub(crate) fn sendmmsg(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    refuse_compat(call.int(3))?;
    let socket = cx.pin(call, call.descriptor(0))?;
    let kind = Socket::of(socket.as_fd())?;
    let entries = read_entries(call)?;
    let batch = Batch { cx, call, socket, kind, flags: call.int(3) as u32 };
    let mut sent = 0;
    while sent < entries.len() {
        let window = &entries[sent..entries.len().min(sent + WINDOW)];
        let (lengths, whole) = match batch.send_together(window) {
            Some(lengths) => (lengths?, true),
            None => match batch.send_alone(&window[0], sent == 0) {
                Ok((Done::Value(length), whole)) => (vec![length as u32], length as usize == whole),
                // The first message has to wait, or failed: that is the answer to the call.
                other if sent == 0 => return other.map(|(done, _)| done),
                Err(Failure::Denied(denied)) => return Ok(Done::Partly(sent as i64, denied)),
                _ => break,
            },
        };
        // A message whose length cannot be told ends the batch, and does not count.
        let told = tell(call, window.iter().zip(&lengths).map(|(entry, length)| (entry, *length)));
        match told {
            Err(errno) if sent == 0 => return Err(errno.into()),
            Err(_) => break,
            Ok(()) => sent += lengths.len(),
        }
        // Nothing comes after a part of a stream: it would be taken for the rest.
        if lengths.is_empty() || !whole {
            break;
        }
    }
    Ok(Done::Value(sent as i64))
}

/// A `struct mmsghdr`, as the caller had it at one moment.
struct Entry {
    header: Header,
    /// Where its `msg_len` is, and what was there.
    told_at: ChildPtr,
    told: u32,
}

/// Reads the vector, as far as it can be read.
///
/// # Errors
///
/// EFAULT when not even the first header can be.
fn read_entries(call: &Call) -> Result<Vec<Entry>, Errno> {
    let count = (call.int(2) as u32 as usize).min(MOST_MESSAGES);
    let mut bytes = vec![[0; ENTRY]; count];
    let read = match read_all(call, &[(call.pointer(1), count * ENTRY)], bytes.as_flattened_mut()) {
        // The header of an entry is enough of it.
        Ok(bytes) => (bytes + ENTRY - HEADER) / ENTRY,
        Err(_) => 0,
    };
    if count > 0 && read == 0 {
        return Err(Errno::FAULT);
    }
    let entries = bytes[..read].iter().enumerate().map_while(|(index, bytes)| {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        Some(Entry {
            header: Header::parse(header),
            told_at: call.pointer(1).offset((index * ENTRY + HEADER) as u64)?,
            told: u32::from_ne_bytes(*rest.first_chunk()?),
        })
    });
    Ok(entries.collect())
}

/// What the messages of one call have in common.
struct Batch<'a> {
    cx: &'a Context<'a>,
    call: &'a Call,
    socket: OwnedFd,
    kind: Socket,
    flags: u32,
}

impl Batch<'_> {
    /// Sends one message, and says how long the whole of it is. Only the first may wait; when it is through, the call
    /// returns 1.
    fn send_alone(&self, entry: &Entry, first: bool) -> Result<(Done, usize), Failure> {
        let message = entry.header.read_message(self.call.tid)?;
        let whole = message.parts.iter().map(|(_, len)| len).sum();
        let socket = rustix::io::fcntl_dupfd_cloexec(&self.socket, 0)?;
        let flags = if first { self.flags } else { self.flags | MSG_DONTWAIT };
        let done = match send_one(self.cx, self.call, socket, self.kind, message, flags, first)? {
            Done::Wait(waiting) => {
                Done::Wait(Box::new(FirstOfBatch { waiting, call: *self.call, told_at: entry.told_at }))
            }
            done => done,
        };
        Ok((done, whole))
    }

    /// Sends messages in one system call. `None` when they are not all plain datagrams that can be read, or the first
    /// one fails or finds no room: nothing was sent then.
    fn send_together(&self, entries: &[Entry]) -> Option<Result<Vec<u32>, Failure>> {
        if entries.len() < 2
            || !matches!(self.kind, Socket::Internet { .. })
            || self.kind.is_stream()
            || self.flags & MSG_ZEROCOPY != 0
        {
            return None;
        }
        let messages = read_messages(self.call, entries)?;
        let (names, controls) = self.check_leading(&messages);
        let messages = &messages[..names.len()];
        let entries = &entries[..names.len()];
        if messages.len() < 2 {
            return None;
        }
        let lengths: Vec<usize> =
            messages.iter().map(|message| message.parts.iter().map(|(_, len)| len).sum()).collect();
        let total = lengths.iter().try_fold(0usize, |total, len| {
            (*len <= self.kind.longest_message())
                .then_some(total + len)
                .filter(|total| *total <= WINDOW_BYTES)
        })?;
        let parts: Vec<_> = messages.iter().flat_map(|message| message.parts.iter().copied()).collect();
        let mut payloads = vec![0; total];
        if parts.len() > MOST_MESSAGES || read_all(self.call, &parts, &mut payloads).ok()? < total {
            return None;
        }
        // Where a length cannot be told the batch ends, so that is found out before more is sent.
        tell(self.call, entries.iter().map(|entry| (entry, entry.told))).ok()?;
        if let Err(gone) = self.cx.confirm(self.call) {
            return Some(Err(gone));
        }
        let mut rest = &payloads[..];
        let outgoing: Vec<Outgoing<'_>> = lengths
            .iter()
            .zip(names.iter().zip(&controls))
            .map(|(len, (name, control))| {
                let (payload, after) = rest.split_at(*len);
                rest = after;
                Outgoing { name, payload, control: &control.bytes }
            })
            .collect();
        // Without blocking, whatever the caller asked for: what finds no room is tried again, alone.
        send_batch(self.socket.as_fd(), &outgoing, (self.flags & !MSG_FASTOPEN) | MSG_DONTWAIT).ok().map(Ok)
    }

    /// The names and control messages of the messages that may go, up to the first that may not: it is met again, alone,
    /// as the first of the next window.
    fn check_leading(&self, messages: &[Message]) -> (Vec<Vec<u8>>, Vec<Control>) {
        let (mut names, mut controls) = (Vec::new(), Vec::new());
        for message in messages {
            let to = match Target::check(self.cx, self.call, self.kind, message.name.as_ref()) {
                Ok(to) if !matches!(to, Judged::Target(Target::Nowhere(..))) => to,
                _ => break,
            };
            let Socket::Internet { family, protocol } = self.kind else {
                break;
            };
            let (socket, control) = (self.socket.as_fd(), message.control.clone());
            let Ok(control) = Control::labels(socket, (family, protocol), &to, control) else {
                break;
            };
            // What is to be asked about is, alone, as the first of the next window.
            let Judged::Target(target) = to else {
                break;
            };
            names.push(target.name());
            controls.push(control);
        }
        (names, controls)
    }
}

/// Reads what the headers point to, but for the payloads, in one call. `None` when some of it cannot be had.
fn read_messages(call: &Call, entries: &[Entry]) -> Option<Vec<Message>> {
    let mut wanted = Vec::with_capacity(entries.len() * 3);
    let mut lengths = Vec::with_capacity(entries.len());
    for entry in entries {
        let three = entry.header.wanted().ok()?;
        lengths.push(three.iter().map(|(_, len)| len).sum::<usize>());
        wanted.extend(three.into_iter().filter(|(_, len)| *len > 0));
    }
    let total = lengths.iter().sum();
    if total > WINDOW_BYTES || wanted.len() > MOST_MESSAGES {
        return None;
    }
    let mut bytes = vec![0; total];
    if read_all(call, &wanted, &mut bytes).ok()? < total {
        return None;
    }
    let mut rest = &bytes[..];
    let message = |(entry, len): (&Entry, usize)| {
        let (own, after) = rest.split_at(len);
        rest = after;
        entry.header.message(own).ok()
    };
    entries.iter().zip(lengths).map(message).collect()
}

/// Writes the `msg_len` of messages.
///
/// # Errors
///
/// EFAULT when one of them cannot be written.
fn tell<'a>(call: &Call, lengths: impl Iterator<Item = (&'a Entry, u32)>) -> Result<(), Errno> {
    let values: Vec<_> = lengths.map(|(entry, length)| (entry.told_at, length.to_ne_bytes())).collect();
    memory::scatter(call.tid, &values)
}

/// The first message of a batch, waiting: when it is sent, its length is told and the call returns 1.
struct FirstOfBatch {
    waiting: Box<dyn Waiting>,
    call: Call,
    told_at: ChildPtr,
}

impl FirstOfBatch {
    fn told(&self, result: Result<i64, Errno>) -> Result<i64, Errno> {
        let length = result?;
        memory::scatter(self.call.tid, &[(self.told_at, (length as u32).to_ne_bytes())]).map(|()| 1)
    }
}

impl Waiting for FirstOfBatch {
    fn attempt(&mut self, turn: &Turn<'_>) -> Option<Result<i64, Errno>> {
        self.waiting.attempt(turn).map(|result| self.told(result))
    }

    fn watch(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.waiting.watch()
    }

    fn deadline(&self) -> Option<Instant> {
        self.waiting.deadline()
    }

    fn expired(&self) -> Result<i64, Errno> {
        self.told(self.waiting.expired())
    }

    fn interrupted(&self) -> Option<i64> {
        // A part of a stream was sent: where its length cannot be told, that is the caller's loss.
        self.waiting.interrupted().map(|sent| self.told(Ok(sent)).unwrap_or(1))
    }
}

/// `UIO_MAXIOV`: as many messages a call, as many parts a message.
const MOST_MESSAGES: usize = 1024;
/// `sizeof(struct mmsghdr)`.
const ENTRY: usize = 64;
const WINDOW: usize = 64;
const WINDOW_BYTES: usize = 4 << 20;
