//! Calls that are asked about before they are performed: of somebody outside, while the caller waits.
//!
//! A question goes to the launcher over a pair of its own. The receiving thread waits for a moment, since most answers
//! come at once; after that the call is [held](held), and others go on. What is performed in the end is what was
//! pinned and read before the question, checked against the rules of that moment. No answer is a refusal.

mod caller;
mod desk;
mod exec;
mod hands;
mod held;
mod port;

use std::time::Duration;

use sandlock_policy::{Approval, Caller, Denied, Destination, LocalPort, Matter, Question, Said, Tree};
use sandlock_sys::Errno;
use serde::{Deserialize, Serialize};

use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::message::Link;
use crate::task::tree;

pub(crate) use desk::{Desk, FromDesk};
pub(crate) use exec::{execve, execveat};
pub(crate) use hands::Hands;
use held::Held;
pub(crate) use port::{PortStanding, binding, listening};

/// What is asked about, and of whom.
#[derive(Debug)]
pub struct Decisions {
    /// The supervisor's end of the pair over which questions go.
    pub link: Link,
    /// What is asked about.
    pub asks: Asks,
    /// How long a call is held without an answer.
    pub patience: Duration,
}

/// What is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asks {
    /// Destinations of connections and datagrams.
    pub destinations: bool,
    /// Ports of the run's own that are taken, and listened on.
    pub binds: bool,
    /// Of these, what rules grant as well.
    pub granted: bool,
    /// Executions.
    pub execs: bool,
    /// All that is refused: told before the caller hears of it.
    pub denials: bool,
}

/// What an approval for the whole run is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum About {
    Destination(Destination),
    Port(LocalPort),
    /// Listening on ports that the kernel chooses.
    Listening,
}

impl About {
    fn of(matter: &Matter) -> Option<About> {
        match *matter {
            Matter::Destination { destination, .. } => Some(About::Destination(destination)),
            Matter::Bind { protocol, port, .. } => Some(About::Port(LocalPort { protocol, port })),
            Matter::Listen { .. } => Some(About::Listening),
            _ => None,
        }
    }
}

/// From the supervisor: a question, or that its answer is not wanted any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asking {
    /// A call waits for this.
    Question {
        /// What the [`Reply`] is to say.
        id: u64,
        /// The question.
        question: Question,
    },
    /// Who makes the call, to somebody who wanted to know.
    Caller {
        /// Of which question.
        id: u64,
        /// Who.
        caller: Caller,
    },
    /// Its caller is gone, or was interrupted, or its time is up.
    Withdrawn(u64),
}

/// To the supervisor: what is said about a question. One whose number no call waits for is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Of which question.
    pub id: u64,
    /// What is said.
    pub said: Said,
}

