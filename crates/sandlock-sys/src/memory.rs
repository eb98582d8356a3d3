//! The memory of a calling task: `process_vm_readv(2)`.
//!
//! What is read may change the next moment, so each thing is read once, into memory of our own, and only that
//! copy is looked at.

use rustix::io::Errno;

use crate::listener::last_errno;
use crate::{ChildPtr, Tid};

/// Whether `process_vm_readv` is there to be used: asked of this process, which may look into itself.
pub fn may_be_read() -> bool {
    let (own, mut copy) = ([7_u8], [0_u8]);
    let at = ChildPtr::from_register(own.as_ptr() as u64);
    read(Tid(std::process::id() as i32), at, &mut copy).is_ok() && copy == own
}

/// Copies `into.len()` bytes from the caller's memory.
///
/// # Errors
///
/// EFAULT when any of the bytes cannot be read, as the kernel would say; EPERM or ESRCH when the task cannot be
/// looked at any more.
pub fn read(tid: Tid, from: ChildPtr, into: &mut [u8]) -> Result<(), Errno> {
    let wanted = into.len();
    if read_some(tid, from, into)? == wanted { Ok(()) } else { Err(Errno::FAULT) }
}

/// Copies as many bytes as are readable from `from` on, at most `into.len()`.
///
/// # Errors
///
/// As [`read`]; EFAULT when not even one byte is readable.
pub fn read_some(tid: Tid, from: ChildPtr, into: &mut [u8]) -> Result<usize, Errno> {
    if into.is_empty() {
        return Ok(0);
    }
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: from.get() as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: `local` describes `into`, which is writable for its whole length; `remote` is only an address
    // in the other process, which the kernel checks.
    let read = unsafe { libc::process_vm_readv(tid.0, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).map_err(|_| last_errno())
}

/// Gathers `parts` of the caller's memory, one after the other, into `into`. Returns how many bytes could be
/// read before the first that could not.
///
/// # Errors
///
/// As [`read_some`]. EINVAL for more than 1,024 parts.
pub fn gather(tid: Tid, parts: &[(ChildPtr, usize)], into: &mut [u8]) -> Result<usize, Errno> {
    let total = parts.iter().map(|(_, len)| len).sum::<usize>();
    if into.is_empty() || total == 0 {
        return Ok(0);
    }
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote: Vec<libc::iovec> = parts
        .iter()
        .map(|(at, len)| libc::iovec { iov_base: at.get() as *mut libc::c_void, iov_len: *len })
        .collect();
    // SAFETY: `local` describes `into`, writable for its whole length; `remote` is a live array of its length,
    // whose entries are only addresses in the other process.
    let read = unsafe {
        libc::process_vm_readv(tid.0, &raw const local, 1, remote.as_ptr(), remote.len() as libc::c_ulong, 0)
    };
    usize::try_from(read).map_err(|_| last_errno())
}

/// Writes `bytes` to the caller's memory.
///
/// # Errors
///
/// As [`scatter`].
pub fn write(tid: Tid, to: ChildPtr, bytes: &[u8]) -> Result<(), Errno> {
    if bytes.is_empty() {
        return Ok(());
    }
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: to.get() as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: `local` describes `bytes`, which the kernel only reads; `remote` is only an address in the other
    // process, which the kernel checks.
    let written = unsafe { libc::process_vm_writev(tid.0, &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(written) {
        Ok(written) if written == bytes.len() => Ok(()),
        Ok(_) => Err(Errno::FAULT),
        Err(_) => Err(last_errno()),
    }
}

/// Writes each of `values` at its place in the caller's memory, in one call.
///
/// # Errors
///
/// EFAULT when any of it cannot be written, and some may have been then; EPERM or ESRCH when the task cannot be reached
/// any more; EINVAL for more than 1,024 values.
pub fn scatter(tid: Tid, values: &[(ChildPtr, [u8; 4])]) -> Result<(), Errno> {
    let bytes: Vec<u8> = values.iter().flat_map(|(_, value)| *value).collect();
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote: Vec<libc::iovec> = values
        .iter()
        .map(|(at, value)| libc::iovec { iov_base: at.get() as *mut libc::c_void, iov_len: value.len() })
        .collect();
    // SAFETY: `local` describes `bytes`, which the kernel only reads; `remote` is a live array of addresses in
    // the other process.
    let written = unsafe {
        libc::process_vm_writev(tid.0, &raw const local, 1, remote.as_ptr(), remote.len() as libc::c_ulong, 0)
    };
    match usize::try_from(written) {
        Ok(written) if written == bytes.len() => Ok(()),
        Ok(_) => Err(Errno::FAULT),
        Err(_) => Err(last_errno()),
    }
}
