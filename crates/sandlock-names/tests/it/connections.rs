//! What programs may do to their connections, and to others.

use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::harness::{Harness, addresses, answered, local, question, wait};
use crate::names::{NameServer, Zone};

fn start() -> Harness {
    let server = NameServer::start();
    server.set("a.wild.test", Zone::addresses(["127.0.0.9"]));
    Harness::start(server, &["*.wild.test:443"], &[], local())
}

fn works(harness: &Harness) {
    assert_eq!(harness.connect().a("a.wild.test").addresses, addresses(&["127.0.0.9"]));
}

#[test]
fn an_announcement_may_come_after_its_connection_and_serves_only_that() {
    let harness = start();
    let mut late = harness.connect_unannounced();
    let mut never = harness.connect_unannounced();
    for program in [&mut late, &mut never] {
        program.send(&question(1, "a.wild.test", RecordType::A)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    let other = harness.connect();
    harness.service.announced(late.address());
    assert_eq!(answered(&late.receive().unwrap()).addresses, addresses(&["127.0.0.9"]));
    drop(other);
    assert_eq!(harness.server.count("a.wild.test"), 1);
}

#[test]
fn a_connection_that_nobody_announces_is_closed() {
    let harness = start();
    let mut never = harness.connect_unannounced();
    let start = Instant::now();
    never.send(&question(1, "a.wild.test", RecordType::A)).unwrap();
    never.send(&question(1, "a.wild.test", RecordType::A)).unwrap();
    never.end();
    // Half of the five seconds it waits, so that the test is short: nothing may be answered meanwhile.
    std::thread::sleep(Duration::from_millis(500));
    assert!(harness.server.asked().is_empty() && start.elapsed() < Duration::from_secs(5));
    works(&harness);
}

#[test]
fn the_257th_connection_is_closed_and_the_others_are_served() {
    let harness = start();
    let mut programs: Vec<_> = (0..256).map(|_| harness.connect()).collect();
    for program in &mut programs {
        assert_eq!(program.a("a.wild.test").code, ResponseCode::NoError);
    }
    let mut one_more = harness.connect();
    assert_eq!(one_more.receive(), None);
    assert_eq!(programs[255].a("a.wild.test").addresses, addresses(&["127.0.0.9"]));
    programs.truncate(100);
    wait("room again", || {
        let mut program = harness.connect();
        program.send(&question(1, "a.wild.test", RecordType::A)).is_ok() && program.receive().is_some()
    });
}

#[test]
fn nonsense_is_told_so_or_ends_its_connection_alone() {
    let harness = start();
    let mut program = harness.connect();
    program.send(&[9, 9, 1, 0, 0, 1]).unwrap();
    assert_eq!(answered(&program.receive().unwrap()).code, ResponseCode::FormErr);
    program.send(&[&[9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &[0xff; 300]].concat()).unwrap();
    assert_eq!(answered(&program.receive().unwrap()).code, ResponseCode::FormErr);
    assert_eq!(program.a("a.wild.test").code, ResponseCode::NoError, "the connection goes on");
    program.send(&[]).unwrap();
    assert_eq!(program.receive(), None);
    let mut program = harness.connect();
    let mut answer = question(1, "a.wild.test", RecordType::A);
    answer[2] |= 0x80;
    program.send(&answer).unwrap();
    assert_eq!(program.receive(), None);
    works(&harness);
}

#[test]
fn a_question_may_be_as_long_as_a_message_and_come_in_pieces() {
    let harness = start();
    let mut program = harness.connect();
    program.send_raw(&[0xff, 0xff]).unwrap();
    let root = [7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];
    program.send_raw(&[&root[..], &vec![0; 65535 - root.len()]].concat()).unwrap();
    assert_eq!(answered(&program.receive().unwrap()).code, ResponseCode::NXDomain, "of the root");
    let message = question(3, "a.wild.test", RecordType::A);
    let whole = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    for byte in &whole {
        program.send_raw(&[*byte]).unwrap();
    }
    assert_eq!(answered(&program.receive().unwrap()).addresses, addresses(&["127.0.0.9"]));
}

#[test]
fn thousands_of_questions_at_once_are_answered_in_order_and_others_have_their_turn() {
    let harness = start();
    works(&harness);
    let (mut busy, mut other) = (harness.connect(), harness.connect());
    let message = question(0, "a.wild.test", RecordType::A);
    let mut all = Vec::new();
    for id in 0..3000u16 {
        all.extend((message.len() as u16).to_be_bytes());
        all.extend(id.to_be_bytes());
        all.extend(&message[2..]);
    }
    std::thread::scope(|scope| {
        let mut sender = busy.another();
        scope.spawn(move || sender.send_raw(&all).unwrap());
        assert_eq!(other.a("a.wild.test").code, ResponseCode::NoError);
        for id in 0..3000u16 {
            assert_eq!(busy.receive().unwrap()[..2], id.to_be_bytes());
        }
    });
}

#[test]
fn a_program_that_never_reads_holds_up_nobody() {
    let harness = start();
    works(&harness);
    let deaf: Vec<_> = (0..2).map(|_| harness.connect()).collect();
    let message = question(0, "a.wild.test", RecordType::A);
    let one = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    let many = one.repeat(2000);
    for program in &deaf {
        let mut sender = program.another();
        sender.give_up_after(Duration::from_millis(100));
        while sender.send_raw(&many).is_ok() {}
    }
    works(&harness);
}

#[test]
fn dropping_the_service_ends_it_at_once_whatever_is_open() {
    let server = NameServer::start();
    server.set("slow.wild.test", Zone::silence());
    let harness = Harness::start(server, &["*.wild.test:443"], &[], local());
    let mut program = harness.connect();
    let _unannounced = harness.connect_unannounced();
    program.send(&question(1, "slow.wild.test", RecordType::A)).unwrap();
    wait("asked", || harness.server.count("slow.wild.test") == 1);
    let (address, start) = (harness.address, Instant::now());
    drop(harness);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(program.receive(), None);
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn what_programs_ask_for_at_once_is_bounded_and_leaves_room_for_the_rules() {
    let server = NameServer::start();
    for n in 0..60 {
        server.set(&format!("n{n}.wild.test"), Zone::silence());
    }
    server.set("api.test", Zone::addresses(["127.0.0.11"]).ttl(1));
    let harness = Harness::start(server, &["*.wild.test:443", "api.test:443"], &[], local());
    let mut programs: Vec<_> = (0..60).map(|_| harness.connect()).collect();
    for (n, program) in programs.iter_mut().enumerate() {
        program.send(&question(1, &format!("n{n}.wild.test"), RecordType::A)).unwrap();
    }
    let before = harness.server.count("api.test");
    wait("refreshed", || harness.server.count("api.test") > before);
    let names: std::collections::HashSet<_> = harness
        .server
        .asked()
        .into_iter()
        .filter(|asked| asked.name != "api.test")
        .map(|asked| asked.name)
        .collect();
    assert_eq!(names.len(), 24);
}
