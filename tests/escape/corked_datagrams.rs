//! Parts of a datagram can wait in the socket (`MSG_MORE`, UDP_CORK of udp(7)) for those that follow. The first names
//! where it goes, and those that follow need name nothing, so nobody looks at them. What went nowhere must leave
//! nothing behind that a later, nameless part sets off.

use std::net::SocketAddr;

use lab::{Args, Errno, Lab, UdpServer, raw, report, shown};

use lab::message::{header, part, sendmsg, sendto, udp};

lab::suite! { tests: [parts_go_where_the_first_may_go], programs: [corked] }

fn parts_go_where_the_first_may_go(lab: &Lab) {
    for start in [UdpServer::v4, UdpServer::v6] {
        let to = |server: &UdpServer| server.address().to_string();
        for how in ["flag", "option"] {
            let (allowed, other) = (start(), start());
            let before = other.saw().len();
            let bare = lab.bare().run("corked", [how, &to(&other), &to(&allowed)]);
            for key in ["first", "second", "last"] {
                bare.expect(key, "ok");
            }
            assert_eq!(texts(&other, before), ["one two three"], "{bare}");
            assert_eq!(allowed.saw(), [], "{bare}");
            // With IPv4 a connect in between takes all of it along.
            let taken = if other.address().is_ipv4() { &other } else { &allowed };
            let before = taken.saw().len();
            let bare = lab.bare().run("corked", [how, &to(&allowed), &to(&other), "connect"]);
            bare.expect("connect", "ok");
            assert_eq!(texts(taken, before), ["one two three"], "{bare}");

            // A part for an allowed one first: what follows goes there, or nowhere.
            let before = (allowed.saw().len(), other.saw().len());
            let out = lab
                .sandbox()
                .allow(allowed.rule())
                .run("corked", [how, &to(&allowed), &to(&other), "connect"]);
            out.expect("first", "ok").expect("second", "ECONNREFUSED").expect("connect", "ECONNREFUSED");
            out.expect("last", "ok");
            assert_eq!(texts(&allowed, before.0), ["one three"], "{out}");
            assert_eq!(other.saw().len(), before.1, "{out}");

            // One for a forbidden one first: there is nothing that could go on.
            let before = (allowed.saw().len(), other.saw().len());
            let out = lab.sandbox().allow(allowed.rule()).run("corked", [how, &to(&other), &to(&allowed)]);
            out.expect("first", "ECONNREFUSED").expect("second", "ok");
            assert_eq!(other.saw().len(), before.1, "{out}");
            assert_eq!(texts(&allowed, before.0), [" two three"], "{out}");
        }
    }
}

fn texts(server: &UdpServer, from: usize) -> Vec<String> {
    server.saw()[from..].iter().map(lab::Seen::text).collect()
}

/// `corked flag|option FIRST SECOND [connect]`: connects to the second in between.
fn corked(args: &Args) {
    let to = [1, 2].map(|index| raw::internet(args.get::<SocketAddr>(index)));
    let socket = udp(args.get(1));
    let cork = |value: i32| {
        let words = [socket as usize, libc::SOL_UDP as usize, 1, raw::at(&value), 4];
        raw::call(libc::SYS_setsockopt, &words)
    };
    let flags = if args.text(0) == "flag" { libc::MSG_MORE } else { cork(1).map(|_| 0).unwrap() };
    let say = |key: &str, result: Result<usize, Errno>| report(key, shown(result));
    say("first", sendto(socket, b"one", flags, &to[0]));
    say("second", sendmsg(socket, &header(&to[1], &[part(b" two")], &[]), flags));
    if args.count() > 3 {
        say("connect", raw::connect(socket, &to[1]).map(|()| 0));
    }
    // As the C library's `send`: no name, not trapped.
    say("last", raw::call(libc::SYS_sendto, &[socket as usize, raw::at(b" three"), 6, flags as usize]));
    let _ = if flags == 0 {
        cork(0)
    } else {
        raw::call(libc::SYS_sendto, &[socket as usize, raw::at(b""), 0, 0])
    };
}
