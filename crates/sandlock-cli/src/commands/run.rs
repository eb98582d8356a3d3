//! `sandlock run`.

use std::process::ExitCode;

use sandlock_core::{Ending, LaunchError, Options, Outcome, Plan, PlanError};

use crate::args::RunArgs;
use crate::report;

/// Runs the command and answers with its exit status.
pub(crate) fn run(args: RunArgs) -> ExitCode {
    let name = args.name.clone().unwrap_or_else(|| {
        args.command.first().map_or_else(String::new, |command| command.to_string_lossy().into_owned())
    });
    let kernel_only = args.kernel_only;
    let plan = match args.into_options().map_err(Failure::from).and_then(|options| Ok(Plan::new(options)?)) {
        Ok(plan) => plan,
        Err(failure) => return failure.report(),
    };
    if kernel_only {
        return Failure::from(plan.execute_in_place()).report();
    }
    let running = match plan.launch() {
        Ok(running) => running,
        Err(error) => return Failure::from(error).report(),
    };
    let names = running.names().clone();
    match running.wait(|_| {}) {
        Ok(outcome) => {
            report::denials(&name, &outcome, &names);
            exit_code(&outcome)
        }
        Err(error) => Failure::from(error).report(),
    }
}

/// What kept the command from running.
enum Failure {
    Plan(PlanError),
    Launch(LaunchError),
    PassFd(i32, std::io::Error),
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Failure::Plan(error)
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        Failure::Launch(error)
    }
}

impl Failure {
    /// Says what is wrong, and returns the exit code that `env(1)` would.
    fn report(&self) -> ExitCode {
        match self {
            Failure::Plan(error) => report::error(error),
            Failure::Launch(error) => report::error(error),
            Failure::PassFd(fd, error) => report::say(&format!("sandlock: error: --pass-fd {fd}: {error}\n")),
        }
        ExitCode::from(match self {
            Failure::Plan(PlanError::CommandNotFound(_)) => NOT_FOUND,
            Failure::Plan(PlanError::CommandNotExecutable { .. }) => NOT_EXECUTABLE,
            Failure::Launch(LaunchError::Exec { source, .. }) => match source.kind() {
                std::io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_EXECUTABLE,
            },
            _ => OUR_FAILURE,
        })
    }
}

fn exit_code(outcome: &Outcome) -> ExitCode {
    if outcome.timed_out {
        return ExitCode::from(TIMED_OUT);
    }
    ExitCode::from(match outcome.ending {
        Ending::Exited(status) => status as u8,
        Ending::Signaled(signal) => 128u8.wrapping_add(signal as u8),
        Ending::Cut => 128 + 9,
    })
}

impl RunArgs {
    fn into_options(self) -> Result<Options, Failure> {
        let mut options = Options::new(self.policy.into_policy(), self.command);
        options.environment.clean = self.clean_env;
        options.environment.set = self.env;
        options.directory = self.cwd;
        options.timeout = self.timeout;
        options.kernel_only = self.kernel_only;
        options.landlock_at_most = self.landlock_at_most;
        for fd in self.pass_fd {
            let taken = sandlock_core::take_inherited(fd).map_err(|error| Failure::PassFd(fd, error))?;
            options.inherited.push(taken);
        }
        Ok(options)
    }
}

impl crate::args::PolicyArgs {
    pub(crate) fn into_policy(self) -> sandlock_core::Policy {
        let mut policy = sandlock_core::Policy::new();
        policy.network = self.net_allow;
        policy.files.read = self.read;
        policy.files.write = self.write;
        policy.unix_datagrams = self.unix_dgram;
        if self.bare { policy.bare() } else { policy }
    }
}

const TIMED_OUT: u8 = 124;
const OUR_FAILURE: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
