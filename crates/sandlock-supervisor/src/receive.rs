//! The receiving thread: takes each trapped call, finds its handler, and answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use rustix::fd::AsFd;
use sandlock_filter::Table;
use sandlock_policy::Denied;
use sandlock_sys::listener::{Listener, Nothing};
use sandlock_sys::{Errno, Tid, process};

use crate::call::{Call, Done, Failure, Handler};
use crate::context::Context;
use crate::decision;
use crate::message::{Link, Report};
use crate::task::who;
use crate::waiting::WaitingCall;

/// Where denials go, and how many could not.
#[derive(Clone)]
pub(crate) struct Events {
    pub(crate) link: Arc<Link>,
    pub(crate) unreported: Arc<AtomicU64>,
    /// Whether to say to whom.
    pub(crate) tell_callers: Arc<AtomicBool>,
}

/// Where calls go that must wait: a queue, and the bell that says so.
pub(crate) struct ToWaiting {
    pub(crate) queue: Sender<WaitingCall>,
    pub(crate) bell: std::os::fd::OwnedFd,
}

/// Where calls come from.
pub(crate) enum Source<'a> {
    /// The kernel.
    Listener(&'a Listener),
    /// Threads that do nothing but take them from there: see [`take`].
    Takers(Receiver<Call>),
}

impl Source<'_> {
    /// The next one; `None` when nobody is left to make one.
    fn next(&self) -> Option<Call> {
        match self {
            Source::Listener(listener) => next(listener),
            Source::Takers(calls) => calls.recv().ok(),
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

/// Answers trapped calls until nobody is left to make one.
pub(crate) fn receive(
    cx: &Context<'_>,
    listener: &Listener,
    source: &Source<'_>,
    table: &Table<Handler>,
    events: &Events,
    to_waiting: &ToWaiting,
) {
    loop {
        let Some(call) = source.next() else {
            return;
        };
        cx.connections.iter().for_each(|connections| connections.begin_turn());
        let report = |denied| events.report(denied, call.tid, || listener.is_waiting(call.id));
        // A mistake in a handler is a refusal, and the next call is served.
        let outcome = catch_unwind(AssertUnwindSafe(|| match table.handler(call.number) {
            Some(handler) => handler(cx, &call),
            None => Err(Errno::NOSYS.into()),
        }));
        let outcome = outcome.unwrap_or(Err(Failure::Errno(Errno::PERM)));
        // Whoever is asked about refusals is asked before they are told.
        let outcome = match outcome {
            Err(Failure::Denied(denied)) => decision::denied(cx, &call, denied),
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
                to_waiting.hand_over(WaitingCall { id: call.id, tid: call.tid, waiting })
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
        cx.connections.iter().for_each(|connections| connections.end_turn());
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

impl ToWaiting {
    fn hand_over(&self, call: WaitingCall) {
        // The main thread outlives this one; if it did not, the call would end with the process.
        let _ = self.queue.send(call);
        let _ = rustix::io::write(self.bell.as_fd(), &1u64.to_ne_bytes());
    }
}
