//! The command line's grammar.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use sandlock_core::{NetRule, RuleError};

/// Runs a program that reaches only the files, hosts and ports it was given.
#[derive(Parser, Debug)]
#[command(name = "sandlock", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a command inside the policy.
    Run(RunArgs),
}

/// What is allowed.
#[derive(Args, Debug, Default)]
pub(crate) struct PolicyArgs {
    /// Allow a destination: [tcp://|udp://|icmp://]HOST:PORTS. Repeatable; without any there is no network.
    #[arg(long, value_name = "RULE", value_parser = rule)]
    pub(crate) net_allow: Vec<NetRule>,
    /// Allow reading and executing a file, or all below a directory. Repeatable.
    #[arg(short = 'r', long = "read", value_name = "PATH")]
    pub(crate) read: Vec<PathBuf>,
    /// Allow reading and writing a file, or all below a directory. Repeatable.
    #[arg(short = 'w', long = "write", value_name = "PATH")]
    pub(crate) write: Vec<PathBuf>,
    /// Allow unix datagram sockets: every send is checked then.
    #[arg(long)]
    pub(crate) unix_dgram: bool,
    /// Start from nothing: no system directories, no working directory, no temporary directory.
    #[arg(long)]
    pub(crate) bare: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Set a variable in the command's environment. Repeatable.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Pass on only harmless variables of the environment (PATH, HOME, TERM, LANG and the like).
    #[arg(long)]
    pub(crate) clean_env: bool,
    /// Start the command in this directory [default: the current one].
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// End the run after this long: 30, 30s, 5m, 1h [default: no limit].
    #[arg(short = 't', long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// A name for this run, shown in its report [default: the command's].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// No supervisor: confine and execute in place. Only for policies that the kernel can carry alone.
    #[arg(long)]
    pub(crate) kernel_only: bool,
    /// Let the command inherit this descriptor; others above 2 are closed. Repeatable.
    #[arg(long, value_name = "FD")]
    pub(crate) pass_fd: Vec<RawFd>,
    /// Behave as on a kernel whose Landlock is no newer than this.
    #[arg(long, value_name = "VERSION", hide = true)]
    pub(crate) landlock_at_most: Option<u32>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

fn rule(spec: &str) -> Result<NetRule, RuleError> {
    spec.parse()
}

fn variable(text: &str) -> Result<(OsString, OsString), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}
