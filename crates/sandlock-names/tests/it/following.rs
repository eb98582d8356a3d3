//! Names of the rules are followed while the run lasts.

use std::time::{Duration, Instant};

use sandlock_names::Happening;
use sandlock_policy::{Denied, NameRules};

use crate::harness::{Harness, addresses, local, wait};
use crate::names::{NameServer, Zone};

fn start(how: NameRules, allow: &[&str], deny: &[&str]) -> Harness {
    let server = NameServer::start();
    server.set("api.test", Zone::addresses(["127.0.0.11"]).ttl(1));
    Harness::start(server, allow, deny, how)
}

#[test]
fn a_rotating_address_is_followed_and_the_old_one_retires_after_its_grace() {
    let harness = start(local(), &["api.test:443"], &[]);
    let start = Instant::now();
    harness.server.set("api.test", Zone::addresses(["127.0.0.12"]).ttl(1));
    harness.wait("followed", |told| !told.states.is_empty());
    let first = harness.told(|told| told.states[0].clone());
    assert_eq!(first.current, addresses(&["127.0.0.12"]));
    assert_eq!(first.retiring, addresses(&["127.0.0.11"]));
    harness.wait("dropped", |told| told.states.len() > 1);
    assert!(start.elapsed() >= Duration::from_millis(250));
    let last = harness.state("api.test").unwrap();
    assert_eq!((last.current, last.retiring), (addresses(&["127.0.0.12"]), vec![]));
    assert!(harness.told(|told| told.happened.is_empty()));
}

#[test]
fn what_is_pinned_is_not_asked_for_again() {
    let harness = start(NameRules { pinned: true, ..local() }, &["api.test:443"], &[]);
    harness.server.set("api.test", Zone::addresses(["127.0.0.12"]).ttl(1));
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!(harness.connect().a("api.test").addresses, addresses(&["127.0.0.11"]));
    assert_eq!(harness.server.count("api.test"), 1);
}

#[test]
fn the_last_good_answer_is_kept_and_the_failure_told_once() {
    let harness = start(local(), &["api.test:443"], &[]);
    harness.server.set("api.test", Zone::code(2));
    harness.wait("told", |told| !told.happened.is_empty());
    wait("tried again after a second", || harness.server.count("api.test") >= 3);
    let told = harness.told(|told| (told.happened.clone(), told.states.clone()));
    assert!(matches!(&told.0[..], [Happening::NotRefreshed { name, .. }] if name == "api.test"), "{told:?}");
    assert!(told.1.is_empty());
    assert_eq!(harness.connect().a("api.test").addresses, addresses(&["127.0.0.11"]));
}

#[test]
fn a_name_that_vanishes_keeps_its_last_good_answer() {
    let harness = start(local(), &["api.test:443"], &[]);
    harness.server.set("api.test", Zone::code(3));
    harness.wait("told", |told| !told.happened.is_empty());
    assert_eq!(harness.connect().a("api.test").addresses, addresses(&["127.0.0.11"]));
}

#[test]
fn denied_names_are_followed_and_keep_all_their_addresses() {
    let harness = start(local(), &["127.0.0.0/8:443"], &["api.test:443"]);
    harness.server.set("api.test", Zone::addresses(["127.0.0.12"]).ttl(1));
    harness.wait("followed", |told| !told.states.is_empty());
    // Longer than the grace of others.
    std::thread::sleep(Duration::from_millis(500));
    let state = harness.state("api.test").unwrap();
    assert_eq!((state.current, state.retiring), (addresses(&["127.0.0.12"]), addresses(&["127.0.0.11"])));
}

#[test]
fn rebinding_while_the_run_lasts_is_refused_told_once_and_changes_nothing() {
    let harness = start(local(), &["api.test:443"], &[]);
    harness.server.set("api.test", Zone::addresses(["169.254.169.254"]).ttl(1));
    wait("tried twice", || harness.server.count("api.test") >= 3);
    let told = harness.told(|told| told.happened.clone());
    let refused = |happening: &&Happening| matches!(happening, Happening::Refused(Denied::Answer { .. }));
    assert_eq!(told.iter().filter(refused).count(), 1, "{told:?}");
    assert!(harness.told(|told| told.states.is_empty()));
    assert_eq!(harness.connect().a("api.test").addresses, addresses(&["127.0.0.11"]));
}

#[test]
fn an_answer_that_holds_for_no_time_is_asked_for_once_a_second() {
    let server = NameServer::start();
    server.set("api.test", Zone::addresses(["127.0.0.11"]).ttl(0));
    let start = Instant::now();
    let harness = Harness::start(server, &["api.test:443"], &[], local());
    wait("asked again", || harness.server.count("api.test") >= 2);
    let count = harness.server.count("api.test") as u64;
    assert!(count <= start.elapsed().as_secs() + 2, "{count} in {:?}", start.elapsed());
}

#[test]
fn a_learned_name_moves_with_its_answers() {
    let server = NameServer::start();
    server.set("a.wild.test", Zone::addresses(["127.0.0.11"]).ttl(1));
    let harness = Harness::start(server, &["*.wild.test:443"], &[], local());
    let mut program = harness.connect();
    assert_eq!(program.a("a.wild.test").addresses, addresses(&["127.0.0.11"]));
    harness.server.set("a.wild.test", Zone::addresses(["127.0.0.12"]).ttl(1));
    std::thread::sleep(Duration::from_millis(1050));
    assert_eq!(program.a("a.wild.test").addresses, addresses(&["127.0.0.12"]));
    harness.wait("the old one is dropped", |told| {
        told.states
            .last()
            .is_some_and(|state| state.retiring.is_empty() && state.current == addresses(&["127.0.0.12"]))
    });
    harness.server.set("a.wild.test", Zone::code(2));
    std::thread::sleep(Duration::from_millis(1050));
    assert_eq!(program.a("a.wild.test").addresses, addresses(&["127.0.0.12"]), "the last good answer");
    harness.server.set("a.wild.test", Zone::code(3));
    assert!(program.a("a.wild.test").addresses.is_empty());
    harness.wait("nothing is left", |told| {
        told.states.last().is_some_and(|state| state.retiring.is_empty() && state.current.is_empty())
    });
}
