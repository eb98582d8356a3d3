//! A datagram carries its destination with it: in `sendto`, in the header of `sendmsg`, in each entry of `sendmmsg`,
//! spelled as IPv4, as IPv4 in IPv6, as the unspecified address, or with a family that the kernel reads as another.
//! None of them may leave for where no rule leads, whatever else is in the same call.

use std::net::SocketAddr;

use lab::{Args, Errno, Lab, Seen, UdpServer, raw, report, shown};

use lab::message::{entry, header, part, sendmmsg, sendmsg, sendto, told, udp};

lab::suite! {
    tests: [
        every_spelling_is_refused_by_every_call,
        a_connected_socket_is_judged_by_the_name,
        the_unspecified_address_is_not_where_the_socket_is_bound,
        a_batch_ends_at_the_first_forbidden_message,
        a_batch_of_many_goes_whole,
    ],
    programs: [spelled_datagrams, connected_datagrams, bound_datagrams, batches, many],
}

fn every_spelling_is_refused_by_every_call(lab: &Lab) {
    let (v4, v6, decoy) = (UdpServer::v4(), UdpServer::v6(), UdpServer::v4());
    let (p4, p6) = (v4.port(), v6.port());
    let specs = [
        format!("4 2 127.0.0.1:{p4}"),
        format!("4 2 0.0.0.0:{p4}"),
        // As AF_UNSPEC, which udp_sendmsg takes for AF_INET.
        format!("4 0 127.0.0.1:{p4}"),
        format!("4 0 0.0.0.0:{p4}"),
        format!("6 10 [::ffff:127.0.0.1]:{p4}"),
        format!("6 10 [::ffff:0.0.0.0]:{p4}"),
        // An IPv4 name on an IPv6 socket.
        format!("6 2 127.0.0.1:{p4}"),
        format!("6 2 0.0.0.0:{p4}"),
        format!("6 10 [::1]:{p6}"),
        format!("6 10 [::]:{p6}"),
    ];
    // AF_UNSPEC in connect takes the destination back.
    let connects = |spec: &str| spec.split(' ').nth(1) != Some("0");
    let each = specs.len() * 4 - 2;
    let seen = || v4.saw().len() + v6.saw().len();

    let bare = lab.bare().run("spelled_datagrams", &specs);
    for spec in &specs {
        for call in ["sendto", "sendmsg", "sendmmsg", "connect"] {
            bare.expect(&format!("{spec} {call}"), "ok");
        }
    }
    assert_eq!(seen(), each, "{bare}");

    // The others let IPv6, or loopback, or the port pass, and never the destination.
    let rules = [
        decoy.rule(),
        format!("udp://127.0.0.9:{p4},{p6}"),
        format!("udp://[::2]:{p4},{p6}"),
        format!("127.0.0.1:{p4}"),
    ];
    let out = rules.iter().fold(lab.sandbox(), |run, rule| run.allow(rule)).run("spelled_datagrams", &specs);
    for spec in &specs {
        for call in ["sendto", "sendmsg", "sendmmsg"] {
            out.expect(&format!("{spec} {call}"), "ECONNREFUSED");
        }
        if connects(spec) {
            out.expect(&format!("{spec} connect"), "ECONNREFUSED")
                .expect(&format!("{spec} send"), "EDESTADDRREQ");
        }
    }
    assert_eq!(seen(), each, "{out}");
    assert_eq!(decoy.saw(), []);
    out.expect_said(&format!("--net-allow {}", v4.rule()));

    let out = lab.sandbox().allow(v4.rule()).allow(v6.rule()).run("spelled_datagrams", &specs);
    for spec in &specs {
        for call in ["sendto", "sendmsg", "sendmmsg", "connect"] {
            out.expect(&format!("{spec} {call}"), "ok");
        }
    }
    assert_eq!(seen(), 2 * each, "{out}");
}

fn a_connected_socket_is_judged_by_the_name(lab: &Lab) {
    let (allowed, other) = (UdpServer::v4(), UdpServer::v4());
    let args = [allowed.address().to_string(), other.address().to_string()];
    let calls = ["sendto", "sendmsg", "sendmmsg", "connect", "as unspecified"];
    let bare = lab.bare().run("connected_datagrams", &args);
    assert_eq!(allowed.saw(), []);
    assert_eq!(other.saw().len(), 5, "{bare}");
    let out = lab.sandbox().allow(allowed.rule()).run("connected_datagrams", &args);
    for call in calls {
        bare.expect(call, "ok");
        out.expect(call, "ECONNREFUSED");
    }
    // A refused connect leaves the old peer.
    out.expect("still", "ok");
    assert_eq!(other.saw().len(), 5, "{out}");
    assert_eq!(allowed.saw().len(), 1, "{out}");
}

