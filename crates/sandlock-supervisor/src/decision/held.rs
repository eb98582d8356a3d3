//! A call that is held until somebody has answered.

use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use sandlock_policy::{Said, Verdict};
use sandlock_sys::Errno;

use super::desk::Asked;
use super::{FromDesk, GoOn, Hands, Refusals};
use crate::call::{Done, Failure};
use crate::waiting::{Turn, Waiting};

/// A call whose question is open; later, what became of it.
pub(crate) struct Held {
    deadline: Option<Instant>,
    refusals: Refusals,
    state: State,
}

enum State {
    Asked {
        asked: Asked,
        go_on: GoOn,
    },
    /// It was approved, and waits as a bare call would.
    Waits(Box<dyn Waiting>),
    /// It was approved, and is the kernel's.
    Continues,
    Over,
}

impl Held {
    pub(super) fn new(asked: Asked, refusals: Refusals, go_on: GoOn, patience: Duration) -> Self {
        let deadline = Some(later(patience.min(asked.desk().patience)));
        Held { deadline, refusals, state: State::Asked { asked, go_on } }
    }

    fn settle(&mut self, verdict: Option<Verdict>, turn: &Turn<'_>) -> Option<Result<i64, Errno>> {
        let State::Asked { asked, go_on } = std::mem::replace(&mut self.state, State::Over) else {
            return Some(Err(Errno::PERM));
        };
        let desk = std::sync::Arc::clone(asked.desk());
        let tid = asked.tid();
        let Some(verdict) = verdict else {
            return Some(Err(desk.refuse(self.refusals.unanswered(), None, tid, Some(turn))));
        };
        // A caller that is gone is told nothing, and nothing is done for it.
        if !(turn.caller_waits)() {
            return Some(Err(Errno::INTR));
        }
        let hands = Hands::of_turn(turn, &desk);
        // A mistake in it is a refusal.
        let settled = catch_unwind(AssertUnwindSafe(|| asked.settle(verdict, &self.refusals, go_on, &hands)));
        match settled.unwrap_or(Err(Failure::Errno(Errno::PERM))) {
            Ok(Done::Value(value)) => Some(Ok(value)),
            Ok(Done::Partly(value, denied)) => {
                desk.report(denied, tid, Some(turn));
                Some(Ok(value))
            }
            Ok(Done::Continue) => {
                self.state = State::Continues;
                Some(Ok(0))
            }
            Ok(Done::Wait(waiting)) => {
                self.state = State::Waits(waiting);
                None
            }
            // No call that is asked about makes a descriptor.
            Ok(Done::Descriptor { .. }) => Some(Err(Errno::PERM)),
            Err(Failure::Errno(errno)) => Some(Err(errno)),
            Err(Failure::Denied(denied)) => Some(Err(desk.refuse(denied, None, tid, Some(turn)))),
            Err(Failure::Declined(denied, errno)) => Some(Err(desk.refuse(denied, errno, tid, Some(turn)))),
            Err(Failure::Gone) => Some(Err(Errno::INTR)),
        }
    }
}

impl Waiting for Held {
    fn attempt(&mut self, turn: &Turn<'_>) -> Option<Result<i64, Errno>> {
        let heard = match &mut self.state {
            State::Waits(waiting) => return waiting.attempt(turn),
            State::Asked { asked, .. } => asked.heard(),
            State::Continues | State::Over => return Some(Err(Errno::PERM)),
        };
        match heard {
            FromDesk::Nothing => None,
            FromDesk::Said(Said::Later(limit)) => {
                self.deadline = Some(later(limit));
                None
            }
            FromDesk::Said(Said::Describe) => {
                if let State::Asked { asked, .. } = &self.state {
                    asked.describe(turn.caller_waits);
                }
                None
            }
            FromDesk::Said(Said::Verdict(verdict)) => self.settle(Some(verdict), turn),
            FromDesk::Closed => self.settle(None, turn),
        }
    }

    fn watch(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.state {
            State::Waits(waiting) => waiting.watch(),
            State::Asked { asked, .. } => Some((asked.desk().arrived(), PollFlags::IN)),
            State::Continues | State::Over => None,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waits(waiting) => waiting.deadline(),
            _ => self.deadline,
        }
    }

    fn expired(&self) -> Result<i64, Errno> {
        match &self.state {
            State::Waits(waiting) => waiting.expired(),
            State::Asked { asked, .. } => {
                Err(asked.desk().refuse(self.refusals.unanswered(), None, asked.tid(), None))
            }
            State::Continues | State::Over => Err(Errno::PERM),
        }
    }

    fn interrupted(&self) -> Option<i64> {
        match &self.state {
            State::Waits(waiting) => waiting.interrupted(),
            _ => None,
        }
    }

    fn continues(&self) -> bool {
        match &self.state {
            State::Waits(waiting) => waiting.continues(),
            State::Continues => true,
            _ => false,
        }
    }
}

fn later(patience: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(patience.min(LONGEST)).unwrap_or(now)
}

/// No answer is worth more than a day of waiting.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
