//! The names of one run while it runs: what is known, what is being asked, and whom to tell. Of one thread.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandlock_policy::{Denied, NameRules, NetworkRules, names_to_resolve};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;

use crate::book::{Book, Found, MOST_LEARNED};
use crate::entry::Change;
use crate::route::has_route;
use crate::take::{Taken, is_denied};
use crate::{Answer, Consult, Failure, Happening, NameAnswer, Outbox, Upstream};

/// Lookups at once. Each is two queries: of 64 in all, programs have three quarters, so that what they ask for cannot keep
/// the names of the rules from being refreshed.
const FOR_PROGRAMS: usize = 24;
const FOR_REFRESHING: usize = 8;
/// How long a lookup waits for its turn, so that those whose programs went on to other names do not pile up.
const TURN_LIMIT: Duration = Duration::from_secs(5);
/// How long a program waits for a lookup, and for what it found to have effect.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
const ENFORCED_LIMIT: Duration = Duration::from_secs(2);
/// How long nothing is asked again: a program asks for both families, one after the other.
const NOTHING_FOUND: Duration = Duration::from_secs(1);
const MOST_NOTHING_FOUND: usize = 1024;

/// How long a program waits for somebody to allow a name. What is said later counts when it asks again.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// How often programs can make something be told in the long run, and how many at once. Nobody reads faster than a
/// program can ask for what it is refused, and nothing that is told is dropped.
const TOLD_EVERY: Duration = Duration::from_millis(1);
const TOLD_AT_ONCE: u32 = 200;

type Looked = Result<(), Failure>;

/// The names of one run.
pub(crate) struct Run {
    rules: RefCell<Arc<NetworkRules>>,
    consult: Option<Box<dyn Consult>>,
    pub(crate) how: NameRules,
    pub(crate) book: RefCell<Book>,
    /// Something may be over earlier than it was.
    pub(crate) changed: Notify,
    pub(crate) refreshing: Semaphore,
    upstream: Upstream,
    outbox: RefCell<Box<dyn Outbox>>,
    serial: Cell<u64>,
    enforced: watch::Receiver<u64>,
    asking: Semaphore,
    under_way: RefCell<HashMap<String, watch::Receiver<Option<Looked>>>>,
    nothing_found: RefCell<HashMap<String, (Failure, Instant)>>,
    failing: RefCell<HashSet<String>>,
    next_told: Cell<Instant>,
}

/// What a program's question came to.
pub(crate) enum Outcome {
    Found(Found),
    NoSuchName,
    NoAddress,
    Failed,
}

impl Run {
    pub(crate) fn new(
        rules: Arc<NetworkRules>,
        how: NameRules,
        upstream: Upstream,
        outbox: Box<dyn Outbox>,
        enforced: watch::Receiver<u64>,
        consult: Option<Box<dyn Consult>>,
    ) -> Run {
        Run {
            book: RefCell::new(Book::new(Arc::clone(&rules), how)),
            rules: RefCell::new(rules),
            consult,
            how,
            changed: Notify::new(),
            refreshing: Semaphore::new(FOR_REFRESHING),
            upstream,
            outbox: RefCell::new(outbox),
            serial: Cell::new(0),
            enforced,
            asking: Semaphore::new(FOR_PROGRAMS),
            under_way: RefCell::default(),
            nothing_found: RefCell::default(),
            failing: RefCell::default(),
            next_told: Cell::new(Instant::now()),
        }
    }

    /// The rules of the moment.
    pub(crate) fn rules(&self) -> Arc<NetworkRules> {
        Arc::clone(&self.rules.borrow())
    }

    /// Goes by other rules from now on. Names that are new in them are asked for at once: a program may know an address
    /// already.
    pub(crate) fn set_rules(self: &Rc<Self>, rules: Arc<NetworkRules>) {
        let before = self.rules.replace(Arc::clone(&rules));
        self.book.borrow_mut().set_rules(Arc::clone(&rules));
        let known: HashSet<_> = names_to_resolve(before.iter()).into_iter().map(|(name, _)| name).collect();
        for (name, _) in names_to_resolve(rules.iter()).into_iter().filter(|(name, _)| !known.contains(name))
        {
            let run = Rc::clone(self);
            tokio::task::spawn_local(async move { drop(run.look_up_once(&name).await) });
        }
    }

