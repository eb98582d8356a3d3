//! Names that programs look up and no rule grants: asked about before anybody else is asked for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sandlock_names::{Consult, NameAnswer};

use super::answer::Answer;
use super::{Decisions, about_name, consult};
use crate::RunRules;

/// Asks about names.
pub(crate) struct Naming {
    decisions: Decisions,
    rules: RunRules,
    known: Arc<Mutex<HashMap<String, Known>>>,
}

enum Known {
    /// Somebody is asked; these want to know as well. A program asks for both families at once.
    Asked(Vec<NameAnswer>),
    /// What was said, and until when that is so.
    Said { allowed: bool, until: Option<Instant> },
}

impl Naming {
    pub(crate) fn new(decisions: Decisions, rules: RunRules) -> Self {
        Naming { decisions, rules, known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        lock(&self.known)
    }
}

impl Consult for Naming {
    fn ask(&self, name: &str, answer: NameAnswer) {
        let mut known = self.known();
        match known.get_mut(name) {
            Some(Known::Asked(others)) if others.len() < MOST_TOGETHER => return others.push(answer),
            Some(Known::Asked(_)) => return,
            Some(Known::Said { allowed, until }) if until.is_none_or(|until| until > Instant::now()) => {
                return answer.say(*allowed);
            }
            _ => {}
        }
        let asked = |known: &Known| matches!(known, Known::Asked(_));
        if known.len() >= MOST_KNOWN {
            known.retain(|_, known| asked(known) || matches!(known, Known::Said { until: None, .. }));
        }
        // Dropping the answer is a refusal.
        if known.len() >= MOST_KNOWN || known.values().filter(|known| asked(known)).count() >= MOST_ASKED {
            return;
        }
        known.insert(name.to_owned(), Known::Asked(vec![answer]));
        drop(known);
        let (name, decisions, rules) = (name.to_owned(), self.decisions.clone(), self.rules.clone());
        let everybody = Everybody { known: Arc::clone(&self.known), name: name.clone() };
        let answer = Answer::to_function(move |said| everybody.tell(said));
        // Without a thread the answer is dropped.
        let _ = std::thread::Builder::new().name("decisions".to_owned()).spawn(move || {
            consult(&*decisions.decide, &rules, &about_name(name), answer);
        });
    }
}

/// All who want to know of one name.
struct Everybody {
    known: Arc<Mutex<HashMap<String, Known>>>,
    name: String,
}

impl Everybody {
    fn tell(self, said: sandlock_policy::Verdict) {
        let allowed = said.approval().is_ok();
        // A yes for once is for one look-up, of both families; a no for as long as a program may try again at once.
        let until = match said {
            sandlock_policy::Verdict::Allow => None,
            _ => Instant::now().checked_add(ONCE),
        };
        let before = lock(&self.known).insert(self.name, Known::Said { allowed, until });
        if let Some(Known::Asked(waiting)) = before {
            waiting.into_iter().for_each(|answer| answer.say(allowed));
        }
    }
}

fn lock(known: &Mutex<HashMap<String, Known>>) -> MutexGuard<'_, HashMap<String, Known>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

const ONCE: Duration = Duration::from_secs(5);
const MOST_TOGETHER: usize = 64;
const MOST_ASKED: usize = 16;
const MOST_KNOWN: usize = 4096;
