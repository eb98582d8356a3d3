//! Where questions go out and answers come in.
//!
//! Two threads listen: the receiving one, for the moment that it waits, and the waiting one while calls are held. Whoever
//! reads an answer that is not its own puts it where the other finds it.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{RecvFlags, sockopt};
use sandlock_policy::{Approval, Denied, Destination, LocalPort, NetworkPolicy, Question, Said, Verdict};
use sandlock_sys::{Errno, Tid};

use super::{About, Asking, Asks, Decisions, GoOn, Hands, Refusals, Reply, caller};
use crate::call::{Done, Failure};
use crate::lock::lock;
use crate::message::Link;
use crate::net::connections::Connections;
use crate::receive::{Events, errno_of};
use crate::waiting::Turn;

/// The supervisor's side of the questions.
pub(crate) struct Desk {
    pub(super) asks: Asks,
    pub(super) patience: Duration,
    pub(super) network: Arc<ArcSwap<NetworkPolicy>>,
    pub(super) events: Events,
    pub(super) connections: Arc<Connections>,
    link: Link,
    /// Readable when an answer was put down for a held call.
    arrived: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u64,
    /// The questions that calls wait for, with what was said about them and not heard yet.
    open: HashMap<u64, VecDeque<Said>>,
    approved: HashMap<About, Approval>,
    /// The sockets that were bound by an approval, by their cookies, and to what.
    bound: HashMap<u64, (LocalPort, Approval)>,
    /// When an answer last did not come at once.
    slow_at: Option<Instant>,
    closed: bool,
}

/// A question that was asked. Dropped without an answer, it is withdrawn.
pub(crate) struct Asked {
    desk: Arc<Desk>,
    id: u64,
    tid: Tid,
    about: Option<About>,
    settled: bool,
}

/// What came, or not.
pub(crate) enum FromDesk {
    Nothing,
    Said(Said),
    /// Nobody is there to say anything.
    Closed,
}

impl Desk {
    /// # Errors
    ///
    /// When no descriptor can be had.
    pub(crate) fn new(
        decisions: Decisions,
        network: Arc<ArcSwap<NetworkPolicy>>,
        events: Events,
        connections: Arc<Connections>,
    ) -> Result<Self, Errno> {
        let Decisions { link, asks, patience } = decisions;
        let arrived = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let state = Mutex::default();
        Ok(Desk { asks, patience, network, events, connections, link, arrived, state })
    }

    /// Puts a question. `None` when nobody can be asked, or too many questions are open.
    pub(super) fn ask(desk: &Arc<Desk>, tid: Tid, question: Question) -> Option<Asked> {
        let about = About::of(&question.matter);
        let id = {
            let mut state = desk.state();
            if state.closed || state.open.len() >= MOST_OPEN {
                return None;
            }
            state.last += 1;
            let id = state.last;
            state.open.insert(id, VecDeque::new());
            id
        };
        let asked = Asked { desk: Arc::clone(desk), id, tid, about, settled: false };
        desk.send(&Asking::Question { id, question }).ok()?;
        Some(asked)
    }

    /// Whoever listens takes questions up at once; a full queue is waited for, for as long as that may take.
    fn send(&self, asking: &Asking) -> Result<(), Errno> {
        match self.link.try_send(asking) {
            Err(Errno::AGAIN) => {
                wait_for(self.link.as_fd(), PollFlags::OUT, A_MOMENT_FOR_ROOM);
                self.link.try_send(asking)
            }
            sent => sent,
        }
    }

    /// Whether it was approved for the whole run.
    pub(super) fn approved(&self, about: About) -> Option<Approval> {
        self.state().approved.get(&about).copied()
    }

    /// Whether traffic there was approved for the whole run.
    pub(crate) fn approves(&self, destination: Destination) -> bool {
        self.approved(About::Destination(destination)).is_some()
    }

    /// That a socket was bound by an approval, so that it may listen there.
    pub(crate) fn was_bound(&self, socket: BorrowedFd<'_>, local: LocalPort, approval: Approval) {
        let Ok(cookie) = sockopt::socket_cookie(socket) else {
            return;
        };
        let mut state = self.state();
        // Which of them are closed nobody tells. One that is forgotten is asked about again when it listens.
        if state.bound.len() >= MOST_APPROVED {
            state.bound.clear();
        }
        state.bound.insert(cookie, (local, approval));
    }

    /// The approval by which the socket was bound, if it was bound to this.
    pub(super) fn approved_of(&self, socket: BorrowedFd<'_>, local: LocalPort) -> Option<Approval> {
        let cookie = sockopt::socket_cookie(socket).ok()?;
        let (bound, approval) = *self.state().bound.get(&cookie)?;
        (bound == local).then_some(approval)
    }

    /// What to poll while calls are held, to [take in](Desk::take_in) what comes.
    pub(crate) fn source(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    /// Whether nobody is there any more: then nothing comes.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    pub(super) fn arrived(&self) -> BorrowedFd<'_> {
        self.arrived.as_fd()
    }

    /// Takes in what came, and tells those who wait for it. For the waiting thread, before it looks at what is held.
    pub(crate) fn take_in(&self) {
        let mut state = self.state();
        let _ = rustix::io::read(&self.arrived, &mut [0u8; 8]);
        self.read_into(&mut state, None);
        // Also what the other thread has put down since the last look at what is held.
        if state.closed || state.open.values().any(|said| !said.is_empty()) {
            self.tell_of_arrival();
        }
    }

