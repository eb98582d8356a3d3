//! How long a program waits for a name that is known, without a sandbox around it: `cargo bench -p sandlock-names`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench shows numbers, and may fail loudly"
)]

#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/lab/server/names.rs"]
mod names;

#[allow(dead_code)]
#[path = "../tests/it/harness.rs"]
mod harness;

use std::time::{Duration, Instant};

const ROUNDS: usize = 5000;

fn main() {
    let server = names::NameServer::start();
    server.set("a.wild.test", names::Zone::addresses(["127.0.0.9"]));
    let harness = harness::Harness::start(server, &["*.wild.test:443"], &[], harness::local());
    let mut open = harness.connect();
    measure("open connection", || drop(open.a("a.wild.test")));
    measure("new connection", || drop(harness.connect().a("a.wild.test")));
}

fn measure(what: &str, mut lookup: impl FnMut()) {
    lookup();
    let mut one = || {
        let start = Instant::now();
        lookup();
        start.elapsed()
    };
    let mut times: Vec<Duration> = std::iter::repeat_with(&mut one).take(ROUNDS).collect();
    times.sort();
    println!("known name, {what}: median {:?}, 99% within {:?}", times[ROUNDS / 2], times[ROUNDS * 99 / 100]);
}
