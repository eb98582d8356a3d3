//! `sendto(2)`, `sendmsg(2)`, `sendmmsg(2)`: the destination and the control messages are read once and checked,
//! and the message is sent on the pinned socket.

use std::os::fd::{AsFd, OwnedFd};

use sandlock_sys::socket::{Outgoing, send_batch};
use sandlock_sys::{ChildPtr, Errno, memory};

use super::address::{LONGEST, RawAddress};
use super::control::Control;
use super::message::{HEADER, Header, LONGEST_CALL, Message, may_be_a_users};
use super::sending::{MSG_DONTWAIT, MSG_FASTOPEN, MSG_ZEROCOPY, Sending};
use super::socket::Socket;
use super::target::Target;
use crate::call::{Call, Done, Failure};
use crate::context::Context;

/// `sendto(fd, buffer, length, flags, address, length)`.
pub(crate) fn sendto(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let socket = cx.pin(call, call.descriptor(0))?;
    let kind = Socket::of(socket.as_fd())?;
    let payload_len = usize::try_from(call.long(2)).unwrap_or(usize::MAX).min(LONGEST_CALL);
    if !may_be_a_users(call.long(1), payload_len) {
        return Err(Errno::FAULT.into());
    }
    let name_len = usize::try_from(call.int(5)).ok().filter(|len| *len <= LONGEST).ok_or(Errno::INVAL)?;
    let payload = (call.pointer(1), payload_len);
    let name = (call.pointer(4), name_len);
    // Both in one call, which is what a datagram costs most after the send itself.
    let together = !kind.is_stream() && payload_len <= kind.longest_message();
    let mut bytes = vec![0; if together { name_len + payload_len } else { name_len }];
    let wanted = if together { &[name, payload][..] } else { &[name] };
    // A payload that cannot be read is met again below, where the kernel says what it tells first.
    let read = read_all(call, wanted, &mut bytes)?;
    if read < name_len {
        return Err(Errno::FAULT.into());
    }
    let together = together && read == bytes.len();
    let address = RawAddress::from_bytes(&bytes[..name_len]);
    let target = Target::check(cx, call, socket.as_fd(), kind, Some(&address))?;
    let sending = Sending {
        socket,
        kind,
        target,
        control: Control::default(),
        tid: call.tid,
        parts: vec![payload],
        // "MSG_INTERNAL_SENDMSG_FLAGS": a flag of the kernel's own is passed over here.
        flags: call.int(3) as u32 & !MSG_CMSG_COMPAT,
        done: 0,
        deadline: None,
    };
    sending.begin(together.then_some(&bytes[name_len..]), &|| cx.confirm(call).is_ok())
}

/// `sendmsg(fd, message, flags)`.
pub(crate) fn sendmsg(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    refuse_compat(call.int(2))?;
    let socket = cx.pin(call, call.descriptor(0))?;
    let kind = Socket::of(socket.as_fd())?;
    let message = Header::read(call.tid, call.pointer(1))?.read_message(call.tid)?;
    send_one(cx, call, socket, kind, message, call.int(2) as u32)
}

fn send_one(
    cx: &Context<'_>,
    call: &Call,
    socket: OwnedFd,
    kind: Socket,
    message: Message,
    flags: u32,
) -> Result<Done, Failure> {
    let target = Target::check(cx, call, socket.as_fd(), kind, message.name.as_ref())?;
    let control = Control::check(cx, call, kind, message.control)?;
    let parts = message.parts;
    let sending =
        Sending { socket, kind, target, control, tid: call.tid, parts, flags, done: 0, deadline: None };
    sending.begin(None, &|| cx.confirm(call).is_ok())
}

