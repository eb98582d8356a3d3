//! A control message sets options for one datagram: a source route (IPv4), a routing header (IPv6), or a flow label
//! that carries one. The destination would be an allowed one, the way there not. Those that route nothing pass.

use std::net::SocketAddr;

use lab::{Args, Capture, Lab, Seen, UdpServer, in_namespace, raw, report, shown};

use lab::message::{control, entry, header, part, sendmmsg, sendmsg, udp};

lab::suite! {
    tests: [
        no_control_message_sets_a_route,
        no_packet_of_such_a_message_carries_one,
        harmless_ones_do_what_they_say,
    ],
    programs: [routed, routed_packets, harmless],
}

/// `include/uapi/linux/in6.h`.
const IPV6: [(&str, i32); 8] = [
    ("IPV6_2292HOPOPTS", 3),
    ("IPV6_2292DSTOPTS", 4),
    ("IPV6_2292RTHDR", 5),
    ("IPV6_FLOWINFO", 11),
    ("IPV6_HOPOPTS", 54),
    ("IPV6_RTHDRDSTOPTS", 55),
    ("IPV6_RTHDR", 57),
    ("IPV6_DSTOPTS", 59),
];

fn no_control_message_sets_a_route(lab: &Lab) {
    let (v4, v6) = (UdpServer::v4(), UdpServer::v6());
    let args = [v4.address().to_string(), v6.address().to_string()];
    let bare = lab.bare().run("routed", &args);
    bare.expect("IP_RETOPTS", "ok").expect("IPV6_FLOWINFO", "ok");
    if lab.user().is_root() {
        // These ask for CAP_NET_RAW; a routing header of a type that the kernel lacks is EINVAL.
        bare.expect("IPV6_HOPOPTS", "ok").expect("IPV6_2292HOPOPTS", "ok").expect("IPV6_DSTOPTS", "ok");
    }
    let seen = (v4.saw().len(), v6.saw().len());
    assert!(seen.0 > 1, "{bare}");
    let both = [v4.rule(), v6.rule()];
    for rules in [both.to_vec(), vec!["udp://127.0.0.0/8:*".into(), "udp://[::/0]:*".into()]] {
        let before = (v4.saw().len(), v6.saw().len());
        let out = rules.iter().fold(lab.sandbox(), |run, rule| run.allow(rule)).run("routed", &args);
        for name in IPV6.iter().map(|(name, _)| *name).chain(["IP_RETOPTS"]) {
            out.expect(name, "EPERM").expect(&format!("{name} in a batch"), "EPERM");
            out.expect(&format!("{name} behind another"), "EPERM");
        }
        out.expect("plain", "ok").expect("plain 6", "ok");
        assert_eq!((v4.saw().len(), v6.saw().len()), (before.0 + 1, before.1 + 1), "{out}");
    }
}

fn no_packet_of_such_a_message_carries_one(lab: &Lab) {
    in_namespace("packet", || {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        let (v4, v6) = (UdpServer::v4(), UdpServer::v6());
        let args = [v4.address().to_string(), v6.address().to_string()];
        let capture = Capture::start();
        let bare = lab.bare().run("routed_packets", &args);
        let ways = capture.ways();
        let routed = [
            "icmp 6, destination",
            "icmp 6, hop by hop",
            "icmp 6, routing 2",
            "icmp, loose source route",
            "icmp, strict source route",
            "udp 6, destination",
            "udp 6, hop by hop",
            "udp 6, routing 2",
            "udp, loose source route",
            "udp, strict source route",
        ];
        // Ping sockets of IPv6 read such a message and forget it.
        for way in routed.iter().copied().filter(|way| !way.starts_with("icmp 6")) {
            assert_eq!(ways.contains(way), bare.value(way) == "ok", "{way}: {ways:?}\n{bare}");
            // The kernel asks for a capability for some of them.
            assert!(bare.value(way) == "ok" || !lab.user().is_root() || way.contains("routing"), "{bare}");
        }

        let exact = [v4.rule(), v6.rule(), "icmp://127.0.0.1".into(), "icmp://[::1]".into()];
        let any = ["udp://127.0.0.0/8:*", "udp://[::/0]:*", "icmp://127.0.0.0/8", "icmp://[::/0]"];
        for rules in [exact, any.map(str::to_owned)] {
            let out =
                rules.iter().fold(lab.sandbox(), |run, rule| run.allow(rule)).run("routed_packets", &args);
            for way in routed {
                out.expect(way, "EPERM").expect(&format!("{way}, batch"), "EPERM");
                out.expect(&format!("{way}, behind"), "EPERM");
            }
            // Those without such a message went.
            let plain = ["icmp 6, plain", "icmp, plain", "udp 6, plain", "udp, plain"];
            assert_eq!(capture.ways().iter().collect::<Vec<_>>(), plain, "{out}");
        }
    });
}

