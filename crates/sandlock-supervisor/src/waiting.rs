//! Calls that must wait, away from the thread that receives.
//!
//! A bare blocking call waits until it can go on, its time-out passes, a signal comes or its thread is killed.
//! So does this: the descriptors are polled, and callers are looked at every few milliseconds.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sandlock_sys::interrupt::Interrupter;
use sandlock_sys::listener::{CallId, Listener};
use sandlock_sys::{Errno, Tid, process};

use crate::decision::Desk;
use crate::lock::lock;
use crate::receive::STACK;

/// A call that can be tried again.
pub trait Waiting: Send {
    /// Tries once more, without blocking. `None` when it must wait on.
    fn attempt(&mut self, turn: &Turn<'_>) -> Option<Result<i64, Errno>>;

    /// What to poll for; `None` when nothing tells, so that only trying does.
    fn watch(&self) -> Option<(BorrowedFd<'_>, PollFlags)>;

    /// When the call gives up.
    fn deadline(&self) -> Option<Instant>;

    /// What giving up makes of it. Asked once, at the end.
    fn expired(&self) -> Result<i64, Errno>;

    /// What an interruption by a signal makes of it: `None` is the kernel's choice between EINTR and a restart,
    /// a value is what was done so far. Asked once, at the end.
    fn interrupted(&self) -> Option<i64>;

    /// Whether an attempt that is done leaves the call to the kernel.
    fn continues(&self) -> bool {
        false
    }
}

/// What an attempt works with.
pub struct Turn<'a> {
    /// Keeps a blocking call from blocking this thread.
    pub interrupter: &'a Interrupter,
    /// Whether the caller still waits: to be asked between reading its memory and acting on it.
    pub caller_waits: &'a dyn Fn() -> bool,
}

/// The way to the thread that looks after calls that wait. It is started with the first of them.
pub(crate) struct ToWaiting {
    queue: Sender<WaitingCall>,
    keeper: Arc<Keeper>,
    started: Mutex<bool>,
}

/// What that thread has.
struct Keeper {
    listener: Arc<Listener>,
    /// Where answers come in for calls that are held.
    desk: Option<Arc<Desk>>,
    queue: Mutex<Receiver<WaitingCall>>,
    bell: OwnedFd,
}

impl ToWaiting {
    /// `bell`, an eventfd, wakes the thread.
    pub(crate) fn new(bell: OwnedFd, listener: Arc<Listener>, desk: Option<Arc<Desk>>) -> Self {
        let (queue, calls) = channel();
        let keeper = Keeper { listener, desk, queue: Mutex::new(calls), bell };
        ToWaiting { queue, keeper: Arc::new(keeper), started: Mutex::new(false) }
    }

    pub(crate) fn hand_over(&self, call: WaitingCall) {
        if !self.is_started() {
            return self.keeper.listener.answer(call.id, Err(Errno::AGAIN));
        }
        let _ = self.queue.send(call);
        let _ = rustix::io::write(&self.keeper.bell, &1u64.to_ne_bytes());
    }

    fn is_started(&self) -> bool {
        let mut started = lock(&self.started);
        if !*started {
            let keeper = Arc::clone(&self.keeper);
            *started = std::thread::Builder::new().stack_size(STACK).spawn(move || keeper.keep()).is_ok();
        }
        *started
    }
}

impl Keeper {
    /// Looks after calls that wait, until the process ends.
    fn keep(&self) {
        let Ok(interrupter) = Interrupter::new() else {
            process::exit_now(1);
        };
        let mut calls = WaitingCalls::default();
        loop {
            self.sleep(&mut calls, &interrupter);
            lock(&self.queue).try_iter().for_each(|call| calls.add(call));
        }
    }

