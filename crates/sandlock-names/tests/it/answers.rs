//! What programs are answered, what goes upstream for it, and what is told.

use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use sandlock_names::{Happening, Resolution};
use sandlock_policy::{AnswerRefusal, Denied, NameRules};

use crate::harness::{Harness, Supervisor, addresses, answered, local, question, rules};
use crate::names::{NameServer, Zone};

const NOTHING: [std::net::IpAddr; 0] = [];

#[test]
fn a_name_under_a_domain_is_asked_for_and_told_before_it_is_answered() {
    let server = NameServer::start();
    server.set("a.wild.test", Zone::addresses(["127.0.0.9", "::1"]).ttl(77));
    let harness = Harness::start(server, &["*.wild.test:443"], &[], local());
    let mut program = harness.connect();
    let answer = program.a("a.wild.test");
    assert_eq!((answer.code, &answer.addresses), (ResponseCode::NoError, &addresses(&["127.0.0.9"])));
    assert!(answer.ttl == 77 || answer.ttl == 76, "{}", answer.ttl);
    assert_eq!(program.ask("a.wild.test", RecordType::AAAA).addresses, addresses(&["::1"]));
    let state = harness.state("a.wild.test").unwrap();
    assert_eq!(state.current, addresses(&["127.0.0.9", "::1"]));
    assert_eq!(harness.server.asked().len(), 2, "A and AAAA, once");
    assert!(harness.told(|told| told.happened.is_empty()));
}

#[test]
fn an_address_is_not_told_to_a_program_before_it_can_be_reached() {
    let server = NameServer::start();
    server.set("a.wild.test", Zone::addresses(["127.0.0.9"]));
    let delay = Duration::from_millis(1000);
    let harness =
        Harness::with(server, rules(&["*.wild.test:443"], &[]), local(), Supervisor::Enforces(delay));
    let start = Instant::now();
    assert_eq!(harness.connect().a("a.wild.test").addresses, addresses(&["127.0.0.9"]));
    assert!(start.elapsed() >= delay);
    let start = Instant::now();
    harness.connect().a("a.wild.test");
    assert!(start.elapsed() < delay, "what is known needs no order");
    assert_eq!(harness.told(|told| told.states.len()), 1);
}

#[test]
fn without_the_supervisor_there_is_no_answer_but_a_failure() {
    let server = NameServer::start();
    server.set("a.wild.test", Zone::addresses(["127.0.0.9"]));
    let harness = Harness::with(server, rules(&["*.wild.test:443"], &[]), local(), Supervisor::IsDead);
    let answer = harness.connect().a("a.wild.test");
    assert_eq!((answer.code, &answer.addresses[..]), (ResponseCode::ServFail, &NOTHING[..]));
}

#[test]
fn a_name_that_no_rule_grants_is_never_asked_for() {
    let server = NameServer::start();
    server.set("a.wild.test", Zone::addresses(["127.0.0.9"]));
    server.set("evil.test", Zone::addresses(["127.0.0.9"]));
    server.set("bad.wild.test", Zone::addresses(["127.0.0.9"]));
    let harness = Harness::start(server, &["*.wild.test:443"], &["bad.wild.test:*"], local());
    let asked_at_start = harness.server.asked().len();
    let mut program = harness.connect();
    for name in ["evil.test", "wild.test", "bad.wild.test", "a.wild.test.evil.test", "1.0.0.127.in-addr.arpa"]
    {
        let answer = program.a(name);
        assert_eq!((answer.code, &answer.addresses[..]), (ResponseCode::NXDomain, &NOTHING[..]), "{name}");
    }
    let mut dotted = question(1, "xx.wild.test", RecordType::A);
    dotted[14] = b'.';
    program.send(&dotted).unwrap();
    assert_eq!(answered(&program.receive().unwrap()).code, ResponseCode::NXDomain);
    for kind in [RecordType::TXT, RecordType::MX, RecordType::ANY, RecordType::HTTPS, RecordType::AXFR] {
        let answer = program.ask("a.wild.test", kind);
        assert_eq!((answer.code, &answer.addresses[..]), (ResponseCode::NoError, &NOTHING[..]), "{kind}");
    }
    assert_eq!(harness.server.asked().len(), asked_at_start);
    let told: Vec<_> = harness.told(|told| told.happened.clone());
    let refused = |name: &str, forbidden| Happening::Refused(Denied::Name { name: name.into(), forbidden });
    let expected = [
        refused("evil.test", false),
        refused("wild.test", false),
        refused("bad.wild.test", true),
        refused("a.wild.test.evil.test", false),
        refused("x\\..wild.test", false),
    ];
    assert_eq!(told, expected);
    assert_eq!(program.a("a.wild.test").addresses, addresses(&["127.0.0.9"]));
}