/// `routed_packets V4 V6`: from UDP and ping sockets.
fn routed_packets(args: &Args) {
    let route = |kind: u8| control(libc::IPPROTO_IP, libc::IP_RETOPTS, &[kind, 7, 4, 127, 0, 0, 2, 0]);
    // Of the routing types this way takes only that of mobile nodes (RFC 6275), where the kernel was built with it.
    let mut home = [0u8; 24];
    home[1..4].copy_from_slice(&[2, 2, 1]);
    home[8..].copy_from_slice(&std::net::Ipv6Addr::LOCALHOST.octets());
    let padding = [0, 0, 1, 4, 0, 0, 0, 0];
    let extension = |kind: i32, data: &[u8]| control(libc::IPPROTO_IPV6, kind, data);
    for index in 0..2 {
        let to: SocketAddr = args.get(index);
        let (family, ping, echo, suffix) = match to {
            SocketAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP, 8, ""),
            SocketAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6, 128, " 6"),
        };
        let messages = match to {
            SocketAddr::V4(_) => {
                vec![("loose source route", route(0x83)), ("strict source route", route(0x89))]
            }
            SocketAddr::V6(_) => vec![
                ("routing 2", extension(57, &home)),
                ("hop by hop", extension(54, &padding)),
                ("destination", extension(59, &padding)),
            ],
        };
        let mark = match to {
            SocketAddr::V4(_) => control(libc::IPPROTO_IP, libc::IP_TTL, &9i32.to_ne_bytes()),
            SocketAddr::V6(_) => control(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &9i32.to_ne_bytes()),
        };
        let name = raw::internet(to);
        let payload = [echo, 0, 0, 0, 0, 0, 0, 1];
        let parts = [part(&payload)];
        for (protocol, number) in [("udp", 0), ("icmp", ping)] {
            let socket = raw::socket(family, libc::SOCK_DGRAM, number).unwrap();
            for (way, message) in &messages {
                let say = |how: &str, result: Result<usize, lab::Errno>| {
                    report(format!("{protocol}{suffix}, {way}{how}"), shown(result));
                };
                say("", sendmsg(socket, &header(&name, &parts, message), 0));
                let behind = [&mark[..], message].concat();
                say(", behind", sendmsg(socket, &header(&name, &parts, &behind), 0));
                say(", batch", sendmmsg(socket, &mut [entry(&name, &parts, message); 2], 0));
            }
            sendmsg(socket, &header(&name, &parts, &mark), 0).unwrap();
        }
    }
}

fn harmless_ones_do_what_they_say(lab: &Lab) {
    let (v4, v6) = (UdpServer::v4(), UdpServer::v6());
    let args = [v4.address().to_string(), v6.address().to_string()];
    let mut seen = Vec::new();
    for run in [lab.bare(), lab.sandbox().allow(v4.rule()).allow(v6.rule())] {
        let before = (v4.saw().len(), v6.saw().len());
        let out = run.run("harmless", &args);
        let names = [
            "IP_TOS",
            "IP_TTL",
            "IP_PKTINFO",
            "UDP_SEGMENT",
            "TCLASS",
            "HOPLIMIT",
            "PKTINFO",
            "SEGMENT 6",
            "together",
        ];
        for name in names {
            out.expect(name, "ok");
        }
        // Numbers of unknown ones.
        out.expect("unknown", "EINVAL");
        let saw = |seen: &[Seen]| {
            seen.iter().map(|seen| (seen.from.unwrap().ip(), seen.text())).collect::<Vec<_>>()
        };
        seen.push((saw(&v4.saw()[before.0..]), saw(&v6.saw()[before.1..])));
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].0.contains(&("127.0.0.5".parse().unwrap(), "pktinfo".to_owned())), "{seen:?}");
    assert_eq!(seen[0].0.iter().filter(|(_, text)| text.len() == 4).count(), 4, "{seen:?}");
}

