//! All names of a run: the literal ones of the rules, and those under a domain that programs asked for.
//!
//! It knows what was answered and until when; it asks nobody and tells nobody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::rr::Name;
use sandlock_policy::{NameRules, NameState, NetworkRules};

use crate::entry::{Change, Entry, Grace};
use crate::take::is_denied;

/// How many names programs can make be known.
pub(crate) const MOST_LEARNED: usize = 4096;
/// How long the addresses of a learned name can be reached at least after the last question, besides the grace: programs
/// keep what they were told.
const KEPT_AT_LEAST: Duration = Duration::from_secs(60);

/// All names of a run.
pub(crate) struct Book {
    names: HashMap<String, Known>,
    rules: Arc<NetworkRules>,
    how: NameRules,
    questions: u64,
}

struct Known {
    entry: Entry,
    /// The order after which the supervisor lets all of its addresses be reached.
    serial: u64,
    learned: Option<Learned>,
}

/// Of a name that a program made be known.
struct Learned {
    forgotten: Option<Instant>,
    last_question: u64,
}

/// What a program is answered.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) links: Vec<Name>,
    pub(crate) addresses: Vec<IpAddr>,
    /// How long it still holds; nothing when it is only the last that was good.
    pub(crate) left: Duration,
    pub(crate) serial: u64,
}

impl Known {
    /// A program may use for so long what it is told now; it is not forgotten before.
    fn keep(&mut self, left: Duration, how: &NameRules, now: Instant) {
        if let Some(learned) = &mut self.learned
            && !how.pinned
            && !self.entry.is_kept()
        {
            let kept = left.max(KEPT_AT_LEAST).checked_add(how.grace);
            learned.forgotten = learned.forgotten.max(kept.and_then(|kept| now.checked_add(kept)));
        }
    }
}

impl Book {
    pub(crate) fn new(rules: Arc<NetworkRules>, how: NameRules) -> Book {
        Book { names: HashMap::new(), rules, how, questions: 0 }
    }

    /// Goes by other rules: what they deny is kept from now on, whenever it was learned.
    pub(crate) fn set_rules(&mut self, rules: Arc<NetworkRules>) {
        self.rules = rules;
        for (name, known) in &mut self.names {
            if is_denied(name, &self.rules) {
                known.entry.keep();
            }
        }
    }

    /// Adds a name of the rules.
    pub(crate) fn add_literal(&mut self, name: &str, addresses: Vec<IpAddr>, life: Duration, now: Instant) {
        let mut entry = Entry::new(self.grace(name), now);
        entry.learn(addresses, Vec::new(), life, now);
        self.names.insert(name.to_owned(), Known { entry, serial: 0, learned: None });
    }

    /// Records an answer. Names that had to give way are returned.
    pub(crate) fn learn(
        &mut self,
        name: &str,
        addresses: Vec<IpAddr>,
        links: Vec<Name>,
        life: Duration,
        now: Instant,
    ) -> (Change, Option<String>) {
        let pushed_out = match self.names.contains_key(name) {
            true => None,
            false => self.make_room(),
        };
        let (grace, questions) = (self.grace(name), self.questions);
        let known = self.names.entry(name.to_owned()).or_insert_with(|| Known {
            entry: Entry::new(grace, now),
            serial: 0,
            learned: Some(Learned { forgotten: None, last_question: questions }),
        });
        let change = known.entry.learn(addresses, links, life, now);
        // Whoever asked may be gone by now.
        known.keep(life, &self.how, now);
        (change, pushed_out)
    }

    /// The name stands for nothing any more. Whether that is new.
    pub(crate) fn retire(&mut self, name: &str, now: Instant) -> bool {
        let nothing = |known: &mut Known| known.entry.learn(Vec::new(), Vec::new(), Duration::ZERO, now);
        self.names.get_mut(name).map(nothing).is_some_and(|change| change != Change::Nothing)
    }

    fn make_room(&mut self) -> Option<String> {
        let learned = || self.names.iter().filter_map(|(name, known)| Some((name, known.learned.as_ref()?)));
        if learned().count() < MOST_LEARNED {
            return None;
        }
        let oldest = learned().min_by_key(|(_, learned)| learned.last_question)?.0.clone();
        self.names.remove(&oldest);
        Some(oldest)
    }

    fn grace(&self, name: &str) -> Grace {
        if is_denied(name, &self.rules) { Grace::Ever } else { Grace::For(self.how.grace) }
    }

