//! The answer to one question, to be given once.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use sandlock_policy::{Caller, Said, Verdict};
use sandlock_supervisor::decision::Reply;
use sandlock_supervisor::message::Link;

/// The answer to one question. The first that is given counts; when all its copies are dropped without one, that is a
/// refusal.
#[derive(Clone)]
pub struct Answer(Arc<Inner>);

struct Inner {
    given: AtomicBool,
    withdrawn: AtomicBool,
    caller: Mutex<Option<Caller>>,
    described: Condvar,
    to: To,
}

enum To {
    Supervisor { link: Arc<Link>, id: u64 },
    Function(Mutex<Option<Tell>>),
}

type Tell = Box<dyn FnOnce(Verdict) + Send>;

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("is_wanted", &self.is_wanted()).finish_non_exhaustive()
    }
}

impl Answer {
    pub(super) fn to_supervisor(link: Arc<Link>, id: u64) -> Self {
        Self::to(To::Supervisor { link, id })
    }

    pub(super) fn to_function(tell: impl FnOnce(Verdict) + Send + 'static) -> Self {
        Self::to(To::Function(Mutex::new(Some(Box::new(tell)))))
    }

    fn to(to: To) -> Self {
        Answer(Arc::new(Inner {
            given: AtomicBool::new(false),
            withdrawn: AtomicBool::new(false),
            caller: Mutex::new(None),
            described: Condvar::new(),
            to,
        }))
    }

    /// What the process that makes the call executes, and its command line, in which a program can write what it likes.
    /// `None` when it is gone, or somebody has answered, or for a name, which is asked for in connections of their own.
    #[must_use]
    pub fn caller(&self) -> Option<Caller> {
        let To::Supervisor { link, id } = &self.0.to else {
            return None;
        };
        let caller = self.0.caller.lock().unwrap_or_else(PoisonError::into_inner);
        if caller.is_none() {
            link.send(&Reply { id: *id, said: Said::Describe }).ok()?;
        }
        let unknown = |caller: &mut Option<Caller>| caller.is_none() && self.is_wanted();
        let waited = self.0.described.wait_timeout_while(caller, DESCRIBED_WITHIN, unknown);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// It may go on, and is not asked about again in this run.
    pub fn allow(self) {
        self.0.give(Verdict::Allow);
    }

    /// It may go on, this time.
    pub fn allow_once(self) {
        self.0.give(Verdict::AllowOnce);
    }

    /// It fails with the errno that refusals have.
    pub fn deny(self) {
        self.0.give(Verdict::Deny(None));
    }

    /// It fails with this errno (1 to 133).
    pub fn deny_with(self, errno: i32) {
        self.0.give(Verdict::Deny(Some(errno)));
    }

    /// Whether somebody still waits for it: the caller may have died, or its time may be up.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.0.given.load(Ordering::Relaxed) && !self.0.withdrawn.load(Ordering::Relaxed)
    }

    /// This copy is done with; others answer within `limit`.
    pub(super) fn later(self, limit: Duration) {
        if !self.0.given.load(Ordering::Relaxed)
            && let To::Supervisor { link, id } = &self.0.to
        {
            let _ = link.send(&Reply { id: *id, said: Said::Later(limit) });
        }
    }

    pub(super) fn unanswered(&self) -> Unanswered {
        Unanswered(Arc::downgrade(&self.0))
    }
}

/// An answer that others may give.
pub(super) struct Unanswered(Weak<Inner>);

impl Unanswered {
    /// Whether anybody may.
    pub(super) fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Nobody waits for it any more.
    pub(super) fn withdraw(&self) {
        if let Some(inner) = self.0.upgrade() {
            inner.withdrawn.store(true, Ordering::Relaxed);
            inner.described.notify_all();
        }
    }

    /// This is who asks.
    pub(super) fn describe(&self, caller: Caller) {
        if let Some(inner) = self.0.upgrade() {
            *inner.caller.lock().unwrap_or_else(PoisonError::into_inner) = Some(caller);
            inner.described.notify_all();
        }
    }
}

impl Inner {
    fn give(&self, verdict: Verdict) {
        if self.given.swap(true, Ordering::Relaxed) {
            return;
        }
        match &self.to {
            // A supervisor that is gone waits for nothing.
            To::Supervisor { link, id } => {
                let _ = link.send(&Reply { id: *id, said: Said::Verdict(verdict) });
            }
            To::Function(tell) => {
                let tell = tell.lock().unwrap_or_else(PoisonError::into_inner).take();
                tell.into_iter().for_each(|tell| tell(verdict));
            }
        }
    }
}

/// The supervisor is never busy for so long.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(1);

impl Drop for Inner {
    fn drop(&mut self) {
        self.give(Verdict::Unanswered);
    }
}