/// `sendmmsg(fd, messages, count, flags)`: messages are sent until one fails or would have to wait; that one's
/// error is told only if it is the first.
pub(crate) fn sendmmsg(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    refuse_compat(call.int(3))?;
    let socket = cx.pin(call, call.descriptor(0))?;
    let kind = Socket::of(socket.as_fd())?;
    let count = (call.int(2) as u32 as usize).min(MOST_MESSAGES);
    let flags = call.int(3) as u32;
    let mut headers = vec![[0; ENTRY]; count];
    let read = match read_all(call, &[(call.pointer(1), count * ENTRY)], headers.as_flattened_mut()) {
        // The header of an entry is enough of it.
        Ok(bytes) => (bytes + ENTRY - HEADER) / ENTRY,
        Err(_) => 0,
    };
    if count > 0 && read == 0 {
        return Err(Errno::FAULT.into());
    }
    let headers: Vec<Header> =
        headers[..read].iter().filter_map(|entry| entry.first_chunk::<HEADER>().map(Header::parse)).collect();
    let mut sent = 0;
    while sent < headers.len() {
        // As many as can be read and sent together; else one by one, which tells exactly what is wrong.
        let window = &headers[sent..headers.len().min(sent + WINDOW)];
        let lengths = match send_window(cx, call, &socket, kind, window, flags) {
            Some(lengths) => lengths?,
            None => match one_of_many(cx, call, &socket, kind, &window[0], flags, sent) {
                Ok(Done::Value(length)) => vec![length as u32],
                // The first message has to wait, or failed: that is the answer to the call.
                other if sent == 0 => return other,
                Err(Failure::Denied(denied)) => return Ok(Done::Partly(sent as i64, denied)),
                _ => break,
            },
        };
        let all_went = !lengths.is_empty();
        tell_lengths(call, sent, &lengths);
        sent += lengths.len();
        if !all_went {
            break;
        }
    }
    Ok(Done::Value(sent as i64))
}

/// Sends one message of a batch. Only the first may wait; when it is through, the call returns 1.
fn one_of_many(
    cx: &Context<'_>,
    call: &Call,
    socket: &OwnedFd,
    kind: Socket,
    header: &Header,
    flags: u32,
    sent: usize,
) -> Result<Done, Failure> {
    let message = header.read_message(call.tid)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(socket, 0)?;
    let flags = if sent == 0 { flags } else { flags | MSG_DONTWAIT };
    match send_one(cx, call, socket, kind, message, flags)? {
        Done::Wait(waiting) => Ok(Done::Wait(Box::new(FirstOfBatch { waiting, call: *call }))),
        done => Ok(done),
    }
}

/// Sends messages together, in one system call. `None` when they are not all plain datagrams that can be read:
/// nothing was sent then.
fn send_window(
    cx: &Context<'_>,
    call: &Call,
    socket: &OwnedFd,
    kind: Socket,
    headers: &[Header],
    flags: u32,
) -> Option<Result<Vec<u32>, Failure>> {
    if headers.len() < 2
        || !matches!(kind, Socket::Internet { .. })
        || kind.is_stream()
        || flags & MSG_ZEROCOPY != 0
    {
        return None;
    }
    let messages = read_window(call, headers)?;
    let mut targets = Vec::with_capacity(messages.len());
    let mut controls = Vec::with_capacity(messages.len());
    for message in &messages {
        // The first that may not go ends the window; it is met again, alone, as the first of the next one.
        let Ok(target) = Target::check(cx, call, socket.as_fd(), kind, message.name.as_ref()) else { break };
        let Ok(control) = Control::check(cx, call, kind, message.control.clone()) else { break };
        targets.push(target.name());
        controls.push(control);
    }
    let messages = &messages[..targets.len().min(controls.len())];
    if messages.len() < 2 {
        return None;
    }
    let lengths: Vec<usize> =
        messages.iter().map(|message| message.parts.iter().map(|(_, len)| len).sum()).collect();
    if lengths.iter().any(|len| *len > kind.longest_message()) || lengths.iter().sum::<usize>() > WINDOW_BYTES
    {
        return None;
    }
    let parts: Vec<_> = messages.iter().flat_map(|message| message.parts.iter().copied()).collect();
    let mut payloads = vec![0; lengths.iter().sum()];
    if parts.len() > MOST_MESSAGES || read_all(call, &parts, &mut payloads).ok()? < payloads.len() {
        return None;
    }
    if let Err(gone) = cx.confirm(call) {
        return Some(Err(gone));
    }
    let mut rest = &payloads[..];
    let outgoing: Vec<Outgoing<'_>> = lengths
        .iter()
        .zip(targets.iter().zip(&controls))
        .map(|(len, (name, control))| {
            let (payload, after) = rest.split_at(*len);
            rest = after;
            Outgoing { name, payload, control: &control.bytes }
        })
        .collect();
    // Without blocking, whatever the caller asked for: what finds no room is tried again, alone.
    match send_batch(socket.as_fd(), &outgoing, (flags & !MSG_FASTOPEN) | MSG_DONTWAIT) {
        Ok(lengths) => Some(Ok(lengths)),
        // The first one's error: it is sent alone, so that it can wait or fail by itself.
        Err(_) => None,
    }
}

