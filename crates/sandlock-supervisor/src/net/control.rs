//! Control messages: read once, those that could lead a packet elsewhere refused, descriptors re-created.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use sandlock_sys::{ChildFd, Errno};

use super::socket::Socket;
use crate::call::{Call, Failure};
use crate::context::Context;

/// Control messages that may be sent, and the descriptors of ours that they name.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) bytes: Vec<u8>,
    _descriptors: Vec<OwnedFd>,
}

impl Control {
    /// Judges the control messages in `bytes`, which were read from the caller.
    ///
    /// # Errors
    ///
    /// EINVAL for a malformed or unknown one, EPERM for one that sets a route, EBADF for a descriptor that the
    /// caller does not have.
    pub(crate) fn check(
        cx: &Context<'_>,
        call: &Call,
        kind: Socket,
        mut bytes: Vec<u8>,
    ) -> Result<Self, Failure> {
        let mut descriptors = Vec::new();
        let mut at = 0;
        // CMSG_OK and CMSG_NXTHDR of include/linux/socket.h: a rest shorter than a header is ignored.
        while bytes.len() - at >= HEADER {
            let len = usize::try_from(word64(&bytes, at)).map_err(|_| Errno::INVAL)?;
            if len < HEADER || len > bytes.len() - at {
                return Err(Errno::INVAL.into());
            }
            let (level, name) = (word32(&bytes, at + 8), word32(&bytes, at + 12));
            let data = at + HEADER..at + len;
            match (kind, level, name) {
                (Socket::Unix(_), SOL_SOCKET, SCM_RIGHTS) => {
                    recreate(cx, call, &mut bytes[data], &mut descriptors)?;
                }
                (Socket::Unix(_), SOL_SOCKET, SCM_CREDENTIALS) => own_credentials(call, &mut bytes[data])?,
                _ => pass(level, name)?,
            }
            at = (at + len).next_multiple_of(8).min(bytes.len());
        }
        Ok(Control { bytes, _descriptors: descriptors })
    }
}

/// An allowlist: what is not on it is unknown to us, and so may lead anywhere.
fn pass(level: i32, name: i32) -> Result<(), Errno> {
    match (level, name) {
        // Of unix sockets only: __sock_cmsg_send of net/core/sock.c passes over them.
        (SOL_SOCKET, SCM_RIGHTS | SCM_CREDENTIALS) => Ok(()),
        (SOL_IP, IP_RETOPTS) => Err(Errno::PERM),
        (SOL_IPV6, name) if IPV6_ROUTING.contains(&name) => Err(Errno::PERM),
        (SOL_SOCKET, name) if SOCKET_MESSAGES.contains(&name) => Ok(()),
        (SOL_IP, IP_TOS | IP_TTL | IP_PKTINFO) => Ok(()),
        (SOL_IPV6, name) if IPV6_MESSAGES.contains(&name) => Ok(()),
        (SOL_UDP, UDP_SEGMENT) => Ok(()),
        // The TLS record type of a kernel TLS socket: SOL_TLS, TLS_SET_RECORD_TYPE.
        (282, 1) => Ok(()),
        _ => Err(Errno::INVAL),
    }
}

/// Puts copies of the caller's descriptors in place of its numbers, which mean nothing here.
fn recreate(
    cx: &Context<'_>,
    call: &Call,
    data: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<(), Failure> {
    for number in data.chunks_exact_mut(4) {
        // SCM_MAX_FD of include/net/scm.h.
        if descriptors.len() >= 253 {
            return Err(Errno::INVAL.into());
        }
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
    let claimed = data.get(..4).map(|pid| i32::from_ne_bytes([pid[0], pid[1], pid[2], pid[3]]));
    let group = crate::task::tree::group_of(call.tid.get());
    if claimed.is_none() || claimed != group {
        return Err(Errno::PERM);
    }
    data[..4].copy_from_slice(&std::process::id().to_ne_bytes());
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
const SOL_SOCKET: i32 = 1;
const SOL_IP: i32 = 0;
const SOL_IPV6: i32 = 41;
const SOL_UDP: i32 = 17;
const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
const IP_TOS: i32 = 1;
const IP_TTL: i32 = 2;
const IP_RETOPTS: i32 = 7;
const IP_PKTINFO: i32 = 8;
const UDP_SEGMENT: i32 = 103;
/// SO_PRIORITY, SO_MARK (the kernel asks for a capability), SO_TIMESTAMPING old and new, SCM_TXTIME,
/// SCM_TS_OPT_ID.
const SOCKET_MESSAGES: [i32; 6] = [12, 36, 37, 65, 61, 81];
/// 2292PKTINFO, 2292HOPLIMIT, PKTINFO, HOPLIMIT, DONTFRAG, TCLASS.
const IPV6_MESSAGES: [i32; 6] = [2, 8, 50, 52, 62, 67];
/// 2292HOPOPTS, 2292DSTOPTS, 2292RTHDR, FLOWINFO (a label can carry a routing header), HOPOPTS, RTHDRDSTOPTS,
/// RTHDR, DSTOPTS.
const IPV6_ROUTING: [i32; 8] = [3, 4, 5, 11, 54, 55, 57, 59];
