//! The library: a policy made into a plan, launched, and waited for.
//!
//! ```no_run
//! use sandlock_core::{Options, Plan, Policy};
//!
//! let policy = Policy::new().allow("localhost:8080")?;
//! let plan = Plan::new(Options::new(policy, ["curl", "http://localhost:8080/"]))?;
//! let outcome = plan.launch()?.wait(|event| eprintln!("{event:?}"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here prints, and nothing reads the environment or the home directory but what [`Options`] say.

mod around;
mod cgroup;
pub mod control;
mod decision;
mod environment;
mod error;
mod executable;
mod explain;
mod explain_bind;
mod grants;
mod http;
mod journal;
mod kernel;
mod kernel_only;
mod launch;
mod limits;
mod names;
mod needs;
mod options;
mod plan;
mod processes;
mod published;
mod root;
mod rules;
mod rulesets;
mod running;
mod temporary;

pub use control::{Control, ControlError};
pub use decision::{Answer, Deciding, Decisions, Hold, Verdict};
pub use environment::Environment;
pub use error::{LaunchError, PlanError};
pub use explain::{Explanation, Mechanism};
pub use grants::{Grant, Origin};
pub use http::{Http, HttpAuthority};
pub use journal::{Entry, Log, What};
pub use kernel::{Ability, Kernel};
pub use options::Options;
pub use plan::Plan;
pub use root::{Foreseen, RootExplanation};
pub use rules::{NotChanged, RunRules};
pub use running::{Event, Outcome, Running};
pub use sandlock_image::{Image, ImageError};
pub use sandlock_names::ResolveError;
pub use sandlock_policy::{
    Base, BindRule, BindRules, Caller, Credential, Denied, Destination, FileRules, Host, HttpAuth, HttpHost,
    HttpRule, HttpRuleError, HttpRules, Limits, LocalPort, Matter, Mount, MountError, NameRules, NetRule,
    NetworkRules, Policy, PortSpace, Ports, ProcessRules, Processors, Protocol, Publish, Question, Resolved,
    RootRules, RuleError, RuleErrorKind, Size, Tmpfs, escape_terminal,
};
pub use sandlock_proxy::UpstreamProxy;
pub use sandlock_supervisor::message::{Ending, Step};
pub use sandlock_sys::landlock::FileAccess;

/// Takes a descriptor that this process inherited, for [`Options::inherited`].
///
/// # Errors
///
/// When it is not open, or is one of the standard three, which the command has anyway.
pub fn take_inherited(number: std::os::fd::RawFd) -> std::io::Result<std::os::fd::OwnedFd> {
    sandlock_sys::process::take_inherited(number).map_err(Into::into)
}