    /// Sleeps until there is something to do for calls that wait, or another one comes.
    fn sleep(&self, calls: &mut WaitingCalls, interrupter: &Interrupter) {
        let patience = calls.patience().map(timespec);
        // Only while a call may be held: else an answer would wake this thread as well as the one that waits for it.
        let desk = self.desk.as_ref().filter(|desk| calls.any() && !desk.is_closed());
        let mut fds = vec![PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN)];
        fds.extend(desk.map(|desk| PollFd::from_borrowed_fd(desk.source(), PollFlags::IN)));
        let watched = fds.len();
        fds.extend(calls.watches().map(|(fd, events)| PollFd::from_borrowed_fd(fd, events)));
        if poll(&mut fds, patience.as_ref()).is_err() {
            // EINTR. Nothing can be said of the descriptors.
            return;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
        }
        if let Some(desk) = desk {
            desk.take_in();
        }
        let mut watched = ready[watched..].iter();
        calls.proceed(&self.listener, interrupter, || watched.next() == Some(&true));
    }
}

/// What `poll` takes.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

/// The calls that wait now.
#[derive(Default)]
struct WaitingCalls {
    calls: Vec<WaitingCall>,
    next_look: Option<Instant>,
}

/// A waiting call and whom to answer.
pub(crate) struct WaitingCall {
    pub(crate) id: CallId,
    pub(crate) tid: Tid,
    pub(crate) waiting: Box<dyn Waiting>,
}

impl WaitingCalls {
    fn add(&mut self, call: WaitingCall) {
        self.calls.push(call);
        self.next_look.get_or_insert_with(|| Instant::now() + LOOK_EVERY);
    }

    /// Whether there are any.
    fn any(&self) -> bool {
        !self.calls.is_empty()
    }

    /// What to poll for, one entry for each call that can be polled.
    fn watches(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.calls.iter().filter_map(|call| call.waiting.watch())
    }

    /// How long a poll may sleep.
    fn patience(&self) -> Option<Duration> {
        let look = self.next_look?;
        let deadline = self.calls.iter().filter_map(|call| call.waiting.deadline()).min();
        Some(deadline.map_or(look, |at| at.min(look)).saturating_duration_since(Instant::now()))
    }

    /// Tries the calls for which `ready` says so (asked in the order of [`WaitingCalls::watches`]), answers those
    /// that are done, too late, interrupted, and forgets those whose caller is gone.
    fn proceed(&mut self, listener: &Listener, interrupter: &Interrupter, mut ready: impl FnMut() -> bool) {
        let now = Instant::now();
        let look = self.next_look.is_some_and(|at| at <= now);
        self.calls.retain_mut(|call| {
            let try_it = match call.waiting.watch() {
                Some(_) => ready(),
                None => look,
            };
            let turn = Turn { interrupter, caller_waits: &|| listener.is_waiting(call.id) };
            if try_it && let Some(result) = call.waiting.attempt(&turn) {
                match call.waiting.continues() {
                    true => listener.answer_continue(call.id),
                    false => listener.answer(call.id, result),
                }
                return false;
            }
            if call.waiting.deadline().is_some_and(|at| at <= now) {
                listener.answer(call.id, call.waiting.expired());
                return false;
            }
            if look {
                if !listener.is_waiting(call.id) {
                    return false;
                }
                if has_pending_signal(call.tid) {
                    match call.waiting.interrupted() {
                        Some(value) => listener.answer(call.id, Ok(value)),
                        None => listener.answer_interrupted(call.id),
                    }
                    return false;
                }
            }
            true
        });
        if self.calls.is_empty() {
            self.next_look = None;
        } else if look {
            // Many waiting calls are looked at less often, so that looking stays a small part of the time.
            self.next_look = Some(now + LOOK_EVERY + LOOK_COST * self.calls.len() as u32);
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(8);
const LOOK_COST: Duration = Duration::from_micros(200);

/// Whether a signal waits that would have interrupted the thread.
///
/// A signal sent to the process is somebody's only if its main thread may take it: the kernel prefers that one
/// (`complete_signal` in kernel/signal.c). Telling another thread to restart without a signal of its own would
/// show it an errno that programs never see.
fn has_pending_signal(tid: Tid) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{tid}/status")) else {
        return false;
    };
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mask = |name| field(name).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let blocked = mask("SigBlk:");
    let is_main = field("Tgid:").and_then(|group| group.parse().ok()) == Some(tid.get());
    mask("SigPnd:") & !blocked != 0 || (is_main && mask("ShdPnd:") & !blocked != 0)
}
