//! `sandlock check`: what this kernel offers, what carries what, and whether a run really works here.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use sandlock_core::{
    Ability, Denied, Ending, Kernel, Options, Outcome, Plan, PlanError, Policy, escape_terminal,
};
use tempfile::TempDir;

use crate::args::CheckArgs;
use crate::commands::trial;
use crate::failure::Failure;
use crate::output;

/// Prints what there is, and exits with 1 if a run is impossible.
pub(crate) fn check(args: &CheckArgs) -> ExitCode {
    let landlock_at_most = args.pretend.landlock_at_most;
    let kernel = Kernel::probe().with_landlock_at_most(landlock_at_most);
    output::print(&offers(&kernel));
    let abilities = kernel.abilities();
    output::print(&carriers(&abilities, Lsm::ask().as_ref()));
    if abilities.iter().any(|ability| ability.carried_by.is_none()) {
        output::print("\na run is impossible here\n");
        return ExitCode::FAILURE;
    }
    let found = Trial::new()
        .map_err(|error| Fault::new(format!("it cannot be prepared: {error}")))
        .and_then(|trial| trial.run(landlock_at_most));
    output::print(&verdict(&found));
    if found.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn offers(kernel: &Kernel) -> String {
    let yes = |there: bool| if there { "yes" } else { "no" }.to_owned();
    let landlock = match kernel.landlock {
        0 => "no".to_owned(),
        version => format!("version {version}"),
    };
    let rows = [
        ("landlock", landlock),
        ("seccomp user notification", yes(kernel.user_notification)),
        ("trapped calls that only a fatal signal interrupts", yes(kernel.wait_killable)),
        ("handles of single threads", yes(kernel.thread_handles)),
        ("--kernel-only", yes(kernel.landlock >= 6)),
    ];
    let title = format!("this kernel, Linux {} on {}, offers", kernel.release, std::env::consts::ARCH);
    format!("{title}\n{}", columns(&rows))
}

fn carriers(abilities: &[Ability], lsm: Option<&Lsm>) -> String {
    let rows = abilities.iter().map(|ability| match ability.carried_by {
        Some(mechanism) => (ability.what, mechanism.to_owned()),
        None => (ability.what, format!("nothing\n    hint: {}", remedy(ability, lsm))),
    });
    format!("\nwhat is enforced here, and by what\n{}", columns(&rows.collect::<Vec<_>>()))
}

fn columns(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(what, _)| what.len()).max().unwrap_or_default();
    rows.iter().map(|(what, how)| format!("  {what:width$}  {how}\n")).collect()
}

/// The Linux security modules that are switched on.
struct Lsm(String);

impl Lsm {
    fn ask() -> Option<Lsm> {
        std::fs::read_to_string("/sys/kernel/security/lsm").ok().map(Lsm)
    }

    fn has_landlock(&self) -> bool {
        self.0.trim().split(',').any(|name| name == "landlock")
    }
}

fn remedy<'a>(ability: &Ability, lsm: Option<&Lsm>) -> &'a str {
    match lsm {
        Some(lsm) if ability.carried_by.is_none() && ability.otherwise.contains("andlock") => {
            if lsm.has_landlock() {
                "the kernel has Landlock, but something forbids it: allow the three landlock_* calls in the seccomp profile of this container"
            } else {
                "boot with lsm=landlock,… on the kernel's command line (the modules that are on are in /sys/kernel/security/lsm)"
            }
        }
        _ => ability.otherwise,
    }
}

/// A sandbox that is really started, and what it must not reach.
struct Trial {
    place: TempDir,
    /// An error inside of a sandbox that lets nobody listen.
    servers: io::Result<Servers>,
}

struct Servers {
    allowed: Server,
    refused: Server,
}

/// What went wrong in it, and what to do.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    what: String,
    hint: Option<&'static str>,
}

impl Fault {
    fn new(what: impl Into<String>) -> Self {
        Fault { what: what.into(), hint: None }
    }

    fn with_hint(what: impl Into<String>, hint: &'static str) -> Self {
        Fault { what: what.into(), hint: Some(hint) }
    }
}

impl Trial {
    fn new() -> io::Result<Self> {
        let place = tempfile::Builder::new().prefix("sandlock-check-").tempdir()?;
        // Beside the working directory, which the base makes readable.
        std::fs::create_dir(place.path().join("inside"))?;
        std::fs::write(place.path().join("hidden"), "not for the command\n")?;
        Ok(Trial { place, servers: Servers::start() })
    }

    /// Answers what could not be tried.
    fn run(&self, landlock_at_most: Option<u32>) -> Result<Option<String>, Fault> {
        let plan =
            self.options(landlock_at_most).and_then(|options| Ok(Plan::new(options)?)).map_err(fault)?;
        let mut running = plan.launch().map_err(Failure::from).map_err(fault)?;
        let outcome = running.wait(|_| {}).map_err(Failure::from).map_err(fault)?;
        self.judge(&outcome)?;
        Ok(self
            .servers
            .as_ref()
            .err()
            .map(|error| format!("without a network: nobody can listen here: {error}")))
    }

