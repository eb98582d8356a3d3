//! Control messages: read once, those that could lead a packet elsewhere refused, descriptors re-created.
//!
//! What is wrong with them the kernel says itself, in its own order among the other errors of a message: it is given
//! what it refuses at the same place.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use sandlock_policy::Protocol;
use sandlock_sys::{ChildFd, Errno};

use super::socket::{Family, Socket, UnixKind};
use super::target::Judged;
use crate::call::{Call, Failure};
use crate::context::Context;

/// Control messages that may be sent, and the descriptors of ours that they name.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) bytes: Vec<u8>,
    _descriptors: Vec<OwnedFd>,
}

impl Control {
    /// Judges the control messages in `bytes`, which were read from the caller, of a message to `to` on a socket for IPv4 or
    /// IPv6.
    ///
    /// # Errors
    ///
    /// EPERM for one that sets a route.
    pub(crate) fn labels(
        socket: BorrowedFd<'_>,
        (family, protocol): (Family, Protocol),
        to: &Judged,
        bytes: Vec<u8>,
    ) -> Result<Self, Errno> {
        let bytes = match bytes.len() {
            0..HEADER => bytes,
            _ => labels(bytes, family, protocol, || family == Family::V4 || to.is_v4(socket))?,
        };
        Ok(Control { bytes, _descriptors: Vec::new() })
    }

    /// Judges those of a message on another socket, which pass descriptors and credentials.
    ///
    /// # Errors
    ///
    /// EINVAL for a malformed or unknown one, EBADF for a descriptor that the caller does not have, EPERM for credentials of
    /// others.
    pub(crate) fn passed(
        cx: &Context<'_>,
        call: &Call,
        socket: BorrowedFd<'_>,
        kind: Socket,
        bytes: Vec<u8>,
    ) -> Result<Self, Failure> {
        if bytes.len() < HEADER {
            return Ok(Control { bytes, _descriptors: Vec::new() });
        }
        // unix_seqpacket_sendmsg looks for its peer before it looks at the rest.
        if kind == Socket::Unix(UnixKind::SeqPacket) && rustix::net::getpeername(socket).is_err() {
            return Err(Errno::NOTCONN.into());
        }
        passed(cx, call, bytes)
    }
}

/// One control message: where its header and its data are, or that there is no end to it.
enum Next {
    Message { header: usize, end: usize },
    Malformed,
}

/// `CMSG_OK` and `CMSG_NXTHDR` of include/linux/socket.h: a rest shorter than a header is ignored.
fn next(bytes: &[u8], at: usize) -> Option<Next> {
    if bytes.len() - at < HEADER {
        return None;
    }
    match usize::try_from(word64(bytes, at)) {
        Ok(len) if len >= HEADER && len <= bytes.len() - at => {
            Some(Next::Message { header: at, end: at + len })
        }
        _ => Some(Next::Malformed),
    }
}

fn after(bytes: &[u8], end: usize) -> usize {
    end.next_multiple_of(8).min(bytes.len())
}

/// What a socket for IPv4 or IPv6 makes of a control message.
#[derive(PartialEq, Eq, Debug)]
enum Label {
    Passes,
    /// This kernel does not look at it here; none shall.
    Ignored,
    /// The packet would go another way than to its destination.
    Route,
    /// Refused by the kernel. A newer one may know it, so it is not shown.
    Unknown,
}

/// Labels of a packet. An allowlist: what is not on it is unknown to us, and so may lead anywhere.
fn labels(
    mut bytes: Vec<u8>,
    family: Family,
    protocol: Protocol,
    to_v4: impl Fn() -> bool,
) -> Result<Vec<u8>, Errno> {
    let mut at = 0;
    while let Some(Next::Message { header, end }) = next(&bytes, at) {
        match label(family, protocol, &to_v4, word32(&bytes, header + 8), word32(&bytes, header + 12)) {
            Label::Passes => {}
            Label::Ignored => bytes[header + 8..header + 12].copy_from_slice(&NO_LEVEL.to_ne_bytes()),
            Label::Route => return Err(Errno::PERM),
            Label::Unknown => {
                if !make_invalid(&mut bytes[header..end]) {
                    break;
                }
            }
        }
        at = after(&bytes, end);
    }
    Ok(bytes)
}

/// Turns an unknown message into one that every kernel answers with EINVAL when it gets there. False when it is also the
/// end of the list.
fn make_invalid(message: &mut [u8]) -> bool {
    let name = match word32(message, 8) {
        SOL_IP => IP_TTL,
        SOL_IPV6 => IPV6_HOPLIMIT,
        SOL_SOCKET => SO_TIMESTAMPING,
        // No value of UDP's is invalid by itself: a length that is.
        _ => {
            message[..8].fill(0);
            return false;
        }
    };
    message[12..16].copy_from_slice(&name.to_ne_bytes());
    // Past 255, and flags that do not exist.
    message[HEADER..].fill(0x7f);
    true
}