#[test]
fn answers_that_lead_to_this_machine_or_its_cloud_are_not_taken() {
    let server = NameServer::start();
    let how = NameRules { may_be_local: false, ..local() };
    server.set("local.wild.test", Zone::addresses(["127.0.0.1", "::1"]));
    server.set("cloud.wild.test", Zone::addresses(["169.254.169.254", "fd00:ec2::254"]));
    server.set("link.wild.test", Zone::addresses(["169.254.7.7"]));
    server.set("alias.wild.test", Zone::alias("cloud.wild.test"));
    let harness = Harness::start(server, &["*.wild.test:443"], &[], how);
    let mut program = harness.connect();
    for name in ["local.wild.test", "cloud.wild.test", "link.wild.test", "alias.wild.test"] {
        for kind in [RecordType::A, RecordType::AAAA] {
            assert_eq!(program.ask(name, kind).addresses, NOTHING, "{name}");
        }
    }
    assert!(harness.told(|told| told.states.is_empty()));
    let why = |name: &str| {
        harness.told(|told| {
            let of = |happening: &Happening| match happening {
                Happening::Refused(Denied::Answer { name: own, why, .. }) if own == name => Some(*why),
                _ => None,
            };
            told.happened.iter().filter_map(of).collect::<Vec<_>>()
        })
    };
    assert_eq!(why("local.wild.test"), [AnswerRefusal::Loopback; 2]);
    assert_eq!(why("cloud.wild.test"), [AnswerRefusal::Metadata; 2]);
    assert_eq!(why("link.wild.test"), [AnswerRefusal::LinkLocal]);
    assert_eq!(why("alias.wild.test"), [AnswerRefusal::Metadata; 2]);
}

#[test]
fn of_an_answer_only_what_may_be_taken_is() {
    let server = NameServer::start();
    server.set("a.wild.test", Zone::addresses(["127.0.0.9", "169.254.169.254", "0.0.0.0"]));
    let harness = Harness::start(server, &["*.wild.test:443"], &[], local());
    assert_eq!(harness.connect().a("a.wild.test").addresses, addresses(&["127.0.0.9"]));
    assert_eq!(harness.state("a.wild.test").unwrap().current, addresses(&["127.0.0.9"]));
}

#[test]
fn aliases_are_answered_with_their_way() {
    let server = NameServer::start();
    server.set("a.wild.test", Zone::alias("b.elsewhere.test"));
    server.set("b.elsewhere.test", Zone::alias_alone("c.elsewhere.test"));
    server.set("c.elsewhere.test", Zone::addresses(["127.0.0.9"]));
    let harness = Harness::start(server, &["*.wild.test:443"], &[], local());
    let mut program = harness.connect();
    let answer = program.a("A.wILd.test");
    assert_eq!(answer.links, ["b.elsewhere.test.", "c.elsewhere.test."]);
    assert_eq!(answer.addresses, addresses(&["127.0.0.9"]));
    assert_eq!(harness.state("a.wild.test").unwrap().current, addresses(&["127.0.0.9"]));
    assert!(harness.state("b.elsewhere.test").is_none());
    assert_eq!(program.a("c.elsewhere.test").code, ResponseCode::NXDomain);
}