    /// Which order tells the supervisor what is known of the name now.
    pub(crate) fn ordered(&mut self, name: &str, serial: u64) {
        if let Some(known) = self.names.get_mut(name) {
            known.serial = serial;
        }
    }

    /// What a program that asks is to be answered, however old.
    pub(crate) fn ask(&mut self, name: &str, now: Instant) -> Option<Found> {
        self.questions += 1;
        let known = self.names.get_mut(name)?;
        let left = match self.how.pinned {
            true => Duration::from_secs(3600),
            false => known.entry.fresh_until().saturating_duration_since(now),
        };
        if let Some(learned) = &mut known.learned {
            learned.last_question = self.questions;
        }
        known.keep(left, &self.how, now);
        let entry = &known.entry;
        (!entry.current().is_empty()).then(|| Found {
            links: entry.links().to_vec(),
            addresses: entry.current().to_vec(),
            left,
            serial: known.serial,
        })
    }

    /// Whether the rules say the name itself.
    pub(crate) fn is_literal(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|known| known.learned.is_none())
    }

    pub(crate) fn fresh_until(&self, name: &str) -> Option<Instant> {
        self.names.get(name).map(|known| known.entry.fresh_until())
    }

    pub(crate) fn state(&self, name: &str) -> NameState {
        let nothing = || NameState { name: name.to_owned(), current: Vec::new(), retiring: Vec::new() };
        self.names.get(name).map_or_else(nothing, |known| known.entry.state(name))
    }

    /// Drops what is over. The names of which less is known now.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<String> {
        let mut changed = Vec::new();
        self.names.retain(|name, known| {
            let forgotten = known.learned.as_ref().and_then(|learned| learned.forgotten);
            let over = forgotten.is_some_and(|at| at <= now);
            if known.entry.expire(now) || over {
                changed.push(name.clone());
            }
            !over
        });
        changed
    }

    /// When something is over next.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let of = |known: &Known| {
            let forgotten = known.learned.as_ref().and_then(|learned| learned.forgotten);
            [forgotten, known.entry.next_expiry()].into_iter().flatten().min()
        };
        self.names.values().filter_map(of).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(how: NameRules) -> Book {
        let deny = vec!["*.denied:1".parse().unwrap()];
        Book::new(Arc::new(NetworkRules { allow: Vec::new(), deny }), how)
    }

    fn learn(book: &mut Book, name: &str, now: Instant) -> Option<String> {
        book.learn(name, vec!["10.0.0.1".parse().unwrap()], Vec::new(), Duration::from_secs(5), now).1
    }

    #[test]
    fn of_too_many_learned_names_the_least_recently_asked_goes() {
        let now = Instant::now();
        let mut book = book(NameRules::default());
        book.add_literal("literal", Vec::new(), Duration::ZERO, now);
        for n in 0..MOST_LEARNED {
            assert_eq!(learn(&mut book, &format!("n{n}"), now), None);
            book.ask(&format!("n{n}"), now);
        }
        book.ask("n0", now);
        assert_eq!(learn(&mut book, "more", now), Some("n1".to_owned()));
        assert!(book.ask("n1", now).is_none() && book.ask("n0", now).is_some());
        assert_eq!(book.names.len(), MOST_LEARNED + 1);
        assert!(book.is_literal("literal"));
    }

    #[test]
    fn a_learned_name_is_forgotten_a_while_after_the_last_question() {
        let (now, grace) = (Instant::now(), Duration::from_secs(10));
        let mut book = book(NameRules { grace, ..NameRules::default() });
        learn(&mut book, "a", now);
        assert_eq!(book.ask("a", now).unwrap().left, Duration::from_secs(5));
        assert_eq!(book.next_expiry(), Some(now + Duration::from_secs(70)));
        learn(&mut book, "a.denied", now);
        let later = now + Duration::from_secs(69);
        assert!(book.expire(later).is_empty());
        assert_eq!(book.ask("a", later).unwrap().left, Duration::ZERO);
        assert!(book.expire(now + Duration::from_secs(70)).is_empty());
        assert_eq!(book.expire(later + Duration::from_secs(70)), ["a"]);
        assert!(book.state("a").current.is_empty());
        assert_eq!(book.names.keys().collect::<Vec<_>>(), ["a.denied"]);
    }

    #[test]
    fn what_is_pinned_is_never_over() {
        let now = Instant::now();
        let mut book = book(NameRules { pinned: true, ..NameRules::default() });
        learn(&mut book, "a", now);
        assert!(book.ask("a", now + Duration::from_secs(7200)).unwrap().left > Duration::ZERO);
        assert_eq!(book.next_expiry(), None);
    }
}
