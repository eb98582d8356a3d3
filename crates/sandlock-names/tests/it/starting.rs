//! Names are resolved before a run, through whatever the server does.

use std::error::Error;
use std::time::{Duration, Instant, SystemTime};

use sandlock_names::{Happening, Resolution, ResolveError, Upstream, resolve};
use sandlock_policy::{AnswerRefusal, Denied, NameRules, NetworkRules};

use crate::harness::{PATIENCE, addresses, local, rules};
use crate::names::{NameServer, Zone};

fn ask(server: &NameServer, allow: &[&str], how: NameRules) -> Result<Resolution, ResolveError> {
    resolve(&rules(allow, &[]), &how, &Upstream::server(server.address()), PATIENCE)
}

fn of(zone: Zone) -> Result<Vec<std::net::IpAddr>, String> {
    let server = NameServer::start();
    server.set("a.test", zone);
    server.set("target.test", Zone::addresses(["127.0.0.9"]));
    match ask(&server, &["a.test:443"], local()) {
        Ok(resolution) => Ok(resolution.names.addresses("a.test").to_vec()),
        Err(error) => Err(error.source().map_or_else(|| error.to_string(), ToString::to_string)),
    }
}

#[test]
fn names_are_resolved_with_how_long_they_hold() {
    let server = NameServer::start();
    server.set("a.test", Zone::addresses(["127.0.0.9", "::1"]).ttl(100));
    server.set("year.test", Zone::addresses(["127.0.0.9"]).ttl(31_536_000));
    let resolution =
        ask(&server, &["A.test:443", "year.test:1", "localhost:1", "*.wild.test:1"], local()).unwrap();
    assert_eq!(resolution.names.addresses("a.test"), addresses(&["127.0.0.9", "::1"]));
    assert_eq!(resolution.names.addresses("localhost"), addresses(&["127.0.0.1", "::1"]));
    let left = |name: &str| resolution.until[name].duration_since(SystemTime::now()).unwrap();
    assert!((90..=100).contains(&left("a.test").as_secs()));
    assert!((3590..=3600).contains(&left("year.test").as_secs()));
    assert!(resolution.happened.is_empty() && !resolution.until.contains_key("wild.test"));
}

#[test]
fn without_names_nothing_is_asked() {
    let server = NameServer::start();
    let resolution = ask(&server, &["1.2.3.4:80", ":443", "*.a.test:443", "icmp://[::1]"], local()).unwrap();
    assert!(resolution.names.names().next().is_none() && server.asked().is_empty());
    resolve(&NetworkRules::default(), &local(), &Upstream::system(), Duration::ZERO).unwrap();
}

#[test]
fn sixteen_aliases_are_followed_and_not_one_more() {
    for alone in [false, true] {
        let alias = |n: u32| {
            let target = format!("n{n}.test");
            if alone { Zone::alias_alone(&target) } else { Zone::alias(&target) }
        };
        let server = NameServer::start();
        for n in 0..17 {
            server.set(&format!("n{n}.test"), alias(n + 1));
        }
        server.set("n17.test", Zone::addresses(["127.0.0.9"]));
        let resolution = ask(&server, &["n1.test:1"], local()).unwrap();
        assert_eq!(resolution.names.addresses("n1.test"), addresses(&["127.0.0.9"]));
        let error = ask(&server, &["n0.test:1"], local()).unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "it leads through too many other names");
    }
    assert!(of(Zone::alias("a.test")).is_err(), "a circle");
}

#[test]
fn an_alias_to_nothing_is_nothing() {
    assert_eq!(of(Zone::alias("missing.test")), Err("there is no such name".into()));
    assert_eq!(of(Zone::alias_alone("missing.test")), Err("there is no such name".into()));
    assert_eq!(of(Zone::alias_alone("target.test")), Ok(addresses(&["127.0.0.9"])));
    assert_eq!(of(Zone::code(0)), Err("it has no address".into()));
    assert_eq!(of(Zone::code(3)), Err("there is no such name".into()));
}

