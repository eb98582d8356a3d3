//! What it costs a program to look up a name by the C library: one that the rules spell out, in the hosts file that it is
//! served, and one under a domain, of the run's resolver, which knows it already.

use std::io::Write;

use crate::measure::{ROUNDS, figure, median};
use crate::name_server::{NameServer, Zone};

/// Measures the cases whose name contains `filter`.
pub(crate) fn measure(filter: &str) {
    let names = NameServer::start();
    names.set("api.test", Zone::addresses(["127.0.0.1"]));
    names.set("one.wild.test", Zone::addresses(["127.0.0.1"]));
    for (case, name) in [("lookup-in-hosts", "api.test"), ("lookup-by-resolver", "one.wild.test")] {
        if !case.contains(filter) {
            continue;
        }
        let mut figures: Vec<f64> = (0..ROUNDS).filter_map(|_| figure(&mut look_up(&names, name))).collect();
        let microseconds = median(&mut figures) / 1000.0;
        let verdict = if microseconds <= 300.0 { "" } else { "  OVER" };
        let _ = writeln!(
            std::io::stdout(),
            "{case:<20} sandboxed {microseconds:>7.0} us  (at most 300){verdict}"
        );
    }
}

fn look_up(names: &NameServer, name: &str) -> std::process::Command {
    let mut command = std::process::Command::new(crate::start::sandlock());
    command.args([
        "run",
        "--net-allow",
        "api.test:9",
        "--net-allow",
        "*.wild.test:9",
        "--names-may-be-local",
    ]);
    command.args(["--resolver", &names.address().to_string(), "--"]);
    command.arg(std::env::current_exe().unwrap_or_default()).args(["--program", "lookup", name]);
    command
}