    /// Reads all that is there. Says whether something was for others than `own`.
    fn read_into(&self, state: &mut State, own: Option<u64>) -> bool {
        let mut for_others = false;
        let mut bytes = [0; LONGEST_REPLY];
        loop {
            let (read, len) =
                match rustix::net::recv(&self.link, &mut bytes[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                    Ok((_, 0)) => {
                        state.closed = true;
                        return true;
                    }
                    Ok((read, len)) => (read, len),
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => return for_others,
                    Err(_) => {
                        state.closed = true;
                        return true;
                    }
                };
            // What is no reply, or one that nobody waits for, is nobody's.
            if read < len {
                continue;
            }
            let Ok(Reply { id, said }) = serde_json::from_slice(&bytes[..read]) else {
                continue;
            };
            if let Some(heard) = state.open.get_mut(&id)
                && heard.len() < MOST_SAID
            {
                heard.push_back(said);
                for_others |= own != Some(id);
            }
        }
    }

    fn tell_of_arrival(&self) {
        let _ = rustix::io::write(&self.arrived, &1u64.to_ne_bytes());
    }

    /// Reports a refusal, and says how the caller hears of it.
    pub(super) fn refuse(
        &self,
        denied: Denied,
        errno: Option<Errno>,
        tid: Tid,
        turn: Option<&Turn<'_>>,
    ) -> Errno {
        let errno = errno.unwrap_or_else(|| errno_of(&denied));
        self.report(denied, tid, turn);
        errno
    }

    /// Without a turn nobody can say whether the caller still waits, and so who it is.
    pub(super) fn report(&self, denied: Denied, tid: Tid, turn: Option<&Turn<'_>>) {
        self.events.report(denied, tid, || turn.is_some_and(|turn| (turn.caller_waits)()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Asked {
    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Who makes the call.
    pub(super) fn tid(&self) -> Tid {
        self.tid
    }

    /// What was said, if it comes at once. After an answer that did not, nobody is waited for for a while: whoever
    /// thinks slowly must not slow down the calls of others.
    pub(super) fn wait_a_moment(&self, caller_waits: &dyn Fn() -> bool) -> Option<Said> {
        let slow = |state: &State| state.slow_at.is_some_and(|at| at.elapsed() < SLOW_FOR);
        if slow(&self.desk.state()) {
            return None;
        }
        let until = Instant::now() + A_MOMENT;
        loop {
            wait_for(self.desk.link.as_fd(), PollFlags::IN, until.saturating_duration_since(Instant::now()));
            let mut state = self.desk.state();
            if self.desk.read_into(&mut state, Some(self.id)) {
                self.desk.tell_of_arrival();
            }
            match state.open.get_mut(&self.id).and_then(VecDeque::pop_front) {
                Some(Said::Describe) => {
                    drop(state);
                    self.describe(caller_waits);
                    continue;
                }
                Some(said) => return Some(said),
                None => {}
            }
            if state.closed || Instant::now() >= until {
                state.slow_at = Some(Instant::now());
                return None;
            }
        }
    }

    /// Tells who makes the call, if that is still so after the look.
    pub(super) fn describe(&self, caller_waits: &dyn Fn() -> bool) {
        let caller = caller::of(self.tid);
        if caller_waits() {
            // Who does not hear of it goes without.
            let _ = self.desk.send(&Asking::Caller { id: self.id, caller });
        }
    }

    /// What was said by now.
    pub(super) fn heard(&self) -> FromDesk {
        let mut state = self.desk.state();
        match state.open.get_mut(&self.id).and_then(VecDeque::pop_front) {
            Some(said) => FromDesk::Said(said),
            None if state.closed => FromDesk::Closed,
            None => FromDesk::Nothing,
        }
    }

    /// Does what the answer says.
    ///
    /// # Errors
    ///
    /// The refusal, or that of what was done.
    pub(super) fn settle(
        mut self,
        verdict: Verdict,
        refusals: &Refusals,
        go_on: GoOn,
        hands: &Hands<'_>,
    ) -> Result<Done, Failure> {
        self.settled = true;
        let approval = match verdict.approval() {
            Ok(approval) => approval,
            Err(errno) => {
                let errno = errno.and_then(known_errno);
                let denied = match verdict {
                    Verdict::Unanswered => refusals.unanswered(),
                    _ => refusals.declined(),
                };
                return Err(Failure::Declined(denied, errno));
            }
        };
        if let (Verdict::Allow, Some(about)) = (verdict, self.about) {
            let mut state = self.desk.state();
            // Beyond that, each is asked about again.
            if state.approved.len() < MOST_APPROVED {
                state.approved.insert(about, approval);
            }
        }
        go_on(approval, hands)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.desk.state().open.remove(&self.id);
        if !self.settled {
            // Nobody depends on it.
            let _ = self.desk.link.try_send(&Asking::Withdrawn(self.id));
        }
    }
}

/// Only what a program can see of an errno: a number that the kernel keeps for itself restarts calls, or worse.
fn known_errno(number: i32) -> Option<Errno> {
    (1..=LAST_ERRNO).contains(&number).then(|| Errno::from_raw_os_error(number))
}

fn wait_for(fd: BorrowedFd<'_>, what: PollFlags, limit: Duration) {
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
    // Whatever it says, the descriptor is tried next.
    let _ = poll(&mut [PollFd::from_borrowed_fd(fd, what)], Some(&limit));
}

/// How long the receiving thread waits for an answer.
const A_MOMENT: Duration = Duration::from_micros(200);
/// How long it does not, after one that took longer.
const SLOW_FOR: Duration = Duration::from_millis(100);
const A_MOMENT_FOR_ROOM: Duration = Duration::from_millis(2);
/// Calls that are held at once.
const MOST_OPEN: usize = 64;
const MOST_SAID: usize = 4;
const MOST_APPROVED: usize = 4096;
const LONGEST_REPLY: usize = 256;
/// `EHWPOISON`, the last of include/uapi/asm-generic/errno.h.
const LAST_ERRNO: i32 = 133;
