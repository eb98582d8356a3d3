//! The sandlock command: arguments, subcommands, and what they print.
//!
//! The library never prints: everything that a person reads is put into words here. Data goes to standard output,
//! talk to standard error.

mod args;
mod ask;
mod commands;
mod exit;
mod failure;
mod limit_args;
mod output;
mod profile;
mod report;
mod root;
mod usage;

use std::process::ExitCode;

use clap::Parser;
use sandlock_core::control::Request;

use args::{Cli, Command};

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    match Cli::try_parse_from(&words) {
        Ok(cli) => dispatch(cli.command),
        Err(error) => usage::report(&error, words.get(1).map(AsRef::as_ref)),
    }
}

fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::Run(args) => commands::run::run(args),
        Command::Check(args) => commands::check::check(&args),
        Command::Explain(args) => commands::explain::explain(args),
        Command::Ps { json } => commands::ps::ps(json),
        Command::Inspect(args) => commands::inspect::inspect(&args),
        Command::Kill { names } => commands::tell::tell(&names, &Request::Kill),
        Command::Allow { name, rule } => commands::tell::tell(&[name], &Request::Allow { rule }),
        Command::Deny { name, rule, cut } => commands::tell::tell(&[name], &Request::Deny { rule, cut }),
        Command::Events { name, json } => commands::events::events(&name, json),
        Command::Pause { names } => commands::tell::tell(&names, &Request::Pause),
        Command::Resume { names } => commands::tell::tell(&names, &Request::Resume),
        Command::Tour => commands::tour::tour(),
        Command::Fetch { server } => commands::fetch::fetch(server),
        Command::Trial(args) => commands::trial::trial(&args),
    }
}
