//! Processes: forking the supervisor, and closing what it must not hold.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::listener::last_errno;
use crate::namespace::Namespaces;

/// Which side of a [`fork_alone`] this is.
#[derive(Debug)]
pub enum Fork {
    /// The process that forked; the child's process id.
    Parent(i32),
    /// The new process.
    Child,
}

/// Why [`fork_alone`] did not fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForkError {
    /// Another thread may hold a lock that nobody could release in the child.
    #[error("this process has {0} threads, and only a single-threaded one can start a sandbox")]
    OtherThreads(u64),
    /// `fork(2)` failed.
    #[error("fork failed")]
    Refused(#[source] Errno),
    /// The namespaces that the new process was to have cannot be had.
    #[error("the namespaces of this run cannot be made")]
    Namespaces(#[source] Errno),
}

/// Forks a process that has one thread only, so that the child is as whole as its parent.
///
/// # Errors
///
/// [`ForkError::OtherThreads`] when there are more threads, else that of `fork(2)`.
pub fn fork_alone() -> Result<Fork, ForkError> {
    wait_until_alone()?;
    // SAFETY: there is no other thread, so no lock is held and no state is half-way changed in the child.
    match unsafe { libc::fork() } {
        -1 => Err(ForkError::Refused(last_errno())),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// As [`fork_alone`], the child having namespaces of its own.
///
/// # Errors
///
/// As [`fork_alone`], and [`ForkError::Namespaces`].
pub fn fork_alone_into(namespaces: Namespaces) -> Result<Fork, ForkError> {
    if namespaces.is_empty() {
        return fork_alone();
    }
    wait_until_alone()?;
    let flags = namespaces.flags() | libc::SIGCHLD;
    // The order of what follows the stack differs from machine to machine; all of it is null.
    // SAFETY: as in `fork_alone`; without CLONE_VM and with a null stack the child goes on with a copy of this one, as
    // after fork(2). The C library is not told, which matters to handlers of pthread_atfork: nothing here has any.
    match unsafe { libc::syscall(libc::SYS_clone, flags as libc::c_ulong, 0, 0, 0, 0) } {
        -1 => Err(ForkError::Namespaces(last_errno())),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid as i32)),
    }
}

/// Whether this process is the first of its process namespace, and so the end of it.
#[must_use]
pub fn is_first() -> bool {
    std::process::id() == 1
}

fn wait_until_alone() -> Result<(), ForkError> {
    // A thread that was joined may take a moment to leave the kernel's books.
    let mut threads = thread_count();
    for _ in 0..MOST_LOOKS {
        if threads == 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_micros(200));
        threads = thread_count();
    }
    if threads == 1 { Ok(()) } else { Err(ForkError::OtherThreads(threads)) }
}

/// Gives the calling thread a working directory and a umask that it shares with no other thread.
///
/// # Errors
///
/// That of `unshare(2)`.
pub fn own_directory_and_mask() -> Result<(), Errno> {
    // SAFETY: takes a number only, and CLONE_FS leaves memory and descriptors as they are.
    let done = unsafe { libc::unshare(libc::CLONE_FS) };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Ends this process at once, without running destructors or flushing what its parent will flush too.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) has no precondition.
    unsafe { libc::_exit(status) }
}

/// From here on no core dump is written of this process and those that it makes, neither to a file nor to a program.
///
/// # Errors
///
/// That of `setrlimit(2)`.
pub fn forbid_core_dumps() -> Result<(), Errno> {
    // Not zero, which does not hold for a program that `core_pattern` names. One byte is less than any dump, and the
    // limit by which the kernel keeps such a program from dumping itself (`do_coredump` of fs/coredump.c).
    let one = rustix::process::Rlimit { current: Some(1), maximum: Some(1) };
    rustix::process::setrlimit(rustix::process::Resource::Core, one)
}

/// Marks every descriptor above 2 to be closed by exec, but for `keep`, which is marked to be kept.
///
/// # Errors
///
/// That of `close_range(2)` or `fcntl(2)`.
pub fn close_on_exec_except(keep: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    // SAFETY: takes numbers only; marking a descriptor changes nothing for those who use it here.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done != 0 {
        return Err(last_errno());
    }
    keep.iter().try_for_each(|fd| rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()))
}

/// Closes every descriptor above 2 that is not in `keep`, whoever thinks to own it: for a process that was just
/// forked and starts anew.
///
/// # Errors
///
/// That of `close_range(2)`.
pub fn close_all_except(keep: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut numbers: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    numbers.sort_unstable();
    let mut from = 3u32;
    for number in numbers.into_iter().filter(|&number| number >= 3).chain([u32::MAX]) {
        if number > from {
            // SAFETY: takes numbers only. The caller vouches that nothing in this process uses the others.
            let done = unsafe { libc::syscall(libc::SYS_close_range, from, number - 1, 0) };
            if done != 0 {
                return Err(last_errno());
            }
        }
        from = number.saturating_add(1);
    }
    Ok(())
}

/// The number of threads of this process, by the link count of its task directory.
fn thread_count() -> u64 {
    match rustix::fs::stat("/proc/self/task") {
        // Two links belong to the directory itself.
        Ok(stat) => stat.st_nlink.saturating_sub(2),
        // Without /proc nothing of this works; zero is refused.
        Err(_) => 0,
    }
}

/// Twenty milliseconds in all.
const MOST_LOOKS: usize = 100;

/// Takes ownership of a descriptor that this process inherited.
///
/// # Errors
///
/// EBADF when it is not open; EINVAL for the standard ones, which are inherited anyway.
pub fn take_inherited(number: i32) -> Result<std::os::fd::OwnedFd, Errno> {
    use std::os::fd::FromRawFd;
    if number <= 2 {
        return Err(Errno::INVAL);
    }
    // SAFETY: takes numbers only.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(last_errno());
    }
    // SAFETY: it is open. Descriptors that this program opened itself are marked to be closed by exec and
    // unknown to whoever named this number, so it is one that came from outside and that nothing else owns.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(number) })
}