fn label(family: Family, protocol: Protocol, to_v4: &impl Fn() -> bool, level: i32, name: i32) -> Label {
    let known = |known: bool| if known { Label::Passes } else { Label::Unknown };
    match level {
        // SCM_RIGHTS and SCM_CREDENTIALS: of unix sockets only, __sock_cmsg_send of net/core/sock.c passes over them.
        SOL_SOCKET => known(matches!(name, SCM_RIGHTS | SCM_CREDENTIALS) || SOCKET_MESSAGES.contains(&name)),
        SOL_TLS if protocol == Protocol::Tcp => known(name == TLS_SET_RECORD_TYPE),
        _ if protocol == Protocol::Tcp => Label::Ignored,
        SOL_UDP if protocol == Protocol::Udp => known(name == UDP_SEGMENT),
        SOL_IPV6 if family == Family::V4 => Label::Ignored,
        SOL_IP if name == IP_RETOPTS => Label::Route,
        SOL_IPV6 if IPV6_ROUTING.contains(&name) => Label::Route,
        SOL_IP if matches!(name, IP_TOS | IP_TTL | IP_PKTINFO) => Label::Passes,
        SOL_IPV6 if IPV6_MESSAGES.contains(&name) => Label::Passes,
        SOL_IP if to_v4() => Label::Unknown,
        SOL_IPV6 if !to_v4() => Label::Unknown,
        _ => Label::Ignored,
    }
}

/// What is passed along with a message: `__scm_send` of net/core/scm.c, in its order.
fn passed(cx: &Context<'_>, call: &Call, mut bytes: Vec<u8>) -> Result<Control, Failure> {
    let mut descriptors = Vec::new();
    let mut at = 0;
    while let Some(message) = next(&bytes, at) {
        let Next::Message { header, end } = message else {
            return Err(Errno::INVAL.into());
        };
        let data = header + HEADER..end;
        match (word32(&bytes, header + 8), word32(&bytes, header + 12)) {
            (SOL_SOCKET, SCM_RIGHTS) => recreate(cx, call, &mut bytes[data], &mut descriptors)?,
            (SOL_SOCKET, SCM_CREDENTIALS) => own_credentials(call, &mut bytes[data])?,
            (SOL_SOCKET, _) => return Err(Errno::INVAL.into()),
            _ => bytes[header + 8..header + 12].copy_from_slice(&NO_LEVEL.to_ne_bytes()),
        }
        at = after(&bytes, end);
    }
    Ok(Control { bytes, _descriptors: descriptors })
}

