//! `--ask`, `--ask-command`: somebody is asked about destinations, names and ports that no rule grants, while the call waits.
//!
//! Calls that want the same share a question. What was refused once is refused for the run, so that a program cannot wear
//! the person down.

mod program;
mod terminal;
mod wish;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sandlock_core::{Answer, Deciding, Decisions, Question, RunRules, Verdict};

use crate::profile;
use program::Program;
use terminal::Terminal;
pub(crate) use wish::{Grant, Wish};

/// Whoever asks.
#[derive(Clone)]
pub(crate) struct Asker(Arc<Shared>);

struct Shared {
    whom: Whom,
    /// The run's name, as a person knows it.
    name: String,
    /// Where "always" is written; not offered without.
    profile: Option<PathBuf>,
    patience: Duration,
    state: Mutex<State>,
}

enum Whom {
    Terminal(Terminal),
    Program(Program),
}

#[derive(Default)]
struct State {
    /// In the order in which they came; those that are asked about now among them.
    open: Vec<Open>,
    refused: HashMap<Wish, ()>,
    asking: usize,
    over: bool,
}

/// A question that is not answered.
struct Open {
    wish: Wish,
    asked: bool,
    answers: Vec<Answer>,
    rules: RunRules,
    until: Instant,
}

/// What somebody chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    Once,
    Run,
    Always,
    No,
}

/// One question, as it is put.
pub(crate) struct Put<'a> {
    pub(crate) run: &'a str,
    pub(crate) wish: &'a Wish,
    pub(crate) pid: i32,
    pub(crate) caller: Option<sandlock_core::Caller>,
    /// Where "always" would be written.
    pub(crate) profile: Option<&'a std::path::Path>,
    pub(crate) until: Instant,
    /// Whether an answer still changes something.
    pub(crate) wanted: &'a dyn Fn() -> bool,
}

impl Asker {
    /// Asks on the controlling terminal.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) fn terminal(name: String, profile: Option<PathBuf>, patience: Duration) -> io::Result<Self> {
        Ok(Self::new(Whom::Terminal(Terminal::open()?), name, profile, patience))
    }

    /// Asks a program.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub(crate) fn program(
        program: PathBuf,
        name: String,
        profile: Option<PathBuf>,
        patience: Duration,
    ) -> io::Result<Self> {
        Ok(Self::new(Whom::Program(Program::find(program)?), name, profile, patience))
    }

    fn new(whom: Whom, name: String, profile: Option<PathBuf>, patience: Duration) -> Self {
        let state = Mutex::default();
        Asker(Arc::new(Shared { whom, name, profile, patience, state }))
    }

    /// What the library is to ask.
    pub(crate) fn decisions(&self) -> Decisions {
        let this = Arc::clone(&self.0);
        Decisions::new(move |question, deciding| Shared::take(&this, question, deciding))
            .binds()
            .ungranted()
            .patience(self.0.patience)
    }

    /// The run is over: nothing is asked any more, and the terminal is as it was.
    pub(crate) fn end(&self) {
        let mut state = self.0.state();
        state.over = true;
        state.open.clear();
        let asking = state.asking > 0;
        drop(state);
        match &self.0.whom {
            Whom::Terminal(terminal) => terminal.end(),
            Whom::Program(program) if asking => program.end(),
            Whom::Program(_) => {}
        }
    }
}

