//! What a descriptor of the caller leads to, where the open file itself cannot be taken (`pidfd_getfd(2)` is refused by a
//! filter around): a handle of its inode, through the caller's table in `/proc`.
//!
//! The handle is what is judged, and what is acted on. How the caller has it open is another look, at another moment: it
//! must decide nothing.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use sandlock_sys::{ChildFd, Errno, Tid};

/// Opens the handle (`O_PATH`), in the table of the thread.
///
/// # Errors
///
/// EBADF when there is no such descriptor; those of `/proc` when the caller may not be looked into.
pub(crate) fn of_descriptor(tid: Tid, fd: ChildFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::open(format!("/proc/{tid}/fd/{}", fd.get()), flags, Mode::empty()) {
        Err(Errno::NOENT) => Err(Errno::BADF),
        opened => opened,
    }
}

/// Whether the caller has no more than such a handle itself, which is no descriptor to calls that take one (open(2)).
pub(crate) fn is_handle(tid: Tid, fd: ChildFd) -> bool {
    let info = std::fs::read_to_string(format!("/proc/{tid}/fdinfo/{}", fd.get())).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| OFlags::from_bits_retain(flags).contains(OFlags::PATH))
}
