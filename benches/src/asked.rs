//! What a question costs that is answered at once: the same program under a program that embeds the library, which is
//! asked about every destination, or not.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};

use sandlock_core::{Decisions, Ending, Options, Plan, Policy, Verdict};

use crate::measure::{ROUNDS, figure, median};
use crate::servers::{closing_server, udp_server};

/// Measures the cases whose name contains `filter`.
pub(crate) fn measure(filter: &str) {
    for (name, program, to, most) in [
        ("connect-asked", "connect", closing_server(), 30_000.0),
        ("sendto-asked", "udp-sendto", udp_server(), 30_000.0),
    ] {
        let Some(to) = to.filter(|_| name.contains(filter)) else { continue };
        let (mut rules, mut asked) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            rules.extend(figure(&mut embedded("rules", program, to)));
            asked.extend(figure(&mut embedded("asked", program, to)));
        }
        let (rules, asked) = (median(&mut rules), median(&mut asked));
        let more = asked - rules;
        let verdict = if more <= most { "" } else { "  OVER" };
        let _ = writeln!(
            std::io::stdout(),
            "{name:<20} by rules {rules:>7.0} ns  asked {asked:>7.0} ns  more {more:>6.0} ns  (at most {most}){verdict}"
        );
    }
}

fn embedded(how: &str, program: &str, to: SocketAddr) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap_or_default());
    command.args(["--program", "embed", "-", how, program]).arg(to.to_string());
    command
}

/// `embed - HOW PROGRAM ADDRESS`: a program that embeds the library and runs another.
pub(crate) fn embed(words: &[String]) -> ExitCode {
    let [_, _, how, program, to] = words else { return ExitCode::from(2) };
    let Ok(this) = std::env::current_exe() else { return ExitCode::from(2) };
    let rule = if program.starts_with("udp") { format!("udp://{to}") } else { to.clone() };
    let Ok(policy) = Policy::new().allow(&rule) else { return ExitCode::from(2) };
    let policy = this.parent().into_iter().fold(policy, Policy::read);
    let command = [&*this.to_string_lossy(), "--program", program, to].map(str::to_owned);
    let mut options = Options::new(policy, command);
    if how == "asked" {
        options = options.on_decision(Decisions::new(|_, _| Verdict::AllowOnce));
    }
    let ran = Plan::new(options).map_err(|error| error.to_string());
    let ran =
        ran.and_then(|plan| plan.launch().and_then(|mut run| run.wait(|_| {})).map_err(|e| e.to_string()));
    match ran {
        Ok(outcome) if outcome.ending == Ending::Exited(0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
