//! `sendto(2)`, `sendmsg(2)`: the destination and the control messages are read once and checked, and the message is sent
//! on the pinned socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt;
use sandlock_policy::{Destination, Matter, Tree};
use sandlock_sys::{ChildPtr, Errno, memory};

use super::address::{Form, LONGEST, RawAddress};
use super::control::Control;
use super::message::{Header, LONGEST_CALL, Message, may_be_a_users};
use super::sending::Sending;
use super::socket::{Socket, UnixKind};
use super::target::{Judged, Target};
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::decision::{Hands, decide};

/// `sendto(fd, buffer, length, flags, address, length)`.
pub(crate) fn sendto(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let payload_len = usize::try_from(call.long(2)).unwrap_or(usize::MAX).min(LONGEST_CALL);
    if !may_be_a_users(call.long(1), payload_len) {
        return Err(Errno::FAULT.into());
    }
    let socket = cx.pin(call, call.descriptor(0))?;
    let kind = Socket::of(socket.as_fd())?;
    let name_len = usize::try_from(call.int(5)).ok().filter(|len| *len <= LONGEST).ok_or(Errno::INVAL)?;
    let payload = (call.pointer(1), payload_len);
    let name = (call.pointer(4), name_len);
    // Both in one call, which is what a datagram costs most after the send itself.
    let together = !kind.is_stream() && payload_len <= kind.longest_message();
    let mut bytes = vec![0; if together { name_len + payload_len } else { name_len }];
    let wanted = if together { &[name, payload][..] } else { &[name] };
    // A payload that cannot be read is met again below, where the kernel says what it tells first.
    let read = match read_all(call, wanted, &mut bytes) {
        Err(Errno::FAULT) if name_len == 0 => 0,
        read => read?,
    };
    if read < name_len {
        return Err(Errno::FAULT.into());
    }
    let together = together && read == bytes.len();
    let address = RawAddress::from_bytes(&bytes[..name_len]);
    // "MSG_INTERNAL_SENDMSG_FLAGS": a flag of the kernel's own is passed over here.
    let flags = call.int(3) as u32 & !MSG_CMSG_COMPAT;
    let to = Target::check(cx, call, kind, Some(&address))
        .map_err(|error| first_of(error, call, socket.as_fd(), kind, &[payload], flags))?;
    let (tid, parts, control) = (call.tid, vec![payload], Control::default());
    let to_target =
        move |target| Sending { socket, kind, target, control, tid, parts, flags, done: 0, deadline: None };
    match to {
        Judged::Target(target) => {
            let payload = together.then_some(&bytes[name_len..]);
            to_target(target).begin(payload, &|| cx.confirm(call).is_ok())
        }
        Judged::Open { matter, tree, destination, form } => {
            ask(cx, call, matter, (tree, destination, form), to_target)
        }
    }
}

/// `sendmsg(fd, message, flags)`.
pub(crate) fn sendmsg(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    refuse_compat(call.int(2))?;
    let socket = cx.pin(call, call.descriptor(0))?;
    let kind = Socket::of(socket.as_fd())?;
    let message = Header::read(call.tid, call.pointer(1))?.read_message(call.tid)?;
    send_one(cx, call, socket, kind, message, call.int(2) as u32, true)
}

pub(super) fn send_one(
    cx: &Context<'_>,
    call: &Call,
    socket: OwnedFd,
    kind: Socket,
    message: Message,
    flags: u32,
    may_be_held: bool,
) -> Result<Done, Failure> {
    let name = message.name.as_ref();
    let (to, control) = match kind {
        Socket::Internet { family, protocol } => {
            let to = Target::check(cx, call, kind, name)?;
            let control = Control::labels(socket.as_fd(), (family, protocol), &to, message.control)?;
            (to, control)
        }
        // What is passed along is looked at before who it is for: scm_send of include/net/scm.h.
        _ => {
            let control = Control::passed(cx, call, socket.as_fd(), kind, message.control)?;
            let to = Target::check(cx, call, kind, name)
                .map_err(|error| first_of(error, call, socket.as_fd(), kind, &message.parts, flags))?;
            (to, control)
        }
    };
    let (tid, parts) = (call.tid, message.parts);
    let to_target =
        move |target| Sending { socket, kind, target, control, tid, parts, flags, done: 0, deadline: None };
    match to {
        Judged::Target(target) => to_target(target).begin(None, &|| cx.confirm(call).is_ok()),
        Judged::Open { matter, tree, destination, form } if may_be_held => {
            ask(cx, call, matter, (tree, destination, form), to_target)
        }
        Judged::Open { .. } => Err(Errno::AGAIN.into()),
    }
}

/// The error that is told of a message that has this one, of its name: unix_dgram_sendmsg of net/unix/af_unix.c looks for the
/// peer when the message is ready to go.
fn first_of(
    error: Failure,
    call: &Call,
    socket: BorrowedFd<'_>,
    kind: Socket,
    parts: &[(ChildPtr, usize)],
    flags: u32,
) -> Failure {
    let Failure::Errno(errno) = error else {
        return error;
    };
    if kind != Socket::Unix(UnixKind::Datagram) {
        return errno.into();
    }
    let length: usize = parts.iter().map(|(_, len)| len).sum();
    let most = sockopt::socket_send_buffer_size(socket).map_or(0, |size| size.saturating_sub(OWN_OF_BUFFER));
    let is_readable = || {
        let mut payload = vec![0; length];
        read_all(call, parts, &mut payload).is_ok_and(|read| read == length)
    };
    if flags & MSG_OOB != 0 {
        Errno::OPNOTSUPP.into()
    } else if errno == Errno::INVAL {
        errno.into()
    } else if length > most {
        Errno::MSGSIZE.into()
    } else if !is_readable() {
        Errno::FAULT.into()
    } else {
        errno.into()
    }
}

/// Asks about a destination; the payload is read again when the answer is there, since it decides nothing.
fn ask(
    cx: &Context<'_>,
    call: &Call,
    matter: Matter,
    (tree, destination, form): (Tree, Destination, Form),
    to_target: impl FnOnce(Target) -> Sending + Send + 'static,
) -> Result<Done, Failure> {
    let go_on = move |approval, hands: &Hands<'_>| {
        let target = Target::approved(hands.network.load().of(tree), destination, form, approval)?;
        to_target(target).begin(None, hands.caller_waits)
    };
    decide(cx, call, matter, Box::new(go_on))
}

/// Reads `wanted` parts one after the other; nothing wanted is nothing read.
pub(super) fn read_all(call: &Call, wanted: &[(ChildPtr, usize)], into: &mut [u8]) -> Result<usize, Errno> {
    let wanted: Vec<_> = wanted.iter().copied().filter(|(_, len)| *len > 0).collect();
    memory::gather(call.tid, &wanted, into)
}

/// Only the kernel itself says that a message has the layout of a 32-bit program.
pub(super) fn refuse_compat(flags: i32) -> Result<(), Errno> {
    if flags as u32 & MSG_CMSG_COMPAT == 0 { Ok(()) } else { Err(Errno::INVAL) }
}

const MSG_CMSG_COMPAT: u32 = 0x8000_0000;
const MSG_OOB: u32 = 1;
/// What a message cannot have of its socket's buffer: "len > READ_ONCE(sk->sk_sndbuf) - 32".
const OWN_OF_BUFFER: usize = 32;