    /// Whether a program may ask for this name: a rule grants it, or somebody who is asked allows it.
    pub(crate) async fn check_name(&self, name: &str) -> Result<(), Denied> {
        let denied = match self.rules().check_name(name) {
            Err(denied @ Denied::Name { forbidden: false, .. }) if is_askable(name) => denied,
            checked => return checked,
        };
        let Some(consult) = &self.consult else {
            return Err(denied);
        };
        let (answer, said) = NameAnswer::pair();
        consult.ask(name, answer);
        match timeout(ANSWER_LIMIT, said).await {
            // A rule may deny it by now.
            Ok(Ok(true)) if !is_denied(name, &self.rules()) => Ok(()),
            _ => Err(denied),
        }
    }

    pub(crate) fn tell(&self, happening: Happening) {
        self.outbox.borrow_mut().happened(happening);
    }

    /// Tells what a program was refused, when it is its turn.
    pub(crate) async fn tell_refused(&self, denied: Denied) {
        let now = Instant::now();
        let earliest = now.checked_sub(TOLD_EVERY * TOLD_AT_ONCE).unwrap_or(now);
        let turn = self.next_told.get().max(earliest);
        self.next_told.set(turn + TOLD_EVERY);
        if turn > now {
            tokio::time::sleep_until(turn.into()).await;
        }
        self.tell(Happening::Refused(denied));
    }

    /// Tells what is known of a name now.
    pub(crate) fn push(&self, name: &str) {
        let serial = self.serial.get() + 1;
        self.serial.set(serial);
        let mut book = self.book.borrow_mut();
        self.outbox.borrow_mut().name(serial, &book.state(name));
        book.ordered(name, serial);
    }

    /// Asks for a name, and takes what may be taken. With what may not.
    pub(crate) async fn look_up(&self, name: &str) -> (Looked, Vec<Denied>) {
        match self.upstream.ask(name).await {
            Ok(answer) => {
                let taken = Taken::of(name, &answer, &self.rules(), &self.how, has_route);
                let looked = taken.failure().map_or(Ok(()), Err);
                if looked.is_ok() {
                    self.learn(name, &answer, taken.addresses);
                }
                (looked, taken.refused)
            }
            Err(failure) => (Err(failure), Vec::new()),
        }
    }

    fn learn(&self, name: &str, answer: &Answer, addresses: Vec<std::net::IpAddr>) {
        let (links, life) = (answer.links.clone(), answer.life());
        let (change, pushed_out) = self.book.borrow_mut().learn(name, addresses, links, life, Instant::now());
        if let Some(old) = pushed_out {
            self.push(&old);
        }
        if change != Change::Nothing {
            self.push(name);
        }
        self.changed.notify_one();
    }

    /// Drops what is over, as long as it is polled.
    pub(crate) async fn expire(&self) {
        loop {
            let next = self.book.borrow().next_expiry();
            match next {
                Some(at) => drop(tokio::time::timeout_at(at.into(), self.changed.notified()).await),
                None => self.changed.notified().await,
            }
            let over = self.book.borrow_mut().expire(Instant::now());
            over.iter().for_each(|name| self.push(name));
        }
    }

    /// What a program that asks for an allowed name is to be told, once it has effect.
    pub(crate) async fn find(self: &Rc<Self>, name: &str) -> Outcome {
        let known = self.ask_book(name);
        let literal = self.book.borrow().is_literal(name);
        match known {
            Some(found) if literal || !found.left.is_zero() => return self.when_enforced(found).await,
            // Refreshing goes on trying.
            None if literal => return Outcome::Failed,
            _ => {}
        }
        match timeout(LOOKUP_LIMIT, self.look_up_once(name)).await.unwrap_or(Err(Failure::Silent)) {
            Err(Failure::NoSuchName) => Outcome::NoSuchName,
            Err(Failure::NoAddress | Failure::NoRoute | Failure::Refused) => Outcome::NoAddress,
            // The last good answer is better than none.
            Ok(()) | Err(_) => match self.ask_book(name) {
                Some(found) => self.when_enforced(found).await,
                None => Outcome::Failed,
            },
        }
    }

    fn ask_book(&self, name: &str) -> Option<Found> {
        self.book.borrow_mut().ask(name, Instant::now())
    }

    /// A program must not be told of an address before it can reach it.
    async fn when_enforced(&self, found: Found) -> Outcome {
        let mut enforced = self.enforced.clone();
        let enforced = enforced.wait_for(|serial| *serial >= found.serial);
        match timeout(ENFORCED_LIMIT, enforced).await {
            Ok(Ok(_)) => Outcome::Found(found),
            _ => Outcome::Failed,
        }
    }

