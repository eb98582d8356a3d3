//! The seccomp user notification descriptor: `seccomp_unotify(2)`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::Tid;

/// Where trapped calls arrive and are answered.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// One trapped system call, as the kernel described it. Registers only: what they point to is not read yet.
#[derive(Clone, Copy, Debug)]
pub struct Notification {
    /// Names this call to [`Listener::is_waiting`] and [`Listener::answer`].
    pub id: CallId,
    /// The calling thread.
    pub tid: Tid,
    /// The system call's number.
    pub number: u32,
    /// Its six registers.
    pub args: [u64; 6],
}

/// The kernel's cookie of one trapped call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CallId(u64);

/// Why [`Listener::receive`] returned without a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nothing {
    /// A signal came, or the caller died before the notification was read: ask again.
    Retry,
    /// The last task under the filter is gone (Linux 6.11 and later say so).
    Finished,
    /// The descriptor failed in a way that this program does not know.
    Failed(Errno),
}

impl Listener {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        let listener = Listener(fd);
        // Worth 30 µs a call where there is more than one core. By value: a pointer is EINVAL, and silently
        // slow. Kernels before 6.6 do not know the flag and are served without it.
        // SAFETY: this ioctl takes its argument by value and touches no memory.
        let _ = unsafe {
            libc::ioctl(
                listener.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS as _,
                SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP,
            )
        };
        listener
    }

    /// Waits for the next trapped call.
    ///
    /// # Errors
    ///
    /// [`Nothing`] says why there is none.
    pub fn receive(&self) -> Result<Notification, Nothing> {
        // SAFETY: all zeroes is a valid `seccomp_notif`, which is integers only; the kernel demands zeroes.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes at most `sizeof(struct seccomp_notif)` bytes, the size encoded in the request.
        let done =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut raw) };
        if done == 0 {
            return Ok(Notification {
                id: CallId(raw.id),
                tid: Tid(raw.pid as i32),
                number: raw.data.nr as u32,
                args: raw.data.args,
            });
        }
        Err(match last_errno() {
            Errno::INTR => Nothing::Retry,
            Errno::NOENT if self.is_hung_up() => Nothing::Finished,
            Errno::NOENT => Nothing::Retry,
            other => Nothing::Failed(other),
        })
    }

    /// Whether the call still waits for its answer. Said *after* reading from the caller's memory or descriptors,
    /// it proves that the thread number meant this caller all along.
    pub fn is_waiting(&self, id: CallId) -> bool {
        // SAFETY: the kernel reads eight bytes from the pointer, which is to a live `u64`.
        unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _, &raw const id.0) == 0
        }
    }

    /// Answers a call: its return value, or the error it fails with. A caller that is gone is not an error.
    pub fn answer(&self, id: CallId, result: Result<i64, Errno>) {
        let (val, error) = match result {
            Ok(value) => (value, 0),
            Err(errno) => (0, -errno.raw_os_error()),
        };
        self.send(libc::seccomp_notif_resp { id: id.0, val, error, flags: 0 });
    }

    /// Answers a call that was interrupted while it waited: with a signal pending the caller sees EINTR, or
    /// restarts the call when the handler asks for it, exactly as after a bare blocking call.
    pub fn answer_interrupted(&self, id: CallId) {
        self.send(libc::seccomp_notif_resp { id: id.0, val: 0, error: -ERESTARTSYS, flags: 0 });
    }

    /// Lets the kernel perform the call with its registers as they were. Only for what registers alone decide:
    /// memory and descriptors may have changed since.
    pub fn answer_continue(&self, id: CallId) {
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        self.send(libc::seccomp_notif_resp { id: id.0, val: 0, error: 0, flags });
    }

    /// Answers a call with a descriptor: the caller gets one of its own for the open file behind `fd`, closed by exec
    /// if `close_on_exec`, and its number is what the call returns. Fails as the call would when there is no room.
    pub fn answer_with_descriptor(&self, id: CallId, fd: BorrowedFd<'_>, close_on_exec: bool) {
        let at_once = self.add_descriptor(id, fd, close_on_exec, libc::SECCOMP_ADDFD_FLAG_SEND as u32);
        match at_once {
            // That was the answer.
            Ok(_) => {}
            // Linux before 5.14 does not know the flag. A caller that dies in between leaves nothing behind.
            Err(Errno::INVAL) => {
                self.answer(id, self.add_descriptor(id, fd, close_on_exec, 0).map(i64::from))
            }
            Err(errno) => self.answer(id, Err(errno)),
        }
    }

    /// Makes a descriptor in the table of a caller that waits, and says which.
    fn add_descriptor(
        &self,
        id: CallId,
        fd: BorrowedFd<'_>,
        close_on_exec: bool,
        flags: u32,
    ) -> Result<i32, Errno> {
        let added = libc::seccomp_notif_addfd {
            id: id.0,
            flags,
            srcfd: fd.as_raw_fd() as u32,
            newfd: 0,
            newfd_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        // SAFETY: the kernel reads `sizeof(struct seccomp_notif_addfd)` bytes of a live value.
        let number = unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD as _, &raw const added)
        };
        if number >= 0 { Ok(number) } else { Err(last_errno()) }
    }

    fn send(&self, mut response: libc::seccomp_notif_resp) {
        // ENOENT (the caller died) and EINPROGRESS (answered before) leave nothing to do.
        // SAFETY: the kernel reads `sizeof(struct seccomp_notif_resp)` bytes of a live value.
        let _ = unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw mut response)
        };
    }

    fn is_hung_up(&self) -> bool {
        let mut fds = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).is_ok()
            && fds[0].revents().contains(rustix::event::PollFlags::HUP)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// `include/uapi/linux/seccomp.h`, Linux 6.6.
const SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP: libc::c_ulong = 1;
/// `include/linux/errno.h`: never seen by a program, the kernel turns it into EINTR or a restart.
const ERESTARTSYS: i32 = 512;