/// What is done when the answer is yes. Whoever does it has no [`Context`]: it may be another thread by then.
pub(crate) type GoOn = Box<dyn FnOnce(Approval, &Hands<'_>) -> Result<Done, Failure> + Send>;

/// How a destination stands before anybody is asked.
pub(crate) enum Standing {
    /// The rules decide.
    ByRules,
    /// Somebody was asked, and said yes for the whole run.
    Approved(Approval),
    /// It is to be asked about.
    Open(Matter),
}

/// How traffic to `destination` stands.
pub(crate) fn standing(cx: &Context<'_>, tree: Tree, destination: Destination) -> Standing {
    let Some(desk) = cx.desk.as_ref().filter(|desk| desk.asks.destinations) else {
        return Standing::ByRules;
    };
    // A socket of the run's own is nobody else's business.
    if cx.own(&destination).is_some() {
        return Standing::ByRules;
    }
    let network = cx.network.load();
    let network = network.of(tree);
    let granted = match network.route(destination) {
        // The run's own resolver is asked about names, each of which is a question of its own.
        Ok(sandlock_policy::Route::Resolver(_)) => return Standing::ByRules,
        Ok(_) if !desk.asks.granted => return Standing::ByRules,
        Ok(_) => true,
        Err(Denied::Destination(_)) if network.forbids(destination) => return Standing::ByRules,
        Err(Denied::Destination(_)) => false,
        Err(_) => return Standing::ByRules,
    };
    if let Some(approval) = desk.approved(About::Destination(destination)) {
        return Standing::Approved(approval);
    }
    let named =
        network.names().states().filter(|state| state.addresses().any(|one| one == destination.address()));
    let names = named.take(MOST_NAMES).map(|state| state.name.clone()).collect();
    Standing::Open(Matter::Destination { destination, names, granted })
}

/// Asks, and goes on when the answer is yes: at once when it comes at once, else later.
///
/// # Errors
///
/// The refusal, when the answer is no, or nobody can be asked.
pub(crate) fn decide(cx: &Context<'_>, call: &Call, matter: Matter, go_on: GoOn) -> Result<Done, Failure> {
    let Some(desk) = &cx.desk else {
        return Err(Errno::ACCESS.into());
    };
    let refusals = Refusals::of(&matter);
    let pid = cx.group_of(call.tid, || tree::group_of(call.tid.get())).unwrap_or_default();
    // The number meant this caller while it was looked at.
    cx.confirm(call)?;
    let Some(asked) = Desk::ask(desk, call.tid, Question::new(pid, matter)) else {
        return Err(refusals.unanswered().into());
    };
    let patience = match asked.wait_a_moment(&|| cx.confirm(call).is_ok()) {
        Some(Said::Verdict(verdict)) => {
            return asked.settle(
                verdict,
                &refusals,
                go_on,
                &Hands::of_context(cx, &|| cx.confirm(call).is_ok()),
            );
        }
        Some(Said::Later(limit)) => limit,
        Some(Said::Describe) | None => desk.patience,
    };
    Ok(Done::Wait(Box::new(Held::new(asked, refusals, go_on, patience))))
}

/// Tells somebody of what is refused, who may choose another errno.
pub(crate) fn denied(cx: &Context<'_>, call: &Call, denied: Denied) -> Result<Done, Failure> {
    match &cx.desk {
        Some(desk) if desk.asks.denials => {
            let refused = denied.clone();
            decide(cx, call, Matter::Denied(denied), Box::new(move |_, _| Err(Failure::Denied(refused))))
        }
        _ => Err(Failure::Denied(denied)),
    }
}

/// What a refusal is called.
pub(crate) enum Refusals {
    Destination(Destination),
    Other(Denied),
}

impl Refusals {
    fn of(matter: &Matter) -> Self {
        match matter {
            Matter::Destination { destination, .. } => Refusals::Destination(*destination),
            Matter::Exec { path, .. } => Refusals::Other(Denied::Exec(path.clone())),
            Matter::Bind { protocol, port, .. } => {
                Refusals::Other(Denied::Bind { protocol: *protocol, port: *port, forbidden: false })
            }
            Matter::Listen { protocol, .. } => {
                Refusals::Other(Denied::Listen { protocol: *protocol, port: None, forbidden: false })
            }
            Matter::Name { name } => Refusals::Other(Denied::Name { name: name.clone(), forbidden: false }),
            Matter::Denied(denied) => Refusals::Other(denied.clone()),
            // A matter that this program does not know is none that it asks about.
            _ => Refusals::Other(Denied::Exec(std::path::PathBuf::new())),
        }
    }

    fn declined(&self) -> Denied {
        match self {
            Refusals::Destination(destination) => Denied::Declined(*destination),
            Refusals::Other(denied) => denied.clone(),
        }
    }

    fn unanswered(&self) -> Denied {
        match self {
            Refusals::Destination(destination) => Denied::Unanswered(*destination),
            Refusals::Other(denied) => denied.clone(),
        }
    }
}

/// Names of one address that are told.
const MOST_NAMES: usize = 4;
