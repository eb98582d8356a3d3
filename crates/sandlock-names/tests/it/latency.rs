//! How long a program waits for a name that is known. Nothing is asserted: `cargo test --release -- --ignored
//! --nocapture` shows the numbers.

use std::time::{Duration, Instant};

use crate::harness::{Harness, local};
use crate::names::{NameServer, Zone};

#[test]
#[ignore = "a measurement"]
fn a_known_name() {
    let server = NameServer::start();
    server.set("a.wild.test", Zone::addresses(["127.0.0.9"]));
    let harness = Harness::start(server, &["*.wild.test:443"], &[], local());
    let mut program = harness.connect();
    program.a("a.wild.test");
    let mut open: Vec<Duration> = (0..2000)
        .map(|_| {
            let start = Instant::now();
            program.a("a.wild.test");
            start.elapsed()
        })
        .collect();
    let mut new: Vec<Duration> = (0..2000)
        .map(|_| {
            let start = Instant::now();
            harness.connect().a("a.wild.test");
            start.elapsed()
        })
        .collect();
    for (what, times) in [("open", &mut open), ("new", &mut new)] {
        times.sort();
        println!("{what}: median {:?}, 99th percentile {:?}", times[1000], times[1980]);
    }
}
