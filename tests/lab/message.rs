//! No attack: messages as the kernel reads them, for the attacks that send.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use crate::{Errno, raw};

/// `struct iovec`.
pub type Part = [usize; 2];
/// `struct msghdr`, in words: name, its length, parts, their number, control, its length, flags.
pub type Header = [usize; 7];
/// `struct mmsghdr`: a header, and in the last word the length that the kernel writes.
pub type Entry = [usize; 8];

/// An iovec of some bytes.
pub fn part(bytes: &[u8]) -> Part {
    [raw::at(bytes), bytes.len()]
}

/// A header that points to these. An empty name or control is a null pointer.
pub fn header(name: &[u8], parts: &[Part], control: &[u8]) -> Header {
    let at = |bytes: &[u8]| if bytes.is_empty() { 0 } else { raw::at(bytes) };
    [at(name), name.len(), raw::at(parts), parts.len(), at(control), control.len(), 0]
}

/// The same for `sendmmsg`, with a length that nobody has written.
pub fn entry(name: &[u8], parts: &[Part], control: &[u8]) -> Entry {
    let mut entry = [UNTOLD; 8];
    entry[..7].copy_from_slice(&header(name, parts, control));
    entry
}

/// The length that the kernel wrote to an entry, if it did.
pub fn told(entry: &Entry) -> Option<usize> {
    (entry[7] != UNTOLD).then_some(entry[7] & 0xffff_ffff)
}

/// `sendto(2)`.
pub fn sendto(fd: RawFd, payload: &[u8], flags: i32, name: &[u8]) -> Result<usize, Errno> {
    let words = [fd as usize, raw::at(payload), payload.len(), flags as usize, raw::at(name), name.len()];
    raw::call(libc::SYS_sendto, &words)
}

/// `sendmsg(2)`.
pub fn sendmsg(fd: RawFd, header: &Header, flags: i32) -> Result<usize, Errno> {
    raw::call(libc::SYS_sendmsg, &[fd as usize, raw::at(header), flags as usize])
}

/// `sendmmsg(2)`.
pub fn sendmmsg(fd: RawFd, entries: &mut [Entry], flags: i32) -> Result<usize, Errno> {
    raw::call(libc::SYS_sendmmsg, &[fd as usize, raw::out(entries), entries.len(), flags as usize])
}

/// One control message, padded.
pub fn control(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
    bytes.extend(level.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// A UDP socket for such addresses.
pub fn udp(to: SocketAddr) -> RawFd {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    raw::socket(family, libc::SOCK_DGRAM, 0).unwrap()
}

const UNTOLD: usize = usize::MAX;
