//! Decisions while the command runs: a function of the caller is asked before something is performed, and may change the
//! rules.
//!
//! It is called in threads of this process, several at once. A function that panics has refused. One that hangs holds
//! its own question until that is refused, and no other; what hangs for good keeps a thread each time, up to a bound, and
//! beyond that everything is refused.

mod answer;
mod listening;
mod naming;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sandlock_policy::{Caller, Matter, Question};
use sandlock_supervisor::decision::Asks;

use crate::RunRules;

pub use answer::Answer;
pub(crate) use listening::Listening;
pub(crate) use naming::Naming;

/// What is asked about, and of whom.
///
/// ```no_run
/// use sandlock_core::{Decisions, Matter, Options, Policy, Verdict};
///
/// let decisions = Decisions::new(|question, _| match &question.matter {
///     Matter::Destination { destination, .. } if destination.port() == 443 => Verdict::AllowOnce,
///     _ => Verdict::Deny,
/// });
/// let options = Options::new(Policy::new(), ["curl", "https://192.0.2.1/"]).on_decision(decisions);
/// ```
#[derive(Clone)]
pub struct Decisions {
    pub(crate) decide: Arc<Decide>,
    pub(crate) asks: Asks,
    pub(crate) names: bool,
    pub(crate) patience: Duration,
}

pub(crate) type Decide = dyn Fn(&Question, &Deciding<'_>) -> Verdict + Send + Sync;

/// What a question comes to.
#[derive(Debug)]
pub enum Verdict {
    /// It may go on, and is not asked about again in this run: whoever in it wants the same destination or port.
    Allow,
    /// It may go on, this time.
    AllowOnce,
    /// It fails with the errno that refusals have.
    Deny,
    /// It fails with this errno (1 to 133).
    DenyWith(i32),
    /// The answer comes later: see [`Deciding::hold`].
    Hold(Hold),
}

/// That an [`Answer`] was taken, and the call waits for it.
#[derive(Debug)]
pub struct Hold(pub(crate) Duration);

/// What a function that decides is given besides the question.
#[derive(Debug)]
pub struct Deciding<'a> {
    answer: &'a Answer,
    rules: &'a RunRules,
}

impl Decisions {
    /// Asks `decide` about every destination, granted or not, that no rule denies; and about every name that programs
    /// look up and no rule grants.
    #[must_use]
    pub fn new(decide: impl Fn(&Question, &Deciding<'_>) -> Verdict + Send + Sync + 'static) -> Self {
        let asks = Asks { destinations: true, granted: true, ..Asks::default() };
        Decisions { decide: Arc::new(decide), asks, names: true, patience: PATIENCE }
    }

    /// Of destinations and ports, only what no rule grants is asked about.
    #[must_use]
    pub fn ungranted(mut self) -> Self {
        self.asks.granted = false;
        self
    }

    /// Destinations and names are not asked about: the rules decide.
    #[must_use]
    pub fn without_destinations(mut self) -> Self {
        self.asks.destinations = false;
        self.names = false;
        self
    }

    /// Executions are asked about as well. The path and the arguments are what the program says: another thread of it
    /// can change them before the kernel reads them.
    #[must_use]
    pub fn execs(mut self) -> Self {
        self.asks.execs = true;
        self
    }

    /// Ports that the command takes, and servers on ports that the kernel chooses, are asked about as well, unless a rule
    /// denies them: when they are bound, and not again when a server listens there.
    #[must_use]
    pub fn binds(mut self) -> Self {
        self.asks.binds = true;
        self
    }

    /// All that is refused is told, before the program hears of it. The answer changes nothing but the errno.
    #[must_use]
    pub fn denials(mut self) -> Self {
        self.asks.denials = true;
        self
    }

    /// How long a call waits for an answer [a minute]. Then it is refused.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decisions { decide: _, asks, names, patience } = self;
        f.debug_struct("Decisions")
            .field("asks", asks)
            .field("names", names)
            .field("patience", patience)
            .finish_non_exhaustive()
    }
}

impl Deciding<'_> {
    /// The rules of the run, to be changed. A change has effect when the function that makes it returns.
    #[must_use]
    pub fn rules(&self) -> &RunRules {
        self.rules
    }

    /// What the process that makes the call executes: see [`Answer::caller`].
    #[must_use]
    pub fn caller(&self) -> Option<Caller> {
        self.answer.caller()
    }

    /// Leaves the answer for later: return the verdict, and answer within `limit`, from whatever thread. When that has
    /// passed, or the answer is dropped, the call is refused.
    #[must_use]
    pub fn hold(&self, limit: Duration) -> (Verdict, Answer) {
        (Verdict::Hold(Hold(limit)), self.answer.clone())
    }
}

/// Asks, and answers unless that was left for later.
fn consult(decide: &Decide, rules: &RunRules, question: &Question, answer: Answer) {
    let deciding = Deciding { answer: &answer, rules };
    let asked = std::panic::AssertUnwindSafe(|| decide(question, &deciding));
    match std::panic::catch_unwind(asked).unwrap_or(Verdict::Deny) {
        Verdict::Allow => answer.allow(),
        Verdict::AllowOnce => answer.allow_once(),
        Verdict::Deny => answer.deny(),
        Verdict::DenyWith(errno) => answer.deny_with(errno),
        Verdict::Hold(Hold(limit)) => answer.later(limit),
    }
}

/// A question without a process id: programs look names up in connections of their own.
fn about_name(name: String) -> Question {
    Question::new(0, Matter::Name { name })
}

const PATIENCE: Duration = Duration::from_secs(60);