fn the_unspecified_address_is_not_where_the_socket_is_bound(lab: &Lab) {
    let (allowed, other) = (0..100)
        .find_map(|_| {
            let first = UdpServer::v4();
            let second = UdpServer::on(format!("127.0.0.2:{}", first.port()).parse().unwrap())?;
            Some((first, second))
        })
        .expect("no port is free on both");
    let port = allowed.port();
    for (bound, to) in [
        ("127.0.0.2:0", "0.0.0.0"),
        ("[::ffff:127.0.0.2]:0", "[::ffff:0.0.0.0]"),
        ("[::ffff:127.0.0.2]:0", "[::]"),
    ] {
        let args = [bound.to_owned(), format!("{to}:{port}")];
        lab.bare().run("bound_datagrams", &args).expect("bind", "ok");
        let before = other.saw().len();
        let out = lab.sandbox().allow(allowed.rule()).run("bound_datagrams", &args);
        out.expect("bind", "ok");
        assert_eq!(other.saw().len(), before, "bound to {bound}, sent to {to}\n{out}");
    }
    lab.bare().run("bound_datagrams", ["127.0.0.2:0", &format!("127.0.0.2:{port}")]).expect("sendto", "ok");
    assert!(!other.saw().is_empty());
}

fn a_batch_ends_at_the_first_forbidden_message(lab: &Lab) {
    let (allowed, other) = (UdpServer::v4(), UdpServer::v4());
    let args = [allowed.address().to_string(), other.address().to_string()];
    let texts = |server: &UdpServer| server.saw().iter().map(Seen::text).collect::<Vec<_>>();

    let bare = lab.bare().run("batches", &args);
    bare.expect("a, b, forbidden c, d", "4 told 1 22 333 4444")
        .expect("forbidden first", "2 told 1 22")
        .expect("nameless second", "1 told 1 -")
        .expect("70 of 100", "100");
    let (seen_allowed, seen_other) = (texts(&allowed), texts(&other));
    assert_eq!(seen_other[..2], ["333", "1"], "{bare}");
    assert_eq!(seen_allowed[..3], ["1", "22", "4444"], "{bare}");

    let out = lab.sandbox().allow(allowed.rule()).run("batches", &args);
    out.expect("a, b, forbidden c, d", "2 told 1 22 - -")
        .expect("forbidden first", "ECONNREFUSED told - -")
        .expect("nameless second", "1 told 1 -")
        .expect("70 of 100", "70");
    assert_eq!(texts(&other), seen_other, "{out}");
    let now = texts(&allowed);
    let new = &now[seen_allowed.len()..];
    assert_eq!(new[..3], ["1", "22", "1"], "{out}");
    assert_eq!(new.len(), 73, "{out}");
}

fn a_batch_of_many_goes_whole(lab: &Lab) {
    let server = UdpServer::v4();
    for run in [lab.bare(), lab.sandbox().allow(server.rule())] {
        let before = server.saw().len();
        let out = run.run("many", [server.address().to_string()]);
        out.expect("sent", 200).expect("lengths", "right").expect("past the limit", 1024);
        let new = server.saw()[before..].iter().map(Seen::text).collect::<Vec<_>>();
        let expected: Vec<_> =
            (0..200).map(|index| format!("{index:0>width$}", width = 3 + index % 5)).collect();
        assert_eq!(new[..200.min(new.len())], expected, "{out}");
    }
}

/// `spelled_datagrams SPEC...`: each is the socket's family (4 or 6), the name's family as a number, and an address.
fn spelled_datagrams(args: &Args) {
    for index in 0..args.count() {
        let spec = args.text(index);
        let mut words = spec.split(' ');
        let family = if words.next() == Some("4") { libc::AF_INET } else { libc::AF_INET6 };
        let written: u16 = words.next().unwrap().parse().unwrap();
        let mut name = raw::internet(words.next().unwrap().parse::<SocketAddr>().unwrap());
        name[..2].copy_from_slice(&written.to_ne_bytes());
        let socket = raw::socket(family, libc::SOCK_DGRAM, 0).unwrap();
        let say = |call: &str, result: Result<usize, Errno>| report(format!("{spec} {call}"), shown(result));
        say("sendto", sendto(socket, b"sendto", 0, &name));
        let parts = [part(b"send"), part(b"msg")];
        say("sendmsg", sendmsg(socket, &header(&name, &parts, &[]), 0));
        say("sendmmsg", sendmmsg(socket, &mut [entry(&name, &parts, &[])], 0));
        say("connect", raw::connect(socket, &name).map(|()| 0));
        say("send", raw::call(libc::SYS_sendto, &[socket as usize, raw::at(b"send"), 4]));
        raw::close(socket);
    }
}