    fn options(&self, landlock_at_most: Option<u32>) -> Result<Options, Failure> {
        let itself = std::env::current_exe().map_err(|error| {
            Failure::Plan(PlanError::CommandNotExecutable { command: "sandlock".into(), source: error })
        })?;
        let mut command: Vec<OsString> =
            vec![itself.into(), "__trial".into(), self.place.path().join("hidden").into()];
        let mut policy = Policy::new();
        if let Ok(Servers { allowed, refused }) = &self.servers {
            command.extend([&allowed.address, &refused.address].map(|address| address.to_string().into()));
            policy.network.allow.extend(allowed.address.to_string().parse());
        }
        let mut options = Options::new(policy, command);
        options.directory = Some(self.place.path().join("inside"));
        options.timeout = Some(PATIENCE);
        options.landlock_at_most = landlock_at_most;
        // Nobody is to look for it.
        options.control = None;
        Ok(options)
    }

    /// Believes the servers, not the command alone.
    fn judge(&self, outcome: &Outcome) -> Result<(), Fault> {
        let servers = self.servers.as_ref().ok();
        let refused = servers.map(|servers| &servers.refused);
        match outcome.ending {
            _ if outcome.timed_out => {
                Err(Fault::with_hint("the supervisor did not answer a call", LOOKING_INTO))
            }
            Ending::Exited(status) if status == i32::from(trial::FILE_WAS_READ) => {
                Err(Fault::new("a file that was not granted could be read"))
            }
            _ if refused.is_some_and(Server::was_reached) => {
                Err(Fault::new("a destination that was not granted could be reached"))
            }
            Ending::Exited(status) if status == i32::from(trial::ALLOWED_WAS_REFUSED) => {
                Err(Fault::with_hint("a destination that was granted could not be reached", LOOKING_INTO))
            }
            Ending::Exited(0) if refused.is_some_and(|server| !server.is_among(outcome)) => {
                Err(Fault::new("a refusal was not reported"))
            }
            Ending::Exited(0) => Ok(()),
            ending => Err(Fault::new(format!("the command ended unexpectedly: {ending:?}"))),
        }
    }
}

impl Servers {
    fn start() -> io::Result<Self> {
        Ok(Servers { allowed: Server::start()?, refused: Server::start()? })
    }
}

fn fault(failure: Failure) -> Fault {
    Fault::new(failure.text())
}

fn verdict(found: &Result<Option<String>, Fault>) -> String {
    let mut text = String::from("\na trial run, with one file hidden and one of two servers allowed\n");
    match found {
        Ok(untried) => {
            text.push_str("  ok: just what was granted could be reached\n");
            if let Some(untried) = untried {
                text.push_str(&format!("    note: {untried}\n"));
            }
        }
        Err(Fault { what, hint }) => {
            text.push_str(&format!("  failed: {}\n", escape_terminal(what)));
            if let Some(hint) = hint {
                text.push_str(&format!("    hint: {hint}\n"));
            }
            text.push_str("\na run is impossible here\n");
        }
    }
    text
}

/// A listener on loopback; the kernel accepts in its place.
struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address })
    }

    fn was_reached(&self) -> bool {
        self.listener.accept().is_ok()
    }

    /// Whether it was reported to be refused.
    fn is_among(&self, outcome: &Outcome) -> bool {
        outcome.denials.keys().any(|denied| match denied {
            Denied::Destination(destination) => destination.socket_addr() == self.address,
            _ => false,
        })
    }
}

/// What a supervisor needs to look into its command.
const LOOKING_INTO: &str = "something around may forbid to look into another process: a seccomp filter, or a /proc that does not show it";
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(landlock: u32) -> Kernel {
        Kernel { release: "6.1.0".to_owned(), landlock, ..Kernel::probe() }
    }

    #[test]
    fn a_kernel_without_landlock_is_told_what_to_do() {
        let abilities = kernel(0).abilities();
        let said = |lsm: Option<&str>| carriers(&abilities, lsm.map(|text| Lsm(text.to_owned())).as_ref());
        assert!(said(None).contains("hint: boot Linux 5.13 or later with Landlock"));
        assert!(said(Some("capability,apparmor\n")).contains("hint: boot with lsm=landlock"));
        assert!(said(Some("landlock,yama\n")).contains("hint: the kernel has Landlock, but"));
    }

    #[test]
    fn what_a_kernel_offers_is_told_in_columns() {
        let text = offers(&kernel(3));
        assert!(text.starts_with("this kernel, Linux 6.1.0 on "), "{text}");
        assert!(text.contains("\n  landlock  ") && text.contains("  version 3\n"), "{text}");
        assert!(text.contains("\n  --kernel-only  ") && text.ends_with("  no\n"), "{text}");
    }

    #[test]
    fn a_failed_trial_says_that_a_run_is_impossible() {
        let fault = Fault::with_hint("the filter cannot be installed", "do this");
        let text = verdict(&Err(fault));
        assert!(text.contains("  failed: the filter cannot be installed\n    hint: do this\n"), "{text}");
        assert!(text.ends_with("a run is impossible here\n"), "{text}");
        assert!(verdict(&Ok(None)).ends_with("could be reached\n"));
    }
}
