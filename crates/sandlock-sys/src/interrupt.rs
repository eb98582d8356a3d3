//! A blocking system call that must not block: it is interrupted by a timer of the calling thread.
//!
//! The socket of a trapped call is shared with its caller, so its O_NONBLOCK must not be touched, and `connect(2)`
//! takes no flags. An interrupted `connect` goes on in the kernel, and calling it again tells how it ended.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;

use crate::listener::last_errno;
use crate::signal;

/// A timer that interrupts system calls of the thread that made it.
#[derive(Debug)]
pub struct Interrupter {
    timer: libc::timer_t,
    /// Made for one thread: it must not move to another.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Interrupter {
    /// Makes a timer for the calling thread.
    ///
    /// # Errors
    ///
    /// That of `sigaction(2)` or `timer_create(2)`.
    pub fn new() -> Result<Self, Errno> {
        install_handler()?;
        // Whoever started this program may have had it blocked.
        signal::unblock(number())?;
        // SAFETY: all zeroes is a valid `sigevent`; the fields that matter are set below.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = number();
        // SAFETY: takes no pointer.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer: libc::timer_t = std::ptr::null_mut();
        // SAFETY: both pointers are to live values of the types that timer_create(2) names.
        let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        if made == 0 {
            Ok(Interrupter { timer, _not_send: std::marker::PhantomData })
        } else {
            Err(last_errno())
        }
    }

    /// Runs `call`; a system call in it that blocks for longer than `patience` fails with EINTR.
    pub fn within<T>(&self, patience: Duration, call: impl FnOnce() -> T) -> T {
        // Repeating, since the first signal is lost if it comes before the system call has begun.
        self.set(patience);
        let result = call();
        self.set(Duration::ZERO);
        result
    }

    fn set(&self, every: Duration) {
        let every = libc::timespec { tv_sec: every.as_secs() as _, tv_nsec: every.subsec_nanos() as _ };
        let setting = libc::itimerspec { it_interval: every, it_value: every };
        // SAFETY: the timer was made by timer_create and lives as long as self; the setting is a live value.
        unsafe { libc::timer_settime(self.timer, 0, &raw const setting, std::ptr::null_mut()) };
    }
}

impl Drop for Interrupter {
    fn drop(&mut self) {
        // SAFETY: the timer was made by timer_create and is deleted only here.
        unsafe { libc::timer_delete(self.timer) };
    }
}

fn number() -> i32 {
    // The last real-time signal: the C library keeps the first ones to itself.
    libc::SIGRTMAX()
}

/// Installs, once a process, a handler that does nothing and does not restart the call.
fn install_handler() -> Result<(), Errno> {
    extern "C" fn nothing(_: libc::c_int) {}
    static INSTALLED: OnceLock<Result<(), Errno>> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        // SAFETY: all zeroes is a valid `sigaction`: no flags (so no SA_RESTART) and an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        // SAFETY: the handler is async-signal-safe, as it does nothing; the old action is not asked for.
        let done = unsafe { libc::sigaction(number(), &raw const action, std::ptr::null_mut()) };
        if done == 0 { Ok(()) } else { Err(last_errno()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_call_that_blocks_is_interrupted() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let timer = Interrupter::new().unwrap();
        let started = Instant::now();
        let read = timer.within(Duration::from_millis(2), || rustix::io::read(&reader, &mut [0u8; 1]));
        assert_eq!(read, Err(Errno::INTR));
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn an_inherited_mask_does_not_silence_the_timer() {
        signal::block(&[number()]).unwrap();
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let timer = Interrupter::new().unwrap();
        let read = timer.within(Duration::from_millis(2), || rustix::io::read(&reader, &mut [0u8; 1]));
        assert_eq!(read, Err(Errno::INTR));
    }

    #[test]
    fn nothing_fires_after_a_call_that_did_not_block() {
        let timer = Interrupter::new().unwrap();
        assert_eq!(timer.within(Duration::from_millis(1), || 5), 5);
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            rustix::io::write(&writer, b"x").unwrap();
        });
        assert_eq!(rustix::io::read(&reader, &mut [0u8; 1]), Ok(1));
    }
}