/// `connected_datagrams ALLOWED OTHER`: connects to the first, sends to the second.
fn connected_datagrams(args: &Args) {
    let (first, second) = (args.get::<SocketAddr>(0), args.get::<SocketAddr>(1));
    let (peer, name) = (raw::internet(first), raw::internet(second));
    let socket = udp(first);
    raw::connect(socket, &peer).unwrap();
    let parts = [part(b"there")];
    report("sendto", shown(sendto(socket, b"there", 0, &name)));
    report("sendmsg", shown(sendmsg(socket, &header(&name, &parts, &[]), 0)));
    report("sendmmsg", shown(sendmmsg(socket, &mut [entry(&name, &parts, &[])], 0)));
    let mut unspecified = name.clone();
    unspecified[..2].copy_from_slice(&0u16.to_ne_bytes());
    report("as unspecified", shown(sendto(socket, b"there", 0, &unspecified)));
    report("connect", shown(raw::connect(socket, &name)));
    report("still", shown(raw::call(libc::SYS_sendto, &[socket as usize, raw::at(b"here"), 4])));
}

/// `bound_datagrams BIND TO`.
fn bound_datagrams(args: &Args) {
    let socket = udp(args.get(0));
    report("bind", shown(raw::bind(socket, &raw::internet(args.get::<SocketAddr>(0)))));
    let name = raw::internet(args.get::<SocketAddr>(1));
    report("sendto", shown(sendto(socket, b"bound", 0, &name)));
    report("sendmsg", shown(sendmsg(socket, &header(&name, &[part(b"bound")], &[]), 0)));
    report("connect", shown(raw::connect(socket, &name)));
    report("send", shown(raw::call(libc::SYS_sendto, &[socket as usize, raw::at(b"bound"), 5])));
}

/// `batches ALLOWED OTHER`.
fn batches(args: &Args) {
    let (good, bad) = (raw::internet(args.get::<SocketAddr>(0)), raw::internet(args.get::<SocketAddr>(1)));
    let socket = raw::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
    let parts: [[_; 1]; 4] = [b"1".as_slice(), b"22", b"333", b"4444"].map(|text| [part(text)]);
    let send = |key: &str, names: &[&[u8]]| {
        let mut entries: Vec<_> =
            names.iter().zip(&parts).map(|(name, parts)| entry(name, parts, &[])).collect();
        let result = sendmmsg(socket, &mut entries, 0);
        let lengths: Vec<_> =
            entries.iter().map(|entry| told(entry).map_or("-".to_owned(), |len| len.to_string())).collect();
        // The text's first figure is its length.
        let lengths: Vec<_> =
            lengths.iter().map(|len| len.parse().map_or(len.clone(), |n: usize| len.repeat(n))).collect();
        let result = result.map_or_else(|errno| errno.to_string(), |count| count.to_string());
        report(key, format!("{result} told {}", lengths.join(" ")));
    };
    send("a, b, forbidden c, d", &[&good, &good, &bad, &good]);
    send("forbidden first", &[&bad, &good]);
    send("nameless second", &[&good, &[]]);
    let text = [part(b"x")];
    let mut entries: Vec<_> =
        (0..100).map(|index| entry(if index == 70 { &bad } else { &good }, &text, &[])).collect();
    report(
        "70 of 100",
        sendmmsg(socket, &mut entries, 0).map_or_else(|errno| errno.to_string(), |n| n.to_string()),
    );
}

/// `many ADDRESS`: messages of several lengths; then more than a call may have.
fn many(args: &Args) {
    let name = raw::internet(args.get::<SocketAddr>(0));
    let socket = raw::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
    let texts: Vec<_> = (0..200).map(|index| format!("{index:0>width$}", width = 3 + index % 5)).collect();
    let parts: Vec<_> =
        texts.iter().map(|text| [part(&text.as_bytes()[..1]), part(&text.as_bytes()[1..])]).collect();
    let mut entries: Vec<_> = parts.iter().map(|parts| entry(&name, parts, &[])).collect();
    report("sent", sendmmsg(socket, &mut entries, 0).unwrap());
    let right = entries.iter().zip(&texts).all(|(entry, text)| told(entry) == Some(text.len()));
    report("lengths", if right { "right" } else { "wrong" });
    let text = [part(b"x")];
    let mut entries = vec![entry(&name, &text, &[]); 1500];
    report("past the limit", sendmmsg(socket, &mut entries, 0).unwrap());
}