/// Puts copies of the caller's descriptors in place of its numbers, which mean nothing here.
fn recreate(
    cx: &Context<'_>,
    call: &Call,
    data: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<(), Failure> {
    if descriptors.len() + data.len() / 4 > MOST_DESCRIPTORS {
        return Err(Errno::INVAL.into());
    }
    for number in data.chunks_exact_mut(4) {
        let theirs = u32::from_ne_bytes([number[0], number[1], number[2], number[3]]);
        let ours = cx.pin(call, ChildFd::from_register(u64::from(theirs)))?;
        number.copy_from_slice(&ours.as_fd().as_raw_fd().to_ne_bytes());
        descriptors.push(ours);
    }
    Ok(())
}

/// A process may claim its own number only, and so may this one: a claim that is true of the caller becomes true
/// of the process that sends.
fn own_credentials(call: &Call, data: &mut [u8]) -> Result<(), Errno> {
    let Ok(claim) = <&mut [u8; UCRED]>::try_from(data) else {
        return Err(Errno::INVAL);
    };
    let claimed = i32::from_ne_bytes([claim[0], claim[1], claim[2], claim[3]]);
    if Some(claimed) != crate::task::tree::group_of(call.tid.get()) {
        return Err(Errno::PERM);
    }
    claim[..4].copy_from_slice(&std::process::id().to_ne_bytes());
    Ok(())
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

fn word32(bytes: &[u8], at: usize) -> i32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    i32::from_ne_bytes(word)
}

/// `sizeof(struct cmsghdr)`.
const HEADER: usize = 16;
/// `sizeof(struct ucred)`.
const UCRED: usize = 12;
/// `SCM_MAX_FD` of include/net/scm.h.
const MOST_DESCRIPTORS: usize = 253;
/// Nothing in the kernel has it.
const NO_LEVEL: i32 = -1;
const SOL_SOCKET: i32 = 1;
const SOL_IP: i32 = 0;
const SOL_IPV6: i32 = 41;
const SOL_UDP: i32 = 17;
const SOL_TLS: i32 = 282;
/// The type of record, of a socket that the kernel encrypts for.
const TLS_SET_RECORD_TYPE: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
const IP_TOS: i32 = 1;
const IP_TTL: i32 = 2;
const SO_TIMESTAMPING: i32 = 37;
const IP_RETOPTS: i32 = 7;
const IP_PKTINFO: i32 = 8;
const UDP_SEGMENT: i32 = 103;
const IPV6_HOPLIMIT: i32 = 52;
/// SO_PRIORITY, SO_MARK (the kernel asks for a capability), SO_TIMESTAMPING old and new, SCM_TXTIME,
/// SCM_TS_OPT_ID.
const SOCKET_MESSAGES: [i32; 6] = [12, 36, 37, 65, 61, 81];
/// 2292PKTINFO, 2292HOPLIMIT, PKTINFO, HOPLIMIT, DONTFRAG, TCLASS.
const IPV6_MESSAGES: [i32; 6] = [2, 8, 50, 52, 62, 67];
/// 2292HOPOPTS, 2292DSTOPTS, 2292RTHDR, FLOWINFO (a label can carry a routing header), HOPOPTS, RTHDRDSTOPTS,
/// RTHDR, DSTOPTS.
const IPV6_ROUTING: [i32; 8] = [3, 4, 5, 11, 54, 55, 57, 59];

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, name: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER as u64 + data.len() as u64).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(name.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn udp(family: Family, to_v4: bool, bytes: Vec<u8>) -> Result<Vec<u8>, Errno> {
        labels(bytes, family, Protocol::Udp, || to_v4)
    }

    #[test]
    fn what_the_kernel_does_not_look_at_is_hidden_from_newer_ones() {
        let hidden = message(NO_LEVEL, 200, &[1; 4]);
        let unseen = [(Family::V4, true, 6), (Family::V4, true, SOL_IPV6), (Family::V6, false, SOL_IP)];
        for (family, to_v4, level) in unseen {
            assert_eq!(udp(family, to_v4, message(level, 200, &[1; 4])).as_ref(), Ok(&hidden), "{level}");
        }
        let tcp = labels(message(SOL_IP, IP_RETOPTS, &[1; 4]), Family::V4, Protocol::Tcp, || true);
        assert_eq!(word32(&tcp.unwrap(), 8), NO_LEVEL);
    }

    #[test]
    fn what_is_unknown_where_the_kernel_looks_is_made_invalid() {
        let known = message(SOL_IP, IP_TOS, &[8, 0, 0, 0]);
        for (family, to_v4, level, invalid) in [
            (Family::V4, true, SOL_IP, message(SOL_IP, IP_TTL, &[0x7f; 4])),
            (Family::V6, true, SOL_IP, message(SOL_IP, IP_TTL, &[0x7f; 4])),
            (Family::V6, false, SOL_IPV6, message(SOL_IPV6, IPV6_HOPLIMIT, &[0x7f; 4])),
            (Family::V4, true, SOL_SOCKET, message(SOL_SOCKET, SO_TIMESTAMPING, &[0x7f; 4])),
        ] {
            let bytes = [known.clone(), message(level, 99, &[0; 4]), known.clone()].concat();
            assert_eq!(udp(family, to_v4, bytes), Ok([known.clone(), invalid, known.clone()].concat()));
        }
        let judged = udp(Family::V4, true, message(SOL_UDP, 99, &[0; 2])).unwrap();
        assert_eq!(word64(&judged, 0), 0);
    }

    #[test]
    fn a_route_is_refused_wherever_it_stands() {
        let harmless = message(SOL_IP, IP_TOS, &[8, 0, 0, 0]);
        for (family, to_v4, level, name) in [
            (Family::V4, true, SOL_IP, IP_RETOPTS),
            (Family::V6, true, SOL_IP, IP_RETOPTS),
            (Family::V6, false, SOL_IP, IP_RETOPTS),
            (Family::V6, true, SOL_IPV6, 57),
            (Family::V6, false, SOL_IPV6, 57),
        ] {
            let route = message(level, name, &[0; 8]);
            for bytes in [route.clone(), [harmless.clone(), route.clone()].concat()] {
                assert_eq!(udp(family, to_v4, bytes), Err(Errno::PERM));
            }
        }
    }

    #[test]
    fn the_kernel_sees_what_is_malformed() {
        for len in [0u64, 15, 33, u64::MAX] {
            let mut bytes = message(SOL_IP, IP_TOS, &[0; 16]);
            bytes[..8].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(udp(Family::V4, true, bytes.clone()), Ok(bytes));
        }
    }
}
