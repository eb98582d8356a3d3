//! Socket calls with control messages and addresses of any family, which the safe wrappers do not take.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::listener::last_errno;

/// `bind(2)` with an address of any family.
///
/// # Errors
///
/// That of `bind(2)`.
pub fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `len` bytes from a live slice of that length.
    let done =
        unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as libc::socklen_t) };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

/// What `connect(2)` says, in the state that the socket is in, before it looks at the address: given one of a family
/// that does not exist, it can lead nowhere. EAFNOSUPPORT when the state has nothing to say.
///
/// # Errors
///
/// That of `connect(2)`.
pub fn connect_to_no_family(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut address = [0u8; 28];
    address[..2].copy_from_slice(&u16::MAX.to_ne_bytes());
    // SAFETY: the kernel reads `len` bytes from a live array of that length.
    let done = unsafe {
        libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as libc::socklen_t)
    };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Where a socket is connected to, or is being connected to: `SO_PEERNAME`, which also tells of a connection that is not
/// made yet (`inet_getname` in net/ipv4/af_inet.c). `None` for what is no address of the internet.
///
/// # Errors
///
/// ENOTCONN when it is neither.
pub fn peer_or_goal(socket: BorrowedFd<'_>) -> Result<Option<SocketAddr>, Errno> {
    // An address must be as long as what is asked for, or longer (`sk_getsockopt` in net/core/sock.c).
    let (mut bytes, mut asked) = ([0u8; SOCKADDR_IN6], Err(Errno::INVAL));
    for len in [SOCKADDR_IN6, SOCKADDR_IN] {
        if asked == Err(Errno::INVAL) {
            asked = socket_option(socket, SO_PEERNAME, &mut bytes[..len]);
        }
    }
    asked?;
    // `struct sockaddr_in` and `struct sockaddr_in6`: include/uapi/linux/in.h, in6.h.
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    let octets = |from: usize, to: usize| bytes.get(from..to).unwrap_or_default();
    let address = match i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
        libc::AF_INET => <[u8; 4]>::try_from(octets(4, 8)).ok().map(IpAddr::from),
        libc::AF_INET6 => <[u8; 16]>::try_from(octets(8, 24)).ok().map(IpAddr::from),
        _ => None,
    };
    Ok(address.map(|address| SocketAddr::new(address, port)))
}

fn socket_option(socket: BorrowedFd<'_>, option: libc::c_int, value: &mut [u8]) -> Result<(), Errno> {
    let mut len = value.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which the slice has.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Of `struct sockaddr_in6` and `struct sockaddr_in`.
const SOCKADDR_IN6: usize = 28;
const SOCKADDR_IN: usize = 16;
/// `include/uapi/asm-generic/socket.h`.
const SO_PEERNAME: libc::c_int = 28;

/// One message to send: where to (none if empty), what, and with which control messages.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// A `struct sockaddr`.
    pub name: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// The control messages, as `sendmsg(2)` takes them. Descriptors in them are ours.
    pub control: &'a [u8],
}

/// `sendmsg(2)` of one message, never raising SIGPIPE here. With MSG_ZEROCOPY the kernel keeps referring to the
/// payload, so it is given pages of its own that nobody writes again.
///
/// # Errors
///
/// That of `sendmsg(2)`.
pub fn send(socket: BorrowedFd<'_>, message: Outgoing<'_>, flags: u32) -> Result<usize, Errno> {
    let pages = if flags & MSG_ZEROCOPY != 0 { Some(Pages::holding(message.payload)?) } else { None };
    let payload = pages.as_ref().map_or(message.payload, Pages::bytes);
    let mut iovec = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    let header = header(message, &mut iovec);
    // SAFETY: `header` describes slices that outlive the call and that the kernel only reads.
    let sent = unsafe {
        libc::sendmsg(socket.as_raw_fd(), &raw const header, (flags | libc::MSG_NOSIGNAL as u32) as i32)
    };
    usize::try_from(sent).map_err(|_| last_errno())
}

/// What `sendmsg(2)` says to a message whose payload, of `len` bytes, cannot be read: the kernel's own choice among
/// the errors that the message has. Nothing is sent, since there is nothing that could be.
///
/// # Errors
///
/// Always one; EFAULT if the kernel had no other.
pub fn send_unreadable(
    socket: BorrowedFd<'_>,
    name: &[u8],
    control: &[u8],
    len: usize,
    flags: u32,
) -> Result<std::convert::Infallible, Errno> {
    // Nothing in this process is ever mapped in the first page.
    let mut iovec = libc::iovec { iov_base: std::ptr::without_provenance_mut(1), iov_len: len.max(1) };
    let header = header(Outgoing { name, payload: &[], control }, &mut iovec);
    // SAFETY: the kernel reads the name and the control messages, which outlive the call, and is meant to fail to
    // read the payload at an address where nothing is.
    let sent = unsafe {
        libc::sendmsg(socket.as_raw_fd(), &raw const header, (flags | libc::MSG_NOSIGNAL as u32) as i32)
    };
    Err(if sent < 0 { last_errno() } else { Errno::FAULT })
}

/// `sendmmsg(2)`: how many of the messages were sent, and how many bytes of each.
///
/// # Errors
///
/// That of the first message, if not even that was sent.
pub fn send_batch(socket: BorrowedFd<'_>, messages: &[Outgoing<'_>], flags: u32) -> Result<Vec<u32>, Errno> {
    let mut iovecs: Vec<libc::iovec> = messages
        .iter()
        .map(|message| libc::iovec {
            iov_base: message.payload.as_ptr().cast_mut().cast(),
            iov_len: message.payload.len(),
        })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = messages
        .iter()
        .zip(&mut iovecs)
        .map(|(message, iovec)| libc::mmsghdr { msg_hdr: header(*message, iovec), msg_len: 0 })
        .collect();
    let flags = (flags | libc::MSG_NOSIGNAL as u32) as i32;
    // SAFETY: `headers` is a live array of its length, whose entries describe slices that outlive the call; the
    // kernel writes only the `msg_len` of each.
    let sent = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as libc::c_uint, flags as _)
    };
    let sent = usize::try_from(sent).map_err(|_| last_errno())?;
    Ok(headers.iter().take(sent).map(|header| header.msg_len).collect())
}

fn header(message: Outgoing<'_>, iovec: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zeroes is a valid `msghdr`: null pointers with zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    if !message.name.is_empty() {
        header.msg_name = message.name.as_ptr().cast_mut().cast();
        header.msg_namelen = message.name.len() as libc::socklen_t;
    }
    header.msg_iov = iovec;
    header.msg_iovlen = 1;
    if !message.control.is_empty() {
        header.msg_control = message.control.as_ptr().cast_mut().cast();
        header.msg_controllen = message.control.len() as _;
    }
    header
}

/// Anonymous memory that is unmapped, not reused: pages that the kernel still refers to live on unchanged.
struct Pages {
    start: *mut libc::c_void,
    len: usize,
}

impl Pages {
    fn holding(bytes: &[u8]) -> Result<Self, Errno> {
        let len = bytes.len().max(1);
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh anonymous mapping, placed by the kernel.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(last_errno());
        }
        let pages = Pages { start, len: bytes.len() };
        // SAFETY: the mapping is writable for at least `bytes.len()` bytes and overlaps nothing.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), pages.start.cast(), bytes.len()) };
        Ok(pages)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped, filled by `holding`, and not written again while `self` lives.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping that `holding` made, which nobody else knows of.
        unsafe { libc::munmap(self.start, self.len.max(1)) };
    }
}

const MSG_ZEROCOPY: u32 = 0x400_0000;
