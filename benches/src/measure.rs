//! Runs each program bare and sandboxed, in turns, and prints both and their ratio.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::servers::{closing_server, tcp_server, udp_server};

/// A program, and the rules under which it runs.
struct Case {
    program: &'static str,
    server: Server,
    /// The most that the ratio should be.
    target: f64,
}

enum Server {
    None,
    /// Accepts and closes.
    Closing,
    /// Echoes.
    Tcp,
    Udp,
}

const CASES: &[Case] = &[
    Case { program: "connect", server: Server::Closing, target: 2.0 },
    Case { program: "tcp-write", server: Server::Tcp, target: 1.1 },
    Case { program: "tcp-sendmsg", server: Server::Tcp, target: 1.1 },
    Case { program: "tcp-echo", server: Server::Tcp, target: 1.1 },
    Case { program: "udp-sendto", server: Server::Udp, target: 5.0 },
    Case { program: "udp-sendmsg", server: Server::Udp, target: 6.0 },
    Case { program: "udp-sendmmsg", server: Server::Udp, target: 2.5 },
    Case { program: "udp-send-connected", server: Server::Udp, target: 1.1 },
    Case { program: "open-close", server: Server::None, target: 1.1 },
    Case { program: "stat", server: Server::None, target: 1.1 },
    Case { program: "getpid", server: Server::None, target: 1.3 },
    Case { program: "fork-exec", server: Server::None, target: 1.1 },
];

/// Measures the cases whose name contains `filter`.
pub(crate) fn measure(filter: &str) {
    for case in CASES.iter().filter(|case| case.program.contains(filter)) {
        let (address, rule) = match case.server {
            Server::Closing => closing_server().map(|to| (Some(to), format!("{to}"))).unwrap_or_default(),
            Server::Tcp => tcp_server().map(|to| (Some(to), format!("{to}"))).unwrap_or_default(),
            Server::Udp => udp_server().map(|to| (Some(to), format!("udp://{to}"))).unwrap_or_default(),
            Server::None => (None, "127.0.0.1:9".to_owned()),
        };
        let mut bare = Vec::new();
        let mut sandboxed = Vec::new();
        for _ in 0..ROUNDS {
            bare.extend(figure(&mut program(case.program, address)));
            sandboxed.extend(figure(&mut in_sandbox(&rule, case.program, address)));
        }
        print(case, median(&mut bare), median(&mut sandboxed));
    }
}

fn print(case: &Case, bare: f64, sandboxed: f64) {
    let ratio = sandboxed / bare;
    let verdict = if ratio <= case.target { "" } else { "  OVER" };
    let _ = writeln!(
        std::io::stdout(),
        "{:<20} bare {:>9.0} ns  sandboxed {:>9.0} ns  ratio {:>5.2}  (at most {}){verdict}",
        case.program,
        bare,
        sandboxed,
        ratio,
        case.target
    );
}

fn this() -> PathBuf {
    std::env::current_exe().unwrap_or_default()
}

fn program(name: &str, address: Option<SocketAddr>) -> Command {
    let mut command = Command::new(this());
    command.arg("--program").arg(name).args(address.map(|address| address.to_string()));
    command
}

fn in_sandbox(rule: &str, name: &str, address: Option<SocketAddr>) -> Command {
    sandboxed(&[rule.to_owned()], name, address.as_slice())
}

/// A program in a sandbox with these rules.
pub(crate) fn sandboxed(rules: &[String], name: &str, addresses: &[SocketAddr]) -> Command {
    let mut command = Command::new(crate::start::sandlock());
    command.arg("run").args(rules.iter().flat_map(|rule| ["--net-allow", rule])).arg("--").arg(this());
    command.arg("--program").arg(name).args(addresses.iter().map(SocketAddr::to_string));
    command
}

/// What a program prints.
pub(crate) fn figure(command: &mut Command) -> Option<f64> {
    let output = command.stderr(Stdio::inherit()).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) const ROUNDS: usize = 5;