    /// Joins a lookup of the name that is under way, or begins one. It goes on when the one who asked is gone.
    async fn look_up_once(self: &Rc<Self>, name: &str) -> Looked {
        if let Some((failure, until)) = self.nothing_found.borrow().get(name)
            && *until > Instant::now()
        {
            return Err(failure.clone());
        }
        let under_way = self.under_way.borrow().get(name).cloned();
        let mut looked = under_way.unwrap_or_else(|| {
            let (sender, receiver) = watch::channel(None);
            self.under_way.borrow_mut().insert(name.to_owned(), receiver.clone());
            let lookup = UnderWay { run: Rc::clone(self), name: name.to_owned() };
            tokio::task::spawn_local(async move {
                let looked = lookup.finish().await;
                drop(lookup);
                sender.send_replace(Some(looked));
            });
            receiver
        });
        let looked = looked.wait_for(Option::is_some).await;
        looked.ok().and_then(|looked| looked.clone()).unwrap_or(Err(Failure::Silent))
    }

    /// Nothing of it can be had any more, says the one who knows.
    fn retire(&self, name: &str) {
        if self.book.borrow_mut().retire(name, Instant::now()) {
            self.push(name);
            self.changed.notify_one();
        }
    }

    fn remember_nothing(&self, name: &str, failure: Failure) {
        let now = Instant::now();
        let mut nothing = self.nothing_found.borrow_mut();
        if nothing.len() >= MOST_NOTHING_FOUND {
            nothing.retain(|_, (_, until)| *until > now);
        }
        if nothing.len() < MOST_NOTHING_FOUND {
            nothing.insert(name.to_owned(), (failure, now + NOTHING_FOUND));
        }
    }

    /// Once in a streak.
    fn tell_failing(&self, name: &str, why: &Failure) {
        let mut failing = self.failing.borrow_mut();
        if failing.len() >= MOST_LEARNED {
            failing.clear();
        }
        if failing.insert(name.to_owned()) {
            self.tell(Happening::NotRefreshed { name: name.to_owned(), why: why.to_string() });
        }
    }
}

/// Not the root, nor reverse lookups: those are of no use to anybody who is asked.
pub(crate) fn is_askable(name: &str) -> bool {
    !(name.is_empty() || name == "arpa" || name.ends_with(".arpa"))
}

/// A lookup that is under way until this is dropped, even by a panic.
struct UnderWay {
    run: Rc<Run>,
    name: String,
}

impl UnderWay {
    async fn finish(&self) -> Looked {
        let (run, name) = (&self.run, &self.name);
        let Ok(_permit) = timeout(TURN_LIMIT, run.asking.acquire()).await else {
            return Err(Failure::Busy);
        };
        let (looked, refused) = run.look_up(name).await;
        for denied in refused {
            run.tell_refused(denied).await;
        }
        match &looked {
            Ok(()) => drop(run.failing.borrow_mut().remove(name)),
            Err(
                failure @ (Failure::NoSuchName | Failure::NoAddress | Failure::Refused | Failure::NoRoute),
            ) => {
                run.retire(name);
                run.remember_nothing(name, failure.clone());
            }
            Err(failure) => run.tell_failing(name, failure),
        }
        looked
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.run.under_way.borrow_mut().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use sandlock_policy::NameState;

    use super::*;

    struct Deaf;

    impl Outbox for Deaf {
        fn name(&mut self, _: u64, _: &NameState) {}
        fn happened(&mut self, _: Happening) {}
    }

    #[test]
    fn programs_cannot_make_things_be_told_faster_than_they_are_read() {
        let run = Run::of_nobody(&[]);
        let started = Instant::now();
        crate::runtime::runtime().unwrap().block_on(async {
            for _ in 0..400 {
                run.tell_refused(Denied::Name { name: "evil.test".into(), forbidden: false }).await;
            }
        });
        let took = started.elapsed();
        assert!((Duration::from_millis(190)..Duration::from_secs(3)).contains(&took), "{took:?}");
    }

    impl Run {
        /// The names of a run that grants these, whose name server is not there.
        pub(crate) fn of_nobody(allow: &[&str]) -> Rc<Run> {
            let allow = allow.iter().map(|spec| spec.parse().unwrap()).collect();
            let rules = Arc::new(NetworkRules { allow, deny: Vec::new() });
            let upstream = Upstream::server(([127, 0, 0, 1], 1).into());
            let (_, enforced) = watch::channel(0);
            Rc::new(Run::new(rules, NameRules::default(), upstream, Box::new(Deaf), enforced, None))
        }
    }
}
