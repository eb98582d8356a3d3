//! The receiving thread: takes each trapped call, finds its handler, and answers. [Another one](crate::watch) goes on where it
//! hangs.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};

use rustix::fd::AsFd;
use sandlock_filter::Table;
use sandlock_policy::Denied;
use sandlock_sys::interrupt::Interrupter;
use sandlock_sys::listener::{Listener, Nothing};
use sandlock_sys::{Errno, Tid, process};

use crate::call::{Call, Done, Failure, Handler};
use crate::context::{Context, Run};
use crate::decision;
use crate::lock::lock;
use crate::message::{Link, Report};
use crate::task::who;
use crate::waiting::{ToWaiting, WaitingCall};
use crate::watch::{Threads, Turns};

/// Where denials go, and how many could not.
#[derive(Clone)]
pub(crate) struct Events {
    pub(crate) link: Arc<Link>,
    pub(crate) unreported: Arc<AtomicU64>,
    /// Whether to say to whom.
    pub(crate) tell_callers: Arc<AtomicBool>,
}

/// Where calls come from.
pub(crate) enum Source {
    /// The kernel.
    Listener,
    /// Threads that do nothing but take them from there: see [`take`].
    Takers(Mutex<Receiver<Call>>),
}

/// What receiving threads share.
pub(crate) struct Receiving {
    pub(crate) run: Run,
    pub(crate) table: Table<Handler>,
    pub(crate) source: Source,
    pub(crate) events: Events,
    pub(crate) to_waiting: ToWaiting,
    /// Wakes the main thread, which looks whether the calls come to an end.
    pub(crate) bell: OwnedFd,
    pub(crate) threads: Arc<Threads>,
    /// Whether each can have a working directory and a mask of its own: else there is only one.
    pub(crate) apart: AtomicBool,
}

impl Receiving {
    /// Starts a thread, which receives from now on instead of the one before.
    ///
    /// # Errors
    ///
    /// When there can be no more.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        if !self.apart.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.threads.add(|turns| {
            let receiving = Arc::clone(self);
            let thread = std::thread::Builder::new().stack_size(STACK);
            thread.spawn(move || receiving.receive(&turns)).map(drop)
        })
    }

    fn receive(&self, turns: &Arc<Turns>) {
        let Ok(interrupter) = Interrupter::new() else {
            process::exit_now(1);
        };
        // The directory and the mask that names are made by are the caller's, each time. The default profiles of containers
        // refuse unshare(2): the other threads, which make no names and look up none but from the root, then have these too.
        if process::own_directory_and_mask().is_err() {
            self.apart.store(false, Ordering::Relaxed);
        }
        let cx = Context::new(&self.run, &interrupter);
        while !turns.is_replaced()
            && let Some(call) = self.next()
        {
            turns.begin(&self.bell);
            self.handle(&cx, &call);
            turns.end();
        }
        self.threads.remove(turns);
    }

    /// The next one; `None` when nobody is left to make one.
    fn next(&self) -> Option<Call> {
        match &self.source {
            Source::Listener => next(&self.run.listener),
            Source::Takers(calls) => lock(calls).recv().ok(),
        }
    }

    /// Handles a call, and answers it.
    fn handle(&self, cx: &Context<'_>, call: &Call) {
        let listener = &self.run.listener;
        let report = |denied| self.events.report(denied, call.tid, || listener.is_waiting(call.id));
        // A mistake in a handler is a refusal, and the next call is served.
        let outcome = catch_unwind(AssertUnwindSafe(|| match self.table.handler(call.number) {
            Some(handler) => handler(cx, call),
            None => Err(Errno::NOSYS.into()),
        }));
        let outcome = outcome.unwrap_or(Err(Failure::Errno(Errno::PERM)));
        // Whoever is asked about refusals is asked before they are told.
        let outcome = match outcome {
            Err(Failure::Denied(denied)) => decision::denied(cx, call, denied),
            outcome => outcome,
        };
        match outcome {
            Ok(Done::Value(value)) => listener.answer(call.id, Ok(value)),
            Ok(Done::Partly(value, denied)) => {
                report(denied);
                listener.answer(call.id, Ok(value));
            }
            Ok(Done::Descriptor { file, close_on_exec }) => {
                listener.answer_with_descriptor(call.id, file.as_fd(), close_on_exec)
            }
            Ok(Done::Continue) => listener.answer_continue(call.id),
            Ok(Done::Wait(waiting)) => {
                self.to_waiting.hand_over(WaitingCall { id: call.id, tid: call.tid, waiting })
            }
            Err(Failure::Errno(errno)) => listener.answer(call.id, Err(errno)),
            Err(Failure::Denied(denied)) => {
                // Told first: the answer may be the last thing that the command waits for.
                let errno = errno_of(&denied);
                report(denied);
                listener.answer(call.id, Err(errno));
            }
            Err(Failure::Declined(denied, errno)) => {
                let errno = errno.unwrap_or_else(|| errno_of(&denied));
                report(denied);
                listener.answer(call.id, Err(errno));
            }
            Err(Failure::Gone) => {}
        }
    }
}

fn next(listener: &Listener) -> Option<Call> {
    loop {
        match listener.receive() {
            Ok(notification) => return Some(Call::from(notification)),
            Err(Nothing::Retry) => {}
            Err(Nothing::Finished) => return None,
            // Nobody would answer any more: the run ends with its supervisor.
            Err(Nothing::Failed(_)) => process::exit_now(1),
        }
    }
}

/// Takes calls from the kernel as soon as they come, and hands them over, until nobody is left to make one.
///
/// Until a call is taken a signal interrupts it, and then it fails with EINTR where the handler does not ask for a restart.
/// Programs expect that of most calls that are trapped, and of `fork` never: the wait must be as short as can be.
pub(crate) fn take(listener: &Listener, calls: &Sender<Call>) {
    while let Some(call) = next(listener) {
        if calls.send(call).is_err() {
            return;
        }
    }
}

/// What a program sees of a denial.
pub(crate) fn errno_of(denied: &Denied) -> Errno {
    match denied {
        Denied::Destination(_)
        | Denied::Forbidden(_)
        | Denied::Declined(_)
        | Denied::Unanswered(_)
        | Denied::Quic(_)
        | Denied::UnixPath(_)
        | Denied::UnixAbstract(_) => Errno::CONNREFUSED,
        Denied::Processes { .. } => Errno::AGAIN,
        _ => Errno::ACCESS,
    }
}

impl Events {
    /// Never waits: a launcher that does not keep up gets a count instead.
    /// Who it was is told only of a caller that waits after the look: its number meant it all along.
    pub(crate) fn report(&self, denied: Denied, tid: Tid, waits: impl FnOnce() -> bool) {
        let asks = self.tell_callers.load(Ordering::Relaxed);
        let who = asks.then(|| who::of(tid)).flatten().filter(|_| waits());
        if self.link.try_send(&Report::Denied { denied, who }).is_err() {
            self.unreported.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Of each thread.
pub(crate) const STACK: usize = 256 * 1024;
