//! The memory of a calling task: `process_vm_readv(2)`, or `/proc/PID/mem` where a filter around refuses that call.
//!
//! What is read may change the next moment, so each thing is read once, into memory of our own, and only that
//! copy is looked at.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use crate::listener::last_errno;
use crate::{ChildPtr, Tid};

/// Whether memory can be read here: asked of this process, which may look into itself.
pub fn may_be_read() -> bool {
    let (own, mut copy) = ([7_u8], [0_u8]);
    let at = ChildPtr::from_register(own.as_ptr() as u64);
    read(Tid(std::process::id() as i32), at, &mut copy).is_ok() && copy == own
}

/// Whether memory can be written here. `/proc/PID/mem` is no way to do so: a supervisor may only read below `/proc`.
pub fn may_be_written() -> bool {
    let mut own = [0_u8];
    let at = ChildPtr::from_register(own.as_mut_ptr() as u64);
    write(Tid(std::process::id() as i32), at, &[0]).is_ok()
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
    usize::try_from(read).or_else(|_| from_proc(last_errno(), tid, &[(from, into.len())], into))
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
    usize::try_from(read).or_else(|_| from_proc(last_errno(), tid, parts, into))
}

/// The same by `/proc/PID/mem`, after the call was refused: the profile of Podman refuses it to whoever lacks
/// `CAP_SYS_PTRACE`. The kernel demands the same right for both (`mm_access` of kernel/fork.c), so whom it refuses itself it
/// refuses here as well. Pages that the caller may not read are readable this way (`FOLL_FORCE`).
fn from_proc(refused: Errno, tid: Tid, parts: &[(ChildPtr, usize)], into: &mut [u8]) -> Result<usize, Errno> {
    if !matches!(refused, Errno::PERM | Errno::NOSYS) {
        return Err(refused);
    }
    let memory = File::open(format!("/proc/{tid}/mem")).map_err(|_| refused)?;
    let mut done = 0;
    for (at, len) in parts {
        let end = into.len().min(done + len);
        let mut at = at.get();
        while done < end {
            match memory.read_at(&mut into[done..end], at) {
                Ok(read @ 1..) => {
                    done += read;
                    at += read as u64;
                }
                // Nothing is there.
                Ok(0) | Err(_) if done == 0 => return Err(Errno::FAULT),
                Ok(0) | Err(_) => return Ok(done),
            }
        }
    }
    Ok(done)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_by_proc_as_by_the_call() {
        let own = Tid(std::process::id() as i32);
        // SAFETY: a new mapping, of which nobody else knows.
        let pages = unsafe {
            libc::mmap(std::ptr::null_mut(), 2 * PAGE, libc::PROT_READ | libc::PROT_WRITE, PRIVATE, -1, 0)
        };
        assert_ne!(pages, libc::MAP_FAILED);
        let second = pages.wrapping_byte_add(PAGE);
        // SAFETY: the second page of that mapping, which nothing points to.
        assert_eq!(unsafe { libc::munmap(second, PAGE) }, 0);
        let end = ChildPtr::from_register(second as u64);
        let before = |bytes: u64| ChildPtr::from_register(second as u64 - bytes);
        let texts = [b"one".to_vec(), b"two".to_vec()];
        let [one, two] = texts.each_ref().map(|text| (ChildPtr::from_register(text.as_ptr() as u64), 3));
        for (parts, room) in [
            (vec![(before(8), 8)], 8),
            (vec![(before(8), 16)], 16),
            (vec![(end, 8)], 8),
            (vec![(ChildPtr::from_register(0), 8)], 8),
            (vec![(ChildPtr::from_register(u64::MAX - 4), 8)], 8),
            (vec![one, two], 6),
            (vec![one, two], 4),
            (vec![one, (end, 3), two], 9),
            (vec![one, (before(2), 4), two], 10),
        ] {
            let (mut by_call, mut by_proc) = (vec![0; room], vec![0; room]);
            let expected = gather(own, &parts, &mut by_call);
            assert_eq!(from_proc(Errno::PERM, own, &parts, &mut by_proc), expected, "{parts:?}");
            assert_eq!(by_proc, by_call, "{parts:?}");
        }
    }

    #[test]
    fn only_a_refused_call_is_replaced() {
        let mut byte = [0];
        let own = (Tid(std::process::id() as i32), [(ChildPtr::from_register(byte.as_ptr() as u64), 1)]);
        assert_eq!(from_proc(Errno::SRCH, own.0, &own.1, &mut byte), Err(Errno::SRCH));
        assert_eq!(from_proc(Errno::PERM, Tid(i32::MAX), &own.1, &mut byte), Err(Errno::PERM));
    }

    const PAGE: usize = 4096;
    const PRIVATE: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
}