/// `routed V4 V6`.
fn routed(args: &Args) {
    let (to4, to6) = (args.get::<SocketAddr>(0), args.get::<SocketAddr>(1));
    let (s4, s6) = (udp(to4), udp(to6));
    let (to4, to6) = (raw::internet(to4), raw::internet(to6));
    let parts = [part(b"routed")];
    // Record route, room for one address; end of options. What it says does not matter, that it is there does.
    let record = control(libc::IPPROTO_IP, libc::IP_RETOPTS, &[7, 7, 4, 0, 0, 0, 0, 0]);
    let ttl = control(libc::IPPROTO_IP, libc::IP_TTL, &9i32.to_ne_bytes());
    let tclass = control(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &9i32.to_ne_bytes());
    let send = |name: &str, socket, to: &[u8], message: &[u8], other: &[u8]| {
        let behind = [other, message].concat();
        report(name, shown(sendmsg(socket, &header(to, &parts, message), 0)));
        report(format!("{name} behind another"), shown(sendmsg(socket, &header(to, &parts, &behind), 0)));
        let batch = &mut [entry(to, &parts, message), entry(to, &parts, message)];
        report(format!("{name} in a batch"), shown(sendmmsg(socket, batch, 0)));
    };
    send("IP_RETOPTS", s4, &to4, &record, &ttl);
    for (name, kind) in IPV6 {
        // Segment routing, one segment, none left; for the others: padding, or no label.
        let mut data = [0u8; 24];
        if name.contains("RTHDR") && !name.contains("DST") {
            data[1] = 2;
            data[2] = 4;
            data[8..].copy_from_slice(&std::net::Ipv6Addr::LOCALHOST.octets());
        }
        let data = match name {
            "IPV6_FLOWINFO" => &data[..4],
            _ if data[1] == 2 => &data[..],
            _ => &[0, 0, 1, 4, 0, 0, 0, 0],
        };
        send(name, s6, &to6, &control(libc::IPPROTO_IPV6, kind, data), &tclass);
    }
    report("plain", shown(sendmsg(s4, &header(&to4, &parts, &ttl), 0)));
    report("plain 6", shown(sendmsg(s6, &header(&to6, &parts, &tclass), 0)));
}

/// `harmless V4 V6`.
fn harmless(args: &Args) {
    let (to4, to6) = (args.get::<SocketAddr>(0), args.get::<SocketAddr>(1));
    let (s4, s6) = (udp(to4), udp(to6));
    let (to4, to6) = (raw::internet(to4), raw::internet(to6));
    let send = |name: &str, socket, to: &[u8], payload: &[u8], message: &[u8]| {
        report(name, shown(sendmsg(socket, &header(to, &[part(payload)], message), 0)));
    };
    let nine = 9i32.to_ne_bytes();
    let tos = control(libc::IPPROTO_IP, libc::IP_TOS, &[16]);
    let ttl = control(libc::IPPROTO_IP, libc::IP_TTL, &nine);
    let segment = control(libc::SOL_UDP, libc::UDP_SEGMENT, &4u16.to_ne_bytes());
    // From another address of the machine: `struct in_pktinfo`.
    let source = control(libc::IPPROTO_IP, libc::IP_PKTINFO, &[0, 0, 0, 0, 127, 0, 0, 5, 0, 0, 0, 0]);
    send("IP_TOS", s4, &to4, b"tos", &tos);
    send("IP_TTL", s4, &to4, b"ttl", &ttl);
    send("IP_PKTINFO", s4, &to4, b"pktinfo", &source);
    send("UDP_SEGMENT", s4, &to4, b"segments!", &segment);
    send("together", s4, &to4, b"together", &[tos, ttl, segment.clone()].concat());
    send("TCLASS", s6, &to6, b"tclass", &control(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &nine));
    send("HOPLIMIT", s6, &to6, b"hoplimit", &control(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, &nine));
    send("SEGMENT 6", s6, &to6, b"segments!", &segment);
    // `struct in6_pktinfo`.
    let mut source = std::net::Ipv6Addr::LOCALHOST.octets().to_vec();
    source.extend([0; 4]);
    send("PKTINFO", s6, &to6, b"pktinfo", &control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &source));
    send("unknown", s4, &to4, b"unknown", &control(libc::IPPROTO_IP, 200, &nine));
}
