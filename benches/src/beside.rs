//! What a thread that hangs in a trapped call costs the calls of another: the same program in two sandboxes, alone and
//! beside one that hangs.

use std::io::Write;
use std::net::SocketAddr;

use crate::measure::{ROUNDS, figure, median, sandboxed};
use crate::servers::{closing_server, deaf_server, full_listener, udp_server};

/// Measures the cases whose name contains `filter`.
pub(crate) fn measure(filter: &str) {
    let full = full_listener();
    let cases = [
        ("connect-beside-hung-connect", "connect", closing_server(), full.as_ref().map(|(to, _)| *to)),
        ("sendto-beside-hung-connect", "udp-sendto", udp_server(), full.as_ref().map(|(to, _)| *to)),
        ("sendto-beside-full-socket", "udp-sendto", udp_server(), deaf_server()),
    ];
    for (name, program, to, hangs_at) in cases {
        if let (Some(to), Some(hangs_at)) = (to, hangs_at)
            && name.contains(filter)
        {
            compare(name, program, to, hangs_at);
        }
    }
}

fn compare(name: &str, program: &str, to: SocketAddr, hangs_at: SocketAddr) {
    // All are run with the same rules, so that the same calls are trapped.
    let rules = [to.to_string(), format!("udp://{to}"), hangs_at.to_string()];
    let hanging = name.rsplit_once("beside-").map_or("", |(_, what)| what);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.extend(figure(&mut sandboxed(&rules, program, &[to])));
        beside.extend(figure(sandboxed(&rules, program, &[to, hangs_at]).arg(hanging)));
    }
    let (alone, beside) = (median(&mut alone), median(&mut beside));
    let ratio = beside / alone;
    let verdict = if ratio <= 1.1 { "" } else { "  OVER" };
    let _ = writeln!(
        std::io::stdout(),
        "{name:<28} alone {alone:>7.0} ns  beside {beside:>7.0} ns  ratio {ratio:>5.2}  (at most 1.1){verdict}"
    );
}
