//! A UDP socket that was inherited was never made inside, so no rule stood at its cradle: its sends are judged by
//! where they go, like all others.

use std::net::{SocketAddr, UdpSocket};

use lab::{Args, Errno, Lab, UdpServer, raw, report, shown};

use lab::message::{entry, header, part, sendmmsg, sendmsg, sendto};

lab::suite! {
    tests: [its_sends_are_judged, without_rules_it_sends_nowhere, a_connected_one_sends_to_its_peer],
    programs: [inherited],
}

const CALLS: [&str; 5] = ["sendto", "sendmsg", "sendmmsg", "connect", "write"];
/// Standard input, and one given by `--pass-fd`.
const NUMBERS: [i32; 2] = [0, 7];

fn run(
    lab: &Lab,
    sandboxed: bool,
    number: i32,
    socket: UdpSocket,
    rules: &[String],
    to: &UdpServer,
) -> lab::Output {
    let mut run = if sandboxed { lab.sandbox() } else { lab.bare() };
    if sandboxed && number > 2 {
        run = run.option("--pass-fd").option(number.to_string());
    }
    let run = rules.iter().fold(run, |run, rule| run.allow(rule)).descriptor(number, socket);
    run.run("inherited", [number.to_string(), to.address().to_string()])
}

fn its_sends_are_judged(lab: &Lab) {
    let (allowed, other) = (UdpServer::v4(), UdpServer::v4());
    let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in NUMBERS {
        let before = other.saw().len();
        let bare = run(lab, false, number, socket(), &[], &other);
        let sandboxed = run(lab, true, number, socket(), &[other.rule()], &other);
        for call in CALLS {
            bare.expect(call, "ok");
            sandboxed.expect(call, "ok");
        }
        assert_eq!(other.saw().len(), before + 8, "{sandboxed}");
        for rule in
            [allowed.rule(), format!("udp://127.0.0.9:{}", other.port()), "udp://10.0.0.0/8:*".to_owned()]
        {
            let out = run(lab, true, number, socket(), &[rule], &other);
            for call in &CALLS[..4] {
                out.expect(call, "ECONNREFUSED");
            }
            out.expect("write", "EDESTADDRREQ");
            assert_eq!(other.saw().len(), before + 8, "{out}");
        }
    }
}

fn without_rules_it_sends_nowhere(lab: &Lab) {
    let other = UdpServer::v4();
    let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in NUMBERS {
        // No rule; rules for TCP only; for ICMP only.
        for rules in
            [vec![], vec![other.address().to_string()], vec!["*:*".to_owned()], vec!["icmp://*".to_owned()]]
        {
            let out = run(lab, true, number, socket(), &rules, &other);
            for call in CALLS {
                assert_ne!(out.value(call), "ok", "{call} with {rules:?}\n{out}");
            }
            assert_eq!(other.saw(), [], "{out}");
        }
    }
    run(lab, true, 7, socket(), &["udp://*:*".to_owned()], &other).expect("sendto", "ok");
    assert_eq!(other.saw().len(), 4);
}

/// Whoever gives it away gives its peer away; and no other.
fn a_connected_one_sends_to_its_peer(lab: &Lab) {
    let (peer, other) = (UdpServer::v4(), UdpServer::v4());
    let socket = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(peer.address()).unwrap();
        socket
    };
    for rules in [vec![], vec![peer.rule()], vec!["udp://127.0.0.9:*".to_owned()]] {
        let before = peer.saw().len();
        let out = run(lab, true, 7, socket(), &rules, &other);
        for call in &CALLS[..4] {
            assert_ne!(out.value(call), "ok", "{call} with {rules:?}\n{out}");
        }
        out.expect("write", "ok");
        assert_eq!((peer.saw().len(), other.saw().len()), (before + 1, 0), "{out}");
    }
}

/// `inherited FD ADDRESS`.
fn inherited(args: &Args) {
    let socket = args.get(0);
    let name = raw::internet(args.get::<SocketAddr>(1));
    let parts = [part(b"inherited")];
    let say = |call: &str, result: Result<usize, Errno>| report(call, shown(result));
    say("sendto", sendto(socket, b"inherited", 0, &name));
    say("sendmsg", sendmsg(socket, &header(&name, &parts, &[]), 0));
    say("sendmmsg", sendmmsg(socket, &mut [entry(&name, &parts, &[])], 0));
    say("connect", raw::connect(socket, &name).map(|()| 0));
    say("write", raw::call(libc::SYS_write, &[socket as usize, raw::at(b"peer"), 4]));
}
