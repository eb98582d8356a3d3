//! The network rules of a run that may change while it lasts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use sandlock_policy::{NetRule, NetworkRules};
use sandlock_supervisor::message::Order;

use crate::names::ring;

/// The network rules of a run, as they are now; to be changed from any thread. A copy is the same rules.
///
/// Whoever changes them waits until the supervisor goes by the change, a few hundred microseconds: so they cannot be
/// changed from the function that is given to [`Running::wait`](crate::Running::wait), whose thread tells the
/// supervisor.
#[derive(Clone, Debug)]
pub struct RunRules(Arc<Shared>);

/// The run is over, or its supervisor did not answer in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the run is over, or its rules can no longer be changed")]
pub struct NotChanged;

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    enforced: Condvar,
    bell: OwnedFd,
}

#[derive(Debug)]
struct State {
    rules: NetworkRules,
    passing: Vec<Passing>,
    /// The number of the last change, of the last that was ordered, and of the last that is enforced.
    changed: u64,
    ordered: u64,
    enforced: u64,
    over: bool,
}

/// A rule that holds until a time.
#[derive(Debug)]
struct Passing {
    rule: NetRule,
    denies: bool,
    until: Instant,
}

impl RunRules {
    /// # Errors
    ///
    /// When no descriptor can be had.
    pub(crate) fn new(rules: NetworkRules) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let state = State { rules, passing: Vec::new(), changed: 0, ordered: 0, enforced: 0, over: false };
        Ok(RunRules(Arc::new(Shared { state: Mutex::new(state), enforced: Condvar::new(), bell })))
    }

    /// The rules as they are now.
    #[must_use]
    pub fn current(&self) -> NetworkRules {
        self.state().current()
    }

    /// Grants the traffic of one more rule.
    ///
    /// # Errors
    ///
    /// [`NotChanged`].
    pub fn allow(&self, rule: NetRule) -> Result<(), NotChanged> {
        self.change(|state| state.rules.allow.push(rule))
    }

    /// Refuses the traffic of one more rule, whatever grants it.
    ///
    /// # Errors
    ///
    /// [`NotChanged`].
    pub fn deny(&self, rule: NetRule) -> Result<(), NotChanged> {
        self.change(|state| state.rules.deny.push(rule))
    }

    /// Grants the traffic of one more rule until a time. Connections that stand then go on.
    ///
    /// # Errors
    ///
    /// [`NotChanged`].
    pub fn allow_until(&self, rule: NetRule, until: Instant) -> Result<(), NotChanged> {
        self.change(|state| state.passing.push(Passing { rule, denies: false, until }))
    }

    /// Refuses the traffic of one more rule until a time.
    ///
    /// # Errors
    ///
    /// [`NotChanged`].
    pub fn deny_until(&self, rule: NetRule, until: Instant) -> Result<(), NotChanged> {
        self.change(|state| state.passing.push(Passing { rule, denies: true, until }))
    }

    /// Takes a rule back that was granted, whoever granted it. What was approved by
    /// [`Verdict::Allow`](crate::Verdict::Allow) is no rule: [`RunRules::deny`] takes that back as well. Says whether there was one.
    ///
    /// # Errors
    ///
    /// [`NotChanged`].
    pub fn revoke(&self, rule: &NetRule) -> Result<bool, NotChanged> {
        let mut found = false;
        self.change(|state| {
            let before = state.rules.allow.len() + state.passing.len();
            state.rules.allow.retain(|one| one != rule);
            state.passing.retain(|passing| passing.denies || passing.rule != *rule);
            found = state.rules.allow.len() + state.passing.len() < before;
        })?;
        Ok(found)
    }

    /// Readable when there is something to order.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }

    /// When a rule passes next.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.state().passing.iter().map(|passing| passing.until).min()
    }

    /// What the supervisor is to be told, if something changed, or passed.
    pub(crate) fn order(&self) -> Option<Order> {
        let _ = rustix::io::read(&self.0.bell, &mut [0u8; 8]);
        let mut state = self.state();
        let (now, before) = (Instant::now(), state.passing.len());
        state.passing.retain(|passing| passing.until > now);
        if state.passing.len() < before {
            state.changed += 1;
        }
        (state.changed > state.ordered).then(|| {
            state.ordered = state.changed;
            Order::Rules { serial: state.ordered, rules: state.current() }
        })
    }

    /// The supervisor goes by the order of this number.
    pub(crate) fn enforced(&self, serial: u64) {
        let mut state = self.state();
        state.enforced = state.enforced.max(serial);
        self.0.enforced.notify_all();
    }

    /// Nothing can be changed any more.
    pub(crate) fn end(&self) {
        self.state().over = true;
        self.0.enforced.notify_all();
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), NotChanged> {
        let mut state = self.state();
        if state.over {
            return Err(NotChanged);
        }
        change(&mut state);
        state.changed += 1;
        let serial = state.changed;
        ring(&self.0.bell);
        let waits = |state: &mut State| state.enforced < serial && !state.over;
        let waited = self.0.enforced.wait_timeout_while(state, LONGEST, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.enforced >= serial { Ok(()) } else { Err(NotChanged) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn current(&self) -> NetworkRules {
        let mut rules = self.rules.clone();
        for passing in &self.passing {
            let list = if passing.denies { &mut rules.deny } else { &mut rules.allow };
            list.push(passing.rule.clone());
        }
        rules
    }
}

const LONGEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(order: Option<Order>) -> (u64, usize, usize) {
        match order {
            Some(Order::Rules { serial, rules }) => (serial, rules.allow.len(), rules.deny.len()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_change_returns_when_it_is_enforced() {
        let all = RunRules::new(NetworkRules::default()).unwrap();
        assert_eq!(all.order(), None);
        let changing = all.clone();
        let changed = std::thread::spawn(move || changing.allow("a.test:1".parse().unwrap()));
        let order = std::iter::repeat_with(|| all.order()).find(Option::is_some).unwrap();
        assert!(!changed.is_finished());
        assert_eq!(rules(order), (1, 1, 0));
        all.enforced(1);
        assert_eq!(changed.join().unwrap(), Ok(()));
        all.end();
        assert_eq!(all.deny("a.test:1".parse().unwrap()), Err(NotChanged));
    }

    #[test]
    fn what_holds_until_a_time_is_ordered_away_then() {
        let all = RunRules::new(NetworkRules::default()).unwrap();
        let changing = all.clone();
        let until = Instant::now() + Duration::from_millis(50);
        let changed = std::thread::spawn(move || changing.allow_until("10.0.0.1:1".parse().unwrap(), until));
        let order = std::iter::repeat_with(|| all.order()).find(Option::is_some).unwrap();
        assert_eq!(rules(order), (1, 1, 0));
        all.enforced(1);
        changed.join().unwrap().unwrap();
        assert_eq!(all.next_end(), Some(until));
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        assert_eq!(rules(all.order()), (2, 0, 0));
        assert_eq!(all.next_end(), None);
    }
}
