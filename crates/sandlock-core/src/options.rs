//! What is to run, and how.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use sandlock_policy::Policy;

use crate::{Control, Decisions, Environment, Http, Log};

/// A run: a policy, a command, and what surrounds it.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// What is allowed.
    pub policy: Policy,
    /// How its HTTP rules are enforced.
    pub http: Http,
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// The environment of the command.
    pub environment: Environment,
    /// Where it starts; the current directory if none.
    pub directory: Option<PathBuf>,
    /// Where images are kept, once they are unpacked.
    pub image_cache: Option<PathBuf>,
    /// No core dump of it is written.
    pub no_core_dump: bool,
    /// The home directory of the user, which stays hidden.
    pub home: Option<PathBuf>,
    /// Whom names are asked of; the machine's own resolver if none.
    pub resolver: Option<SocketAddr>,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// How long it has to end by itself when the time is up, before it is killed; a second if none.
    pub grace: Option<Duration>,
    /// Whether the run goes on until all that the command started has ended, not only the command.
    pub keep_background: bool,
    /// No supervisor: only what Landlock and the filter carry alone.
    pub kernel_only: bool,
    /// Descriptors that it inherits besides the standard ones, under the same numbers.
    pub inherited: Vec<OwnedFd>,
    /// Under which name it can be found while it runs, and where; `None`: not at all.
    pub control: Option<Control>,
    /// Who is asked while the command runs, and about what.
    pub decisions: Option<Decisions>,
    /// The network rules may change while the command runs: see [`Running::rules`](crate::Running::rules). What they may
    /// come to grant is then checked by the supervisor alone, and not by Landlock as well.
    pub adjustable: bool,
    /// Where what happens is written down.
    pub log: Option<Log>,
    /// A Landlock version to pretend, below the kernel's own: what an older kernel would enforce, and how.
    pub landlock_at_most: Option<u32>,
}

impl Options {
    /// The options of a run with the caller's environment, directory and home, found where that says.
    pub fn new<S: Into<OsString>>(policy: Policy, command: impl IntoIterator<Item = S>) -> Self {
        Options {
            policy,
            command: command.into_iter().map(Into::into).collect(),
            home: std::env::home_dir(),
            control: Some(Control::of_environment()),
            ..Options::default()
        }
    }

    /// Asks somebody while the command runs.
    #[must_use]
    pub fn on_decision(mut self, decisions: Decisions) -> Self {
        self.decisions = Some(decisions);
        self
    }

    /// Whether the network rules may change, or somebody may grant what they do not.
    pub(crate) fn may_change(&self) -> bool {
        self.adjustable || self.decisions.is_some()
    }
}