fn read_window(call: &Call, headers: &[Header]) -> Option<Vec<Message>> {
    let wanted: Vec<_> = headers
        .iter()
        .map(|header| header.wanted().ok())
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();
    let lengths: Vec<usize> = wanted.chunks(3).map(|three| three.iter().map(|(_, len)| len).sum()).collect();
    let total: usize = lengths.iter().sum();
    let parts: Vec<_> = wanted.into_iter().filter(|(_, len)| *len > 0).collect();
    if total > WINDOW_BYTES || parts.len() > MOST_MESSAGES {
        return None;
    }
    let mut bytes = vec![0; total];
    if read_all(call, &parts, &mut bytes).ok()? < total {
        return None;
    }
    let mut rest = &bytes[..];
    headers
        .iter()
        .zip(lengths)
        .map(|(header, len)| {
            let (own, after) = rest.split_at(len);
            rest = after;
            header.message(own).ok()
        })
        .collect()
}

/// Reads `wanted` parts one after the other; nothing wanted is nothing read.
fn read_all(call: &Call, wanted: &[(ChildPtr, usize)], into: &mut [u8]) -> Result<usize, Errno> {
    let wanted: Vec<_> = wanted.iter().copied().filter(|(_, len)| *len > 0).collect();
    memory::gather(call.tid, &wanted, into)
}

/// Writes the `msg_len` of messages from the `first` on. What cannot be written is the caller's loss, as it is
/// with the kernel: the messages are sent.
fn tell_lengths(call: &Call, first: usize, lengths: &[u32]) {
    let values: Vec<_> = lengths
        .iter()
        .enumerate()
        .filter_map(|(index, length)| {
            let at = call.pointer(1).offset(((first + index) * ENTRY + HEADER) as u64)?;
            Some((at, length.to_ne_bytes()))
        })
        .collect();
    let _ = memory::scatter(call.tid, &values);
}

/// The first message of a batch, waiting: when it is sent, its length is told and the call returns 1.
struct FirstOfBatch {
    waiting: Box<dyn crate::waiting::Waiting>,
    call: Call,
}

impl FirstOfBatch {
    fn told(&self, result: Result<i64, Errno>) -> Result<i64, Errno> {
        let length = result?;
        tell_lengths(&self.call, 0, &[length as u32]);
        Ok(1)
    }
}

impl crate::waiting::Waiting for FirstOfBatch {
    fn attempt(&mut self, turn: &crate::waiting::Turn<'_>) -> Option<Result<i64, Errno>> {
        self.waiting.attempt(turn).map(|result| self.told(result))
    }

    fn watch(&self) -> Option<(std::os::fd::BorrowedFd<'_>, rustix::event::PollFlags)> {
        self.waiting.watch()
    }

    fn deadline(&self) -> Option<(std::time::Instant, Result<i64, Errno>)> {
        // Nothing was sent by then, or a part of a stream.
        self.waiting.deadline().map(|(at, result)| (at, result.map(|_| 1)))
    }

    fn interrupted(&self) -> Option<i64> {
        self.waiting.interrupted().map(|_| 1)
    }
}

/// Only the kernel itself says that a message has the layout of a 32-bit program.
fn refuse_compat(flags: i32) -> Result<(), Errno> {
    if flags as u32 & MSG_CMSG_COMPAT == 0 { Ok(()) } else { Err(Errno::INVAL) }
}

/// `UIO_MAXIOV`: as many messages a call, as many parts a message.
const MOST_MESSAGES: usize = 1024;
/// `sizeof(struct mmsghdr)`.
const ENTRY: usize = 64;
const WINDOW: usize = 64;
const WINDOW_BYTES: usize = 4 << 20;
const MSG_CMSG_COMPAT: u32 = 0x8000_0000;
