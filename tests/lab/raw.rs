//! Raw system calls, for programs that misbehave.
//!
//! Unsound on purpose: [`call`] takes any number and any arguments, because attacks are made of just those, and a
//! program of the lab that ruins its own memory ruins only its own process. Nothing but programs of the lab and the
//! lab itself may use it.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::Errno;

/// Makes a system call with up to six arguments.
///
/// # Errors
///
/// The kernel's.
pub fn call(number: libc::c_long, arguments: &[usize]) -> Result<usize, Errno> {
    let a = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: none can be given, see the module. A faulty pointer is an errno; a mistake with a good one hurts the
    // process that made it, which is a program of the lab.
    let done = unsafe { libc::syscall(number, a(0), a(1), a(2), a(3), a(4), a(5)) };
    if done == -1 { Err(Errno::last()) } else { Ok(done as usize) }
}

/// The address of a value, as an argument of [`call`].
pub fn at<T: ?Sized>(value: &T) -> usize {
    std::ptr::from_ref(value).cast::<u8>() as usize
}

/// The address of a value that the kernel is to write, as an argument of [`call`].
pub fn out<T: ?Sized>(value: &mut T) -> usize {
    std::ptr::from_mut(value).cast::<u8>() as usize
}

/// `socket(2)`.
///
/// # Errors
///
/// The kernel's.
pub fn socket(family: i32, kind: i32, protocol: i32) -> Result<RawFd, Errno> {
    call(libc::SYS_socket, &[family as usize, kind as usize, protocol as usize]).map(|fd| fd as RawFd)
}

/// A TCP socket of IPv4.
pub fn stream() -> RawFd {
    socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap()
}

/// `listen(2)`.
///
/// # Errors
///
/// The kernel's.
pub fn listen(fd: RawFd) -> Result<(), Errno> {
    call(libc::SYS_listen, &[fd as usize, 8]).map(drop)
}

/// The port that a socket of IPv4 or IPv6 is bound to.
pub fn port_of(fd: RawFd) -> u16 {
    let (mut name, mut length) = ([0u8; 28], 28u32);
    call(libc::SYS_getsockname, &[fd as usize, out(&mut name), out(&mut length)]).unwrap();
    u16::from_be_bytes([name[2], name[3]])
}

/// `connect(2)` with whatever bytes as the address.
///
/// # Errors
///
/// The kernel's.
pub fn connect(fd: RawFd, address: &[u8]) -> Result<(), Errno> {
    call(libc::SYS_connect, &[fd as usize, at(address), address.len()]).map(drop)
}

/// `bind(2)` with whatever bytes as the address.
///
/// # Errors
///
/// The kernel's.
pub fn bind(fd: RawFd, address: &[u8]) -> Result<(), Errno> {
    call(libc::SYS_bind, &[fd as usize, at(address), address.len()]).map(drop)
}

/// `close(2)`.
pub fn close(fd: RawFd) {
    let _ = call(libc::SYS_close, &[fd as usize]);
}

/// `fork(2)`: 0 in the new process. Only for programs with one thread.
pub fn fork() -> i32 {
    // SAFETY: a program of the lab has one thread unless it says otherwise.
    unsafe { libc::fork() }
}

/// `_exit(2)`.
pub fn exit(code: i32) -> ! {
    // SAFETY: has no precondition.
    unsafe { libc::_exit(code) }
}

/// `wait4(2)`: the raw status of a child.
pub fn wait(pid: i32) -> i32 {
    let mut status = 0;
    call(libc::SYS_wait4, &[pid as usize, out(&mut status)]).unwrap();
    status
}

/// `geteuid(2)`.
pub fn euid() -> u32 {
    // SAFETY: has no precondition.
    unsafe { libc::geteuid() }
}

/// `getuid(2)`.
pub fn uid() -> u32 {
    // SAFETY: has no precondition.
    unsafe { libc::getuid() }
}

/// `getgid(2)`.
pub fn gid() -> u32 {
    // SAFETY: has no precondition.
    unsafe { libc::getgid() }
}

/// `gettid(2)`.
pub fn tid() -> i32 {
    // SAFETY: has no precondition.
    unsafe { libc::gettid() }
}

/// `struct sockaddr_in` or `sockaddr_in6`, by the address.
pub fn internet(address: impl Into<SocketAddr>) -> Vec<u8> {
    match address.into() {
        SocketAddr::V4(address) => v4(address),
        SocketAddr::V6(address) => v6(&address),
    }
}

/// `struct sockaddr_in`.
pub fn v4(address: SocketAddrV4) -> Vec<u8> {
    let mut bytes = (libc::AF_INET as u16).to_ne_bytes().to_vec();
    bytes.extend(address.port().to_be_bytes());
    bytes.extend(address.ip().octets());
    bytes.extend([0; 8]);
    bytes
}

/// `struct sockaddr_in6`.
pub fn v6(address: &SocketAddrV6) -> Vec<u8> {
    let mut bytes = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
    bytes.extend(address.port().to_be_bytes());
    bytes.extend(address.flowinfo().to_be_bytes());
    bytes.extend(address.ip().octets());
    bytes.extend(address.scope_id().to_ne_bytes());
    bytes
}

/// `struct sockaddr_un` of a path, as short as it can be.
pub fn unix(path: &Path) -> Vec<u8> {
    let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    bytes.extend(path.as_os_str().as_bytes());
    bytes.push(0);
    bytes
}

/// `struct sockaddr_un` of an abstract name.
pub fn unix_abstract(name: &[u8]) -> Vec<u8> {
    let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    bytes.push(0);
    bytes.extend(name);
    bytes
}

/// Waits until one of these can be read, or has ended.
pub fn poll_readable(fds: &[RawFd], limit: Duration) -> bool {
    let mut fds: Vec<_> =
        fds.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    let limit = limit.as_millis() as i32;
    // SAFETY: the array is alive and as long as it says.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, limit) > 0 }
}

pub(crate) fn set_nonblocking(fd: RawFd) {
    call(libc::SYS_fcntl, &[fd as usize, libc::F_SETFL as usize, libc::O_NONBLOCK as usize]).unwrap();
}

/// Async-signal-safe: puts a descriptor under a number where exec keeps it.
pub(crate) fn place_descriptor(fd: RawFd, number: RawFd) -> std::io::Result<()> {
    let done = if fd == number {
        // SAFETY: takes numbers only.
        unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }
    } else {
        // SAFETY: takes numbers only.
        unsafe { libc::dup2(fd, number) }
    };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
