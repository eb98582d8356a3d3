//! `sandlock run`.

use std::process::ExitCode;

use sandlock_core::{Ending, Plan};

use crate::args::RunArgs;
use crate::ask::Asker;
use crate::failure::Failure;
use crate::{exit, output, report};

/// Runs the command and answers with its exit status.
pub(crate) fn run(args: RunArgs) -> ExitCode {
    let command = args.command.clone();
    start(args).unwrap_or_else(|failure| failure.report(&command))
}

fn start(args: RunArgs) -> Result<ExitCode, Failure> {
    let RunArgs { flags, command } = args;
    let name = flags.name.clone().map(Into::into).or_else(|| command.first().cloned());
    let name = name.unwrap_or_else(|| "image".into());
    let (kernel_only, limit) = (flags.kernel_only, flags.timeout);
    let shown = name.to_string_lossy().into_owned();
    let asker = flags.ask.clone().into_asker(shown, flags.policy.profile.last().cloned())?;
    let mut options = flags.into_options(command)?;
    if let Some(asker) = &asker {
        options = options.on_decision(asker.decisions());
    }
    let plan = Plan::new(options)?;
    if kernel_only {
        return Err(plan.execute_in_place().into());
    }
    let hidden = plan.working_directory_hidden();
    let mut running = plan.launch()?;
    let outcome = running.wait(|_| {});
    asker.iter().for_each(Asker::end);
    let outcome = outcome?;
    output::say(&report::of(&name.to_string_lossy(), &outcome, running.names(), limit));
    // Said only where it may be the reason: a program that cannot read where it stands says little.
    if hidden && outcome.ending != Ending::Exited(0) {
        output::say(
            "sandlock: note: the working directory holds your home, so it was hidden; -r . would show it\n",
        );
    }
    // The supervisor's last instant is waited for: who would adopt it in a container reaps nobody as a rule.
    drop(running);
    Ok(exit::of(&outcome))
}
