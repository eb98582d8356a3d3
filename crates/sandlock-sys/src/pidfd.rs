//! Handles of tasks and of their descriptors: `pidfd_open(2)`, `pidfd_getfd(2)`.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::listener::last_errno;
use crate::{ChildFd, Tid};

/// A task, held so that its number cannot come to mean another one.
#[derive(Debug)]
pub struct TaskFd(OwnedFd);

/// Whether this kernel (6.9 and later) has handles of single threads. Without them a descriptor is looked up in
/// the table of the thread group's leader, so that threads must not be let to have tables of their own.
pub fn has_thread_handles() -> bool {
    // SAFETY: takes no pointer.
    let tid = unsafe { libc::gettid() };
    TaskFd::open_with(tid, PIDFD_THREAD).is_ok()
}

/// Whether `pidfd_open` and `pidfd_getfd` are there to be used: asked of this process, which may look into itself. Docker's
/// default profile refuses the second to whoever lacks `CAP_SYS_PTRACE`.
pub fn may_take_descriptors() -> bool {
    let taken = TaskFd::open_with(std::process::id() as i32, 0).and_then(|own| {
        let number = std::os::fd::AsRawFd::as_raw_fd(&own.0);
        own.descriptor(ChildFd::from_register(number as u64))
    });
    taken.is_ok()
}

impl TaskFd {
    /// Opens a handle of the calling *thread*, since threads can have descriptor tables of their own.
    ///
    /// # Errors
    ///
    /// ESRCH when it is gone. On kernels before 6.9 EINVAL when it is not the leader of its thread group: see
    /// [`TaskFd::open_group_of`].
    pub fn open(tid: Tid) -> Result<Self, Errno> {
        Self::open_with(tid.0, PIDFD_THREAD)
    }

    /// Opens a handle of a thread by its number, which may mean another one by now; on kernels without
    /// [`has_thread_handles`] of the leader of a thread group.
    ///
    /// # Errors
    ///
    /// ESRCH when it is gone, EINVAL when it is no leader where it must be.
    pub fn open_number(number: i32) -> Result<Self, Errno> {
        match Self::open_with(number, PIDFD_THREAD) {
            Err(Errno::INVAL) => Self::open_with(number, 0),
            opened => opened,
        }
    }

    /// Opens a handle of the thread group that a thread belongs to, for kernels without [`has_thread_handles`].
    ///
    /// # Errors
    ///
    /// ESRCH when it is gone.
    pub fn open_group_of(tid: Tid) -> Result<Self, Errno> {
        let status = std::fs::read_to_string(format!("/proc/{tid}/status")).map_err(|_| Errno::SRCH)?;
        let group = status
            .lines()
            .find_map(|line| line.strip_prefix("Tgid:"))
            .and_then(|number| number.trim().parse().ok())
            .ok_or(Errno::SRCH)?;
        Self::open_with(group, 0)
    }

    /// Takes a copy of the task's descriptor: the same open file, whatever the task does to its table afterwards.
    ///
    /// # Errors
    ///
    /// EBADF when the task has no such descriptor, ESRCH when it is gone, EPERM when it may not be looked into.
    pub fn descriptor(&self, fd: ChildFd) -> Result<OwnedFd, Errno> {
        // The kernel knows no other negative descriptor than AT_FDCWD, which is none here.
        if fd.get() < 0 {
            return Err(Errno::BADF);
        }
        let pidfd = std::os::fd::AsRawFd::as_raw_fd(&self.0);
        // SAFETY: takes numbers only.
        let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, fd.get(), 0) };
        if taken < 0 {
            return Err(last_errno());
        }
        // SAFETY: the kernel just made this descriptor for us; nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(taken as i32) })
    }

    fn open_with(pid: i32, flags: libc::c_uint) -> Result<Self, Errno> {
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) };
        if fd < 0 {
            return Err(last_errno());
        }
        // SAFETY: the kernel just made this descriptor for us; nothing else owns it.
        Ok(TaskFd(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }
}

impl AsFd for TaskFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `include/uapi/linux/pidfd.h`, Linux 6.9.
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL as libc::c_uint;
