//! Signals: masks, the descriptor that reads them, and ending everything in a Landlock domain at once.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::landlock::SignalScope;
use crate::listener::last_errno;

/// The signal mask that a thread had.
#[derive(Clone, Copy)]
pub struct Mask(pub(crate) libc::sigset_t);

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask")
    }
}

/// Blocks `signals` in the calling thread (and those it makes later) and returns the mask from before.
///
/// # Errors
///
/// That of `sigprocmask(2)`.
pub fn block(signals: &[i32]) -> Result<Mask, Errno> {
    let set = set_of(signals);
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `set` is initialised; the kernel fills `before`.
    let done = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, before.as_mut_ptr()) };
    if done != 0 {
        return Err(Errno::from_raw_os_error(done));
    }
    // SAFETY: pthread_sigmask succeeded, so it has filled `before`.
    Ok(Mask(unsafe { before.assume_init() }))
}

/// Unblocks a signal in the calling thread.
///
/// # Errors
///
/// That of `sigprocmask(2)`.
pub(crate) fn unblock(signal: i32) -> Result<(), Errno> {
    let set = set_of(&[signal]);
    // SAFETY: `set` is initialised; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno)),
    }
}

/// A descriptor from which blocked signals are read: `signalfd(2)`.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

/// A signal that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Its number.
    pub number: i32,
    /// Whether a process sent it with `kill(2)` or the like; otherwise the kernel did, such as a terminal's
    /// Ctrl-C, which every process of the foreground group has received for itself.
    pub from_a_process: bool,
}

impl SignalFd {
    /// Opens a descriptor for `signals`, which must be blocked.
    ///
    /// # Errors
    ///
    /// That of `signalfd(2)`.
    pub fn new(signals: &[i32]) -> Result<Self, Errno> {
        let set = set_of(signals);
        // SAFETY: `set` is an initialised signal set; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(last_errno());
        }
        // SAFETY: the kernel just made this descriptor for us; nothing else owns it.
        Ok(SignalFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next pending signal, if any.
    pub fn next(&self) -> Option<Received> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the kernel writes at most `size` bytes, which `info` has.
        let read = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if read != size as isize {
            return None;
        }
        // SAFETY: integers only, zeroed at first and filled by the kernel.
        let info = unsafe { info.assume_init() };
        Some(Received { number: info.ssi_signo as i32, from_a_process: info.ssi_code <= 0 })
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Kills every process in the caller's Landlock domain but the caller, at one stroke: a process that forks
/// cannot get ahead of it, since the kernel holds the lock that fork needs.
///
/// `kill(-1)` reaches all that the caller may signal; the scope, whose proof is asked for, is what keeps it inside.
pub fn kill_all_in_scope(_proof: &SignalScope) {
    // SAFETY: takes numbers only. That it ends nothing outside is what the proof stands for.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Stops every process in the caller's Landlock domain but the caller, at one stroke as well.
pub fn stop_all_in_scope(_proof: &SignalScope) {
    // SAFETY: takes numbers only. That it stops nothing outside is what the proof stands for.
    unsafe { libc::kill(-1, libc::SIGSTOP) };
}

/// Sends a signal to a process. One that is gone is not an error.
pub fn send(pid: i32, signal: i32) {
    if pid > 0 {
        // SAFETY: takes numbers only; a positive pid names one process.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Whether the caller may signal the process.
///
/// # Errors
///
/// EPERM when it may not, ESRCH when there is none.
pub(crate) fn may_signal(pid: i32) -> Result<(), Errno> {
    // SAFETY: signal 0 only asks.
    if unsafe { libc::kill(pid, 0) } == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Raises SIGPIPE in a process, as a bare send on a closed stream does: to the *thread* that sent.
pub fn raise_sigpipe(tid: crate::Tid) {
    // A thread is found by its number alone: tgkill would need the group's.
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_tkill, tid.get(), libc::SIGPIPE) };
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset fills the set it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: filled by sigemptyset just now.
    let mut set = unsafe { set.assume_init() };
    for &signal in signals {
        // SAFETY: the set is initialised; a wrong number is refused with EINVAL.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// `SIGSTOP`.
pub const STOP: i32 = libc::SIGSTOP;

/// `SIGCONT`.
pub const CONTINUE: i32 = libc::SIGCONT;

/// `SIGCHLD`.
pub const CHILD: i32 = libc::SIGCHLD;

/// The signals that would end or stop a process which does not expect them, and that can be blocked. Not those
/// of mistakes in the program itself.
pub const ALL_THAT_END_OR_STOP: [i32; 17] = [
    libc::SIGCHLD,
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGCONT,
];

/// Gives the calling thread back the mask that it had.
pub fn restore(mask: &Mask) {
    // SAFETY: the mask was filled by the kernel; the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask.0, std::ptr::null_mut()) };
}

/// Stops the calling process, as a terminal's Ctrl-Z would: returns when it is continued.
pub fn stop_this_process() {
    // SAFETY: takes a number only.
    unsafe { libc::raise(libc::SIGSTOP) };
}
