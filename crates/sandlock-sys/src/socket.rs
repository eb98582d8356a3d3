//! Socket calls with control messages and addresses of any family, which the safe wrappers do not take.

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