impl Shared {
    /// Joins a question, or adds one. The answer comes later, whoever gives it.
    fn take(this: &Arc<Self>, question: &Question, deciding: &Deciding<'_>) -> Verdict {
        let Some(wish) = Wish::of(&question.matter) else {
            return Verdict::Deny;
        };
        let mut state = this.state();
        if state.over || state.refused.contains_key(&wish) {
            return Verdict::Deny;
        }
        let (verdict, answer) = deciding.hold(this.patience);
        if let Some(open) = state.open.iter_mut().find(|open| open.wish == wish) {
            open.answers.push(answer);
            return verdict;
        }
        let (rules, until) = (deciding.rules().clone(), Instant::now() + this.patience);
        state.open.push(Open { wish, asked: false, answers: vec![answer], rules, until });
        let at_once = match this.whom {
            Whom::Terminal(_) => 1,
            Whom::Program(_) => MOST_PROGRAMS,
        };
        if state.asking < at_once {
            let (asks, pid) = (Arc::clone(this), question.pid);
            let spawned = std::thread::Builder::new().name("asks".to_owned()).spawn(move || asks.ask(pid));
            match spawned {
                Ok(_) => state.asking += 1,
                // The answers are dropped, which refuses.
                Err(_) => drop(state.open.pop()),
            }
        }
        verdict
    }

    /// Asks one question after the other, until there is none.
    fn ask(&self, pid: i32) {
        let mut pid = Some(pid);
        while let Some((wish, answer, until)) = self.next() {
            let wanted = {
                let answer = answer.clone();
                move || answer.is_wanted()
            };
            let caller = answer.caller();
            let anybody = || wanted() || self.somebody_waits(&wish);
            let put = Put {
                run: &self.name,
                wish: &wish,
                pid: pid.take().unwrap_or_default(),
                caller,
                profile: self.profile.as_deref(),
                until,
                wanted: &anybody,
            };
            let choice = match &self.whom {
                Whom::Terminal(terminal) => terminal.ask(&put),
                Whom::Program(program) => program.ask(&put),
            };
            drop(answer);
            self.settle(&wish, choice);
        }
    }

    fn next(&self) -> Option<(Wish, Answer, Instant)> {
        let mut state = self.state();
        state.open.retain(|open| open.asked || open.answers.iter().any(Answer::is_wanted));
        let next = state.open.iter_mut().find(|open| !open.asked);
        let Some(open) = next else {
            state.asking -= 1;
            return None;
        };
        open.asked = true;
        let answer = open.answers.iter().find(|answer| answer.is_wanted()).or(open.answers.first())?.clone();
        Some((open.wish.clone(), answer, open.until))
    }

    fn somebody_waits(&self, wish: &Wish) -> bool {
        let state = self.state();
        let open = state.open.iter().find(|open| open.wish == *wish);
        open.is_some_and(|open| open.answers.iter().any(Answer::is_wanted))
    }

    /// Gives all who wait for it the answer. Nothing said is a refusal, this time.
    fn settle(&self, wish: &Wish, choice: Option<Choice>) {
        let open = {
            let mut state = self.state();
            if choice == Some(Choice::No) && state.refused.len() < MOST_REFUSED {
                state.refused.insert(wish.clone(), ());
            }
            let at = state.open.iter().position(|open| open.wish == *wish);
            at.map(|at| state.open.remove(at))
        };
        let Some(Open { answers, rules, .. }) = open else {
            return;
        };
        let answer: fn(Answer) = match (choice, wish.rule()) {
            (Some(Choice::Once), _) => Answer::allow_once,
            (Some(choice @ (Choice::Run | Choice::Always)), Some(rule)) => {
                if let (Choice::Always, Some(profile)) = (choice, &self.profile)
                    && let Err(error) = profile::allow(profile, &rule)
                {
                    self.say(&error.to_string());
                }
                match rule {
                    Grant::Net(rule) => {
                        // Of a run that is over nothing can be changed, and nobody waits.
                        let _ = rules.allow(rule);
                        Answer::allow_once
                    }
                    Grant::Bind(_) => Answer::allow,
                }
            }
            (Some(Choice::Run | Choice::Always), None) => Answer::allow,
            (Some(Choice::No), _) => Answer::deny,
            (None, _) => drop,
        };
        answers.into_iter().for_each(answer);
    }

    fn say(&self, what: &str) {
        if let Whom::Terminal(terminal) = &self.whom {
            terminal.say(what);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MOST_PROGRAMS: usize = 8;
const MOST_REFUSED: usize = 4096;
