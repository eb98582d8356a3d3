//! The sandlock command: arguments, subcommands, and what they print.
//!
//! The library never prints: everything that a person reads is put into words here. Data goes to standard output,
//! talk to standard error.

mod args;
mod commands;
mod report;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse_from(std::env::args_os()).command {
        Command::Run(args) => commands::run::run(args),
    }
}