#[test]
fn equal_questions_share_one_query() {
    let server = NameServer::start();
    server.set("a.wild.test", Zone::addresses(["127.0.0.9"]).after(Duration::from_millis(200)));
    let harness = Harness::start(server, &["*.wild.test:443"], &[], local());
    let mut programs: Vec<_> = (0..20).map(|_| harness.connect()).collect();
    for program in &mut programs {
        program.send(&question(1, "a.wild.test", RecordType::A)).unwrap();
    }
    for program in &mut programs {
        assert_eq!(answered(&program.receive().unwrap()).addresses, addresses(&["127.0.0.9"]));
    }
    assert_eq!(harness.server.count("a.wild.test"), 1);
}

#[test]
fn what_does_not_exist_is_not_asked_for_again_at_once() {
    let server = NameServer::start();
    server.set("empty.wild.test", Zone::code(0));
    let harness = Harness::start(server, &["*.wild.test:443"], &[], local());
    let mut program = harness.connect();
    for _ in 0..3 {
        assert_eq!(program.a("no.wild.test").code, ResponseCode::NXDomain);
        assert_eq!(program.ask("empty.wild.test", RecordType::AAAA).code, ResponseCode::NoError);
    }
    assert_eq!((harness.server.count("no.wild.test"), harness.server.count("empty.wild.test")), (1, 1));
    harness.server.set("no.wild.test", Zone::addresses(["127.0.0.9"]));
    std::thread::sleep(Duration::from_millis(1050));
    assert_eq!(program.a("no.wild.test").addresses, addresses(&["127.0.0.9"]));
}

#[test]
fn a_server_that_fails_is_a_failure_and_told_once() {
    let server = NameServer::start();
    server.set("a.wild.test", Zone::code(2));
    let harness = Harness::start(server, &["*.wild.test:443"], &[], local());
    let mut program = harness.connect();
    assert_eq!(program.a("a.wild.test").code, ResponseCode::ServFail);
    assert_eq!(program.a("a.wild.test").code, ResponseCode::ServFail);
    let told = harness.told(|told| told.happened.clone());
    assert!(matches!(&told[..], [Happening::NotRefreshed { name, .. }] if name == "a.wild.test"), "{told:?}");
}

#[test]
fn literal_names_are_answered_from_what_is_known() {
    let server = NameServer::start();
    server.set("api.test", Zone::addresses(["127.0.0.9"]));
    let harness = Harness::start(server, &["api.test:443", "localhost:80"], &[], local());
    let mut program = harness.connect();
    assert_eq!(program.a("API.test").addresses, addresses(&["127.0.0.9"]));
    assert_eq!(program.a("localhost").addresses, addresses(&["127.0.0.1"]));
    assert_eq!(harness.server.count("api.test"), 1);
    assert_eq!(harness.server.count("localhost"), 0);
    assert!(harness.told(|told| told.states.is_empty()));
}

#[test]
fn a_name_that_failed_at_the_start_is_a_failure_until_it_works() {
    let server = NameServer::start();
    let how = NameRules { may_fail: true, ..local() };
    let harness = Harness::from(
        server,
        rules(&["api.test:1"], &[]),
        how,
        Supervisor::Enforces(Duration::ZERO),
        Resolution::default(),
    );
    let mut program = harness.connect();
    assert_eq!(program.a("api.test").code, ResponseCode::ServFail);
    harness.server.set("api.test", Zone::addresses(["127.0.0.9"]));
    harness.wait("followed", |told| !told.states.is_empty());
    assert_eq!(program.a("api.test").addresses, addresses(&["127.0.0.9"]));
}

#[test]
fn an_alias_cannot_be_asked_for_more_than_the_rules_say() {
    let server = NameServer::start();
    server.set("a.wild.test", Zone::addresses(["127.0.0.9"]).beside("b.wild.test", "127.0.0.66"));
    let harness = Harness::start(server, &["*.wild.test:443"], &[], local());
    let mut program = harness.connect();
    assert_eq!(program.a("a.wild.test").addresses, addresses(&["127.0.0.9"]));
    assert_eq!(program.a("b.wild.test").code, ResponseCode::NXDomain);
    let seen =
        harness.told(|told| told.states.iter().any(|state| state.current == addresses(&["127.0.0.66"])));
    assert!(!seen);
}
