//! Receiving threads, watched: one that hangs in a call is left to hang, and another one goes on.
//!
//! Handlers look at what callers name, such as a path or memory. Where that is on a mount whose server is gone, a look takes
//! for ever, and no signal ends it (`request_wait_answer` of fs/fuse/dev.c). To ask beforehand would cost each call, and tell
//! nothing for certain. So handlers may run side by side, and hold no lock while they look.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// The calls that a thread is about, one after the other.
#[derive(Default)]
pub(crate) struct Turns {
    /// Odd while it is about one.
    count: AtomicU64,
    replaced: AtomicBool,
    /// Nobody looks: the next call is to be told of.
    unwatched: AtomicBool,
}

impl Turns {
    /// A call begins, and goes by the policy of from now on.
    pub(crate) fn begin(&self, bell: &OwnedFd) {
        self.count.store(self.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.unwatched.load(Ordering::Relaxed) {
            self.unwatched.store(false, Ordering::Relaxed);
            let _ = rustix::io::write(bell.as_fd(), &1u64.to_ne_bytes());
        }
    }

    /// It is over.
    pub(crate) fn end(&self) {
        self.count.store(self.count.load(Ordering::Relaxed) + 1, Ordering::SeqCst);
    }

    /// Whether another one receives by now.
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

/// The threads that receive, and those that did and hang. The last one receives.
#[derive(Default)]
pub(crate) struct Threads(Mutex<Vec<Arc<Turns>>>);

impl Threads {
    /// One more, which replaces those before.
    ///
    /// # Errors
    ///
    /// That of `start`, and nobody is replaced.
    pub(crate) fn add<E>(&self, start: impl FnOnce(Arc<Turns>) -> Result<(), E>) -> Result<(), E> {
        let turns = Arc::new(Turns { unwatched: AtomicBool::new(true), ..Turns::default() });
        // Its first call rings for who looks here, and waits until this is done.
        let mut threads = lock(&self.0);
        start(Arc::clone(&turns))?;
        threads.iter().for_each(|other| other.replaced.store(true, Ordering::Relaxed));
        threads.push(turns);
        Ok(())
    }

    pub(crate) fn remove(&self, turns: &Arc<Turns>) {
        lock(&self.0).retain(|one| !Arc::ptr_eq(one, turns));
    }

    /// Waits, for a moment, until no call is under way that began before.
    pub(crate) fn settle(&self) {
        fence(Ordering::SeqCst);
        let begun: Vec<_> = lock(&self.0).iter().map(|turns| (Arc::clone(turns), turns.now())).collect();
        let limit = Instant::now() + LONGEST_TURN;
        for (turns, count) in begun {
            while count % 2 == 1 && turns.now() == count && Instant::now() < limit {
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn last(&self) -> Option<Arc<Turns>> {
        lock(&self.0).last().map(Arc::clone)
    }

    fn are_too_many(&self) -> bool {
        lock(&self.0).len() > MOST_THAT_HANG
    }
}

/// Who looks whether the receiving thread comes back: the main thread, every now and then while calls come.
#[derive(Default)]
pub(crate) struct Watch {
    /// `None` while no calls come.
    next_look: Option<Instant>,
    seen: u64,
    seen_at: Option<Instant>,
}

impl Watch {
    /// When to look.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// A call came, maybe after a while without any.
    pub(crate) fn wake(&mut self) {
        self.next_look.get_or_insert_with(|| Instant::now() + LOOK_EVERY);
    }

    /// Whether the thread that receives has to be replaced: since the last look it has been about the same call.
    pub(crate) fn finds_it_hanging(&mut self, threads: &Threads) -> bool {
        let now = Instant::now();
        if self.next_look.is_none_or(|at| at > now) {
            return false;
        }
        self.next_look = Some(now + LOOK_EVERY);
        let Some(turns) = threads.last() else {
            return false;
        };
        let count = turns.now();
        let same = self.seen_at.is_some() && count == self.seen;
        if same && count % 2 == 1 {
            return !threads.are_too_many();
        }
        if !same {
            (self.seen, self.seen_at) = (count, Some(now));
        } else if self.seen_at.is_some_and(|at| at + QUIET < now) {
            turns.unwatched.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if turns.now() == count {
                self.next_look = None;
            } else {
                turns.unwatched.store(false, Ordering::Relaxed);
            }
        }
        false
    }

    /// It was.
    pub(crate) fn replaced(&mut self) {
        self.seen_at = None;
    }
}

/// Far more than a call takes that does not hang.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// So long after the last call looks end.
const QUIET: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_micros(50);
/// Longer than a call can hold up the receiving thread.
const LONGEST_TURN: Duration = Duration::from_millis(50);
/// A thread each. With more than these the program waits for itself.
const MOST_THAT_HANG: usize = 128;

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    fn watched() -> (Threads, Arc<Turns>, OwnedFd) {
        let (threads, mut turns) = (Threads::default(), None);
        threads
            .add(|added| {
                turns = Some(added);
                Ok::<_, ()>(())
            })
            .unwrap();
        (threads, turns.unwrap(), eventfd(0, EventfdFlags::NONBLOCK).unwrap())
    }

    fn look(watch: &mut Watch, threads: &Threads) -> bool {
        watch.next_look = Some(Instant::now());
        watch.finds_it_hanging(threads)
    }

    #[test]
    fn only_the_same_call_twice_hangs() {
        let (threads, turns, bell) = watched();
        let mut watch = Watch::default();
        turns.begin(&bell);
        assert!(!look(&mut watch, &threads));
        assert!(look(&mut watch, &threads));
        turns.end();
        assert!(!look(&mut watch, &threads));
        assert!(!look(&mut watch, &threads));
        turns.begin(&bell);
        assert!(!look(&mut watch, &threads));
        turns.end();
        turns.begin(&bell);
        assert!(!look(&mut watch, &threads));
        assert!(look(&mut watch, &threads));
        threads.add(|_| Ok::<_, ()>(())).unwrap();
        watch.replaced();
        assert!(turns.is_replaced() && !look(&mut watch, &threads));
    }

    #[test]
    fn a_call_after_a_while_without_any_rings() {
        let (threads, turns, bell) = watched();
        let rang = || rustix::io::read(&bell, &mut [0u8; 8]).is_ok();
        turns.begin(&bell);
        assert!(rang());
        turns.end();
        turns.begin(&bell);
        assert!(!rang());
        turns.end();
        let mut watch = Watch::default();
        assert!(!look(&mut watch, &threads));
        watch.seen_at = Instant::now().checked_sub(2 * QUIET);
        assert!(!look(&mut watch, &threads));
        assert_eq!(watch.next_look(), None);
        turns.begin(&bell);
        assert!(rang());
        watch.wake();
        assert!(watch.next_look().is_some());
    }

    #[test]
    fn a_turn_that_began_before_is_waited_for() {
        let (threads, turns, bell) = watched();
        turns.begin(&bell);
        let (started, other) = (Instant::now(), Arc::clone(&turns));
        let over = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            other.end();
        });
        threads.settle();
        assert!(started.elapsed() >= Duration::from_millis(5));
        over.join().unwrap();
        assert_eq!(turns.now() % 2, 0);
    }

    #[test]
    fn who_cannot_be_started_replaces_nobody() {
        let (threads, turns, _) = watched();
        assert_eq!(threads.add(|_| Err(1)), Err(1));
        assert!(!turns.is_replaced());
    }
}
