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

/// How rules were changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) allowed: Vec<NetRule>,
    pub(crate) denied: Vec<NetRule>,
    /// Rules of either kind that are gone.
    pub(crate) revoked: Vec<NetRule>,
    pub(crate) lifted: Vec<NetRule>,
}

impl Changes {
    pub(crate) fn between(before: &NetworkRules, after: &NetworkRules) -> Changes {
        let missing = |one: &[NetRule], other: &[NetRule]| {
            one.iter().filter(|rule| !other.contains(rule)).cloned().collect::<Vec<_>>()
        };
        Changes {
            allowed: missing(&after.allow, &before.allow),
            denied: missing(&after.deny, &before.deny),
            revoked: missing(&before.allow, &after.allow),
            lifted: missing(&before.deny, &after.deny),
        }
    }

    pub(crate) fn apply(&self, rules: &mut NetworkRules) {
        rules.allow.retain(|rule| !self.revoked.contains(rule));
        rules.deny.retain(|rule| !self.lifted.contains(rule));
        rules.allow.extend(self.allowed.iter().cloned());
        rules.deny.extend(self.denied.iter().cloned());
    }

    /// What became of each rule, in the words of an entry.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &NetRule)> {
        let with = |verdict: &'static str| move |rule| (verdict, rule);
        let granted = self.allowed.iter().map(with("allow"));
        let refused = self.denied.iter().map(with("deny"));
        granted.chain(refused).chain(self.revoked.iter().chain(&self.lifted).map(with("revoke")))
    }
}

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
    /// Whether connections are to end that the rules do not grant.
    cut: bool,
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
        let state = State {
            rules,
            passing: Vec::new(),
            changed: 0,
            ordered: 0,
            enforced: 0,
            cut: false,
            over: false,
        };
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
        self.change(|state| state.allow(rule))
    }

    /// Refuses the traffic of one more rule, whatever grants it.
    ///
    /// # Errors
    ///
    /// [`NotChanged`].
    pub fn deny(&self, rule: NetRule) -> Result<(), NotChanged> {
        self.change(|state| state.deny(rule))
    }

    /// Ends the connections of the sandbox to destinations that the rules do not grant any more, whoever took that back and
    /// when; also those that were [approved once](crate::Verdict::AllowOnce). What was written and not sent yet is not sent.
    /// Connections that it accepted or inherited go on.
    ///
    /// # Errors
    ///
    /// [`NotChanged`].
    pub fn cut(&self) -> Result<(), NotChanged> {
        self.change(|state| state.cut = true)
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

    /// As [`RunRules::allow`], for who looks later whether the supervisor [goes by it](RunRules::is_enforced).
    pub(crate) fn allow_soon(&self, rule: NetRule) -> u64 {
        self.begin(&mut self.state(), |state| state.allow(rule))
    }

    /// As [`RunRules::deny`], likewise.
    pub(crate) fn deny_soon(&self, rule: NetRule, cut: bool) -> u64 {
        self.begin(&mut self.state(), |state| {
            state.deny(rule);
            state.cut |= cut;
        })
    }

    /// Whether the supervisor goes by the change of this number.
    pub(crate) fn is_enforced(&self, serial: u64) -> bool {
        self.state().enforced >= serial
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
            let cut = std::mem::take(&mut state.cut);
            Order::Rules { serial: state.ordered, rules: state.current(), cut }
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
        let serial = self.begin(&mut state, change);
        let waits = |state: &mut State| state.enforced < serial && !state.over;
        let waited = self.0.enforced.wait_timeout_while(state, LONGEST, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.enforced >= serial { Ok(()) } else { Err(NotChanged) }
    }

    fn begin(&self, state: &mut State, change: impl FnOnce(&mut State)) -> u64 {
        change(state);
        state.changed += 1;
        ring(&self.0.bell);
        state.changed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whoever says the same again and again has said it once.
    fn allow(&mut self, rule: NetRule) {
        if !self.rules.allow.contains(&rule) {
            self.rules.allow.push(rule);
        }
    }

    fn deny(&mut self, rule: NetRule) {
        if !self.rules.deny.contains(&rule) {
            self.rules.deny.push(rule);
        }
    }

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
            Some(Order::Rules { serial, rules, .. }) => (serial, rules.allow.len(), rules.deny.len()),
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
