//! Runs each program bare and sandboxed, in turns, and prints both and their ratio.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::servers::{closing_server, tcp_server, udp_server};

/// A program, and the rules under which it runs.
struct Case {
    name: &'static str,
    program: &'static str,
    server: Server,
    target: Most,
}

/// What the sandbox may cost at most.
enum Most {
    /// This many times the bare figure.
    Times(f64),
    /// This many nanoseconds more.
    More(f64),
}

enum Server {
    /// Nobody is called, under this rule.
    None(&'static str),
    /// Accepts and closes.
    Closing,
    /// Echoes.
    Tcp,
    Udp,
}

const CASES: &[Case] = &[
    case("connect", "connect", Server::Closing, Most::Times(2.0)),
    case("tcp-write", "tcp-write", Server::Tcp, Most::Times(1.1)),
    case("tcp-sendmsg", "tcp-sendmsg", Server::Tcp, Most::Times(1.1)),
    case("tcp-echo", "tcp-echo", Server::Tcp, Most::Times(1.1)),
    case("udp-sendto", "udp-sendto", Server::Udp, Most::Times(5.0)),
    case("udp-sendmsg", "udp-sendmsg", Server::Udp, Most::Times(6.0)),
    case("udp-sendmmsg", "udp-sendmmsg", Server::Udp, Most::Times(2.5)),
    case("udp-send-connected", "udp-send-connected", Server::Udp, Most::Times(1.1)),
    case("open-close", "open-close", Server::None(AN_ADDRESS), Most::Times(1.1)),
    case("open-close-names", "open-close", Server::None(A_NAME), Most::More(8000.0)),
    case("open-close-own", "open-close-own", Server::None(A_NAME), Most::More(14000.0)),
    case("open-close-proc", "open-close-proc", Server::None(A_NAME), Most::More(60_000.0)),
    case("read-proc-net", "read-proc-net", Server::None(A_NAME), Most::More(2_000_000.0)),
    case("stat", "stat", Server::None(AN_ADDRESS), Most::Times(1.1)),
    case("getpid", "getpid", Server::None(AN_ADDRESS), Most::Times(1.3)),
    case("fork-exec", "fork-exec", Server::None(AN_ADDRESS), Most::Times(1.1)),
];

const fn case(name: &'static str, program: &'static str, server: Server, target: Most) -> Case {
    Case { name, program, server, target }
}

/// Measures the cases whose name contains `filter`.
pub(crate) fn measure(filter: &str) {
    for case in CASES.iter().filter(|case| case.name.contains(filter)) {
        let (address, rule) = match case.server {
            Server::Closing => closing_server().map(|to| (Some(to), format!("{to}"))).unwrap_or_default(),
            Server::Tcp => tcp_server().map(|to| (Some(to), format!("{to}"))).unwrap_or_default(),
            Server::Udp => udp_server().map(|to| (Some(to), format!("udp://{to}"))).unwrap_or_default(),
            Server::None(rule) => (None, rule.to_owned()),
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
    let (ratio, more) = (sandboxed / bare, sandboxed - bare);
    let (kept, target) = match case.target {
        Most::Times(most) => (ratio <= most, format!("{most} times")),
        Most::More(most) => (more <= most, format!("{most} ns more")),
    };
    let verdict = if kept { "" } else { "  OVER" };
    let _ = writeln!(
        std::io::stdout(),
        "{:<20} bare {bare:>9.0} ns  sandboxed {sandboxed:>9.0} ns  ratio {ratio:>5.2}  more {more:>6.0} ns  (at most {target}){verdict}",
        case.name,
    );
}

fn this() -> PathBuf {
    std::env::current_exe().unwrap_or_default()
}

/// A program as it is.
pub(crate) fn program(name: &str, address: Option<SocketAddr>) -> Command {
    let mut command = Command::new(this());
    command.arg("--program").arg(name).args(address.map(|address| address.to_string()));
    command
}

fn in_sandbox(rule: &str, name: &str, address: Option<SocketAddr>) -> Command {
    sandboxed(&[rule.to_owned()], name, address.as_slice())
}

/// A program in a sandbox with these rules.
pub(crate) fn sandboxed(rules: &[String], name: &str, addresses: &[SocketAddr]) -> Command {
    let flags: Vec<_> = rules.iter().flat_map(|rule| ["--net-allow".to_owned(), rule.clone()]).collect();
    sandboxed_by(&flags, name, addresses)
}

/// A program in a sandbox with these flags.
pub(crate) fn sandboxed_by(flags: &[String], name: &str, addresses: &[SocketAddr]) -> Command {
    let mut command = Command::new(crate::start::sandlock());
    command.arg("run").args(flags).arg("--").arg(this());
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
const AN_ADDRESS: &str = "127.0.0.1:9";
/// With one, whoever opens a file to read it is looked at.
const A_NAME: &str = "localhost:9";
