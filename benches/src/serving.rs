//! What a server costs inside: to bind, listen and accept, by each of the ways in which a bind can be looked at, and to be
//! connected to by its own run in a port space.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use crate::measure::{ROUNDS, figure, median, program, sandboxed_by};

/// A way to run a program that serves.
struct Case {
    name: &'static str,
    program: &'static str,
    /// `PORT` stands for the port.
    flags: &'static [&'static str],
    /// How many microseconds more than bare.
    most: f64,
}

const CASES: &[Case] = &[
    // Looked at, and left to the kernel.
    case("serve-by-landlock", "serve", &["--net-allow-bind", "PORT"]),
    // A UDP socket could be there, which Landlock does not look at.
    case("serve-on-behalf", "serve", &["--net-allow-bind", "PORT", "--net-allow-bind", "udp://PORT"]),
    case("serve-in-port-space", "serve", &["--port-remap", "--net-allow-bind", "PORT"]),
    case("connect-to-own", "connect-to-own", &["--net-allow-bind", "PORT", "--net-allow", "127.0.0.1:PORT"]),
    case("connect-in-port-space", "connect-to-own", &["--port-remap", "--net-allow-bind", "PORT"]),
];

const fn case(name: &'static str, program: &'static str, flags: &'static [&'static str]) -> Case {
    Case { name, program, flags, most: 25.0 }
}

/// Measures the cases whose name contains `filter`.
pub(crate) fn measure(filter: &str) {
    for case in CASES.iter().filter(|case| case.name.contains(filter)) {
        let Some(at) = free_address() else { continue };
        let flags: Vec<String> =
            case.flags.iter().map(|flag| flag.replace("PORT", &at.port().to_string())).collect();
        let (mut bare, mut inside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.extend(figure(&mut program(case.program, Some(at))));
            inside.extend(figure(&mut sandboxed_by(&flags, case.program, &[at])));
        }
        let (bare, inside) = (median(&mut bare) / 1000.0, median(&mut inside) / 1000.0);
        let more = inside - bare;
        let verdict = if more <= case.most { "" } else { "  OVER" };
        let _ = writeln!(
            std::io::stdout(),
            "{:<24} bare {bare:>6.1} us  sandboxed {inside:>6.1} us  more {more:>5.1} us  (at most {}){verdict}",
            case.name,
            case.most,
        );
    }
}

/// Of a port that nobody has just now.
fn free_address() -> Option<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()
}