#[test]
fn what_is_too_long_is_asked_for_over_tcp() {
    let server = NameServer::start();
    server.set("a.test", Zone::addresses(["127.0.0.9"]).truncated());
    let resolution = ask(&server, &["a.test:443"], local()).unwrap();
    assert_eq!(resolution.names.addresses("a.test"), addresses(&["127.0.0.9"]));
    assert!(server.asked().iter().any(|asked| asked.tcp));
    let many = of(Zone::many(2000).truncated()).unwrap();
    assert_eq!(many.len(), 64, "bounded, whatever comes");
}

#[test]
fn what_answers_something_else_is_not_listened_to() {
    for zone in [
        Zone::addresses(["127.0.0.9"]).wrong_id(),
        Zone::addresses(["127.0.0.9"]).wrong_question(),
        Zone::bytes([0x84, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0]),
        Zone::bytes([]),
    ] {
        let server = NameServer::start();
        server.set("a.test", zone);
        let start = Instant::now();
        let limit = Duration::from_millis(400);
        let error = resolve(&rules(&["a.test:1"], &[]), &local(), &Upstream::server(server.address()), limit);
        assert!(matches!(error, Err(ResolveError::TimedOut { .. })));
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn records_beside_the_way_are_ignored() {
    let beside = Zone::addresses(["127.0.0.9"]).beside("other.test", "127.0.0.66");
    assert_eq!(of(beside), Ok(addresses(&["127.0.0.9"])));
    assert_eq!(of(Zone::code(0).beside("other.test", "127.0.0.66")), Err("it has no address".into()));
}

#[test]
fn a_server_that_is_lost_once_is_asked_again() {
    let server = NameServer::start();
    server.set("a.test", Zone::silence());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            crate::harness::wait("asked", || !server.asked().is_empty());
            server.set("a.test", Zone::addresses(["127.0.0.9"]));
        });
        let resolution = ask(&server, &["a.test:443"], local()).unwrap();
        assert_eq!(resolution.names.addresses("a.test"), addresses(&["127.0.0.9"]));
    });
}

#[test]
fn names_are_resolved_at_the_same_time() {
    let server = NameServer::start();
    let names: Vec<_> = (0..20).map(|n| format!("n{n}.test")).collect();
    for name in &names {
        server.set(name, Zone::addresses(["127.0.0.9"]).after(Duration::from_millis(200)));
    }
    let specs: Vec<_> = names.iter().map(|name| format!("{name}:1")).collect();
    let start = Instant::now();
    let specs: Vec<_> = specs.iter().map(String::as_str).collect();
    assert_eq!(ask(&server, &specs, local()).unwrap().names.names().count(), 20);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn of_several_failures_the_first_rule_is_told() {
    let server = NameServer::start();
    server.set("a.test", Zone::code(2).after(Duration::from_millis(50)));
    let error = ask(&server, &["A.test: 1", "b.test:1"], local()).unwrap_err();
    assert_eq!(error.to_string(), r#"--net-allow "A.test: 1": the name a.test does not resolve"#);
    assert!(error.source().is_some());
}

#[test]
fn a_name_that_stands_only_for_what_it_may_not_stops_the_run_and_says_why() {
    let server = NameServer::start();
    server.set("a.test", Zone::addresses(["127.0.0.9"]));
    let how = NameRules { may_be_local: false, ..local() };
    let error = ask(&server, &["a.test:443"], how).unwrap_err();
    let ResolveError::Refused { denied, .. } = &error else { panic!("{error:?}") };
    let why = AnswerRefusal::Loopback;
    let answer = Denied::Answer { name: "a.test".into(), address: "127.0.0.9".parse().unwrap(), why };
    assert_eq!(**denied, answer);
    assert!(error.to_string().contains("--names-may-be-local"), "{error}");
    let resolution = ask(&server, &["a.test:443"], NameRules { may_fail: true, ..how }).unwrap();
    assert!(resolution.names.names().next().is_none());
    assert_eq!(resolution.happened.len(), 2);
    assert_eq!(resolution.happened[0], Happening::Refused(answer));
}
