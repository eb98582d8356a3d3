//! A UDP socket that was inherited, or that somebody outside passed over a unix socket, was never made inside, so no
//! rule stood at its cradle: its sends are judged by where they go, like all others.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;

use lab::{Args, Errno, Lab, UdpServer, raw, report, shown};

use lab::message::{control, entry, header, part, sendmmsg, sendmsg, sendto};

lab::suite! {
    tests: [its_sends_are_judged, without_rules_it_sends_nowhere, a_connected_one_sends_to_its_peer,
        one_that_was_passed_is_judged],
    programs: [inherited, received],
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

fn one_that_was_passed_is_judged(lab: &Lab) {
    let (allowed, other) = (UdpServer::v4(), UdpServer::v4());
    let path = lab.directory("passing").join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    lab.own(&path);
    let run = |run: lab::Run, rules: &[&str], connected: bool| {
        let run = rules.iter().fold(run.write(path.parent().unwrap()), |run, rule| run.allow(rule));
        let words = [path.display().to_string(), other.address().to_string()];
        let child = run.program("received", words).start();
        let (client, _) = listener.accept().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        if connected {
            socket.connect(allowed.address()).unwrap();
        }
        let rights = control(libc::SOL_SOCKET, libc::SCM_RIGHTS, &socket.as_raw_fd().to_ne_bytes());
        sendmsg(client.as_raw_fd(), &header(&[], &[part(b"x")], &rights), 0).unwrap();
        child.finish()
    };
    let bare = run(lab.bare(), &[], false);
    CALLS.iter().for_each(|call| _ = bare.expect(call, "ok"));
    assert_eq!(other.saw().len(), 4, "{bare}");
    // A rule for its peer, and one that leads elsewhere.
    for rules in [&[&*allowed.rule()], &["udp://127.0.0.9:*"]] {
        for connected in [false, true] {
            let before = allowed.saw().len();
            let out = run(lab.sandbox(), rules, connected);
            for call in &CALLS[..4] {
                assert_ne!(out.value(call), "ok", "{call} with {rules:?}\n{out}");
            }
            // Its peer was given away with it.
            out.expect("write", if connected { "ok" } else { "EDESTADDRREQ" });
            assert_eq!(allowed.saw().len(), before + usize::from(connected), "{out}");
        }
    }
    assert_eq!(other.saw().len(), 4);
    let out = run(lab.sandbox(), &[&other.rule()], false);
    CALLS.iter().for_each(|call| _ = out.expect(call, "ok"));
    assert_eq!(other.saw().len(), 8, "{out}");
    // Where no rule speaks of datagrams its sends are not looked at: docs/security/limits.md, on an allowed unix
    // socket. Connects are, whatever the rules.
    for rules in [&[][..], &["*:*"], &["icmp://*"]] {
        run(lab.sandbox(), rules, false).expect("connect", "ECONNREFUSED");
    }
}

/// `received PATH ADDRESS`: the socket that somebody there passes.
fn received(args: &Args) {
    let from = raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
    raw::connect(from, &raw::unix(args.path(0))).unwrap();
    let (mut payload, mut space) = ([0u8; 1], [0u8; 24]);
    let parts = [[raw::out(&mut payload), 1]];
    let mut header = [0, 0, raw::at(&parts), 1, raw::out(&mut space), 24, 0];
    raw::call(libc::SYS_recvmsg, &[from as usize, raw::out(&mut header), 0]).unwrap();
    try_all(i32::from_ne_bytes(space[16..20].try_into().unwrap()), args.get(1));
}

/// `inherited FD ADDRESS`.
fn inherited(args: &Args) {
    try_all(args.get(0), args.get(1));
}

fn try_all(socket: i32, to: SocketAddr) {
    let name = raw::internet(to);
    let parts = [part(b"inherited")];
    let say = |call: &str, result: Result<usize, Errno>| report(call, shown(result));
    say("sendto", sendto(socket, b"inherited", 0, &name));
    say("sendmsg", sendmsg(socket, &header(&name, &parts, &[]), 0));
    say("sendmmsg", sendmmsg(socket, &mut [entry(&name, &parts, &[])], 0));
    say("connect", raw::connect(socket, &name).map(|()| 0));
    say("write", raw::call(libc::SYS_write, &[socket as usize, raw::at(b"peer"), 4]));
}
