//! A packet's way is not only its destination: a loose source route (IPv4 options) or a routing header (IPv6) sends it
//! to an allowed address by way of, or on to, a forbidden one. The options that set them are refused by their numbers.

use std::net::SocketAddr;

use lab::{Args, Capture, Lab, NONE, TcpServer, UdpServer, in_namespace, raw, report, shown};

lab::suite! {
    tests: [no_option_sets_a_route, no_packet_carries_a_route],
    programs: [route_options, route_packets],
}

/// `include/uapi/linux/in6.h`.
const IPV6: [(&str, usize); 9] = [
    ("IPV6_2292HOPOPTS", 3),
    ("IPV6_2292DSTOPTS", 4),
    ("IPV6_2292RTHDR", 5),
    ("IPV6_2292PKTOPTIONS", 6),
    ("IPV6_FLOWLABEL_MGR", 32),
    ("IPV6_HOPOPTS", 54),
    ("IPV6_RTHDRDSTOPTS", 55),
    ("IPV6_RTHDR", 57),
    ("IPV6_DSTOPTS", 59),
];

fn no_option_sets_a_route(lab: &Lab) {
    let bare = lab.bare().run("route_options", NONE);
    bare.expect("IPV6_RTHDR", "ok").expect("IPV6_2292RTHDR", "ok");
    // Recent kernels demand CAP_NET_RAW for this one.
    if lab.user().is_root() {
        bare.expect("IP_OPTIONS", "ok");
    }
    for rules in [vec![], vec!["--net-allow", "*:*", "--net-allow", "udp://*:*"]] {
        let out = lab.sandbox().options(rules).run("route_options", NONE);
        for name in IPV6.iter().map(|(name, _)| *name).chain(["IP_OPTIONS"]) {
            out.expect(name, "EPERM").expect(&format!("{name} with garbage above"), "EPERM");
        }
        // An option that routes nothing.
        out.expect("IP_TOS", "ok");
    }
}

fn no_packet_carries_a_route(lab: &Lab) {
    in_namespace("packet", || {
        let (udp, udp6, tcp, tcp6) = (UdpServer::v4(), UdpServer::v6(), TcpServer::v4(), TcpServer::v6());
        let addresses = [tcp.address(), udp.address(), tcp6.address(), udp6.address()];
        let args = addresses.map(|address| address.to_string());
        let capture = Capture::start();
        let bare = lab.bare().run("route_packets", &args);
        let ways = capture.ways();
        // What could be set is in the packets.
        for (family, kinds) in
            [("", &["loose source route", "strict source route"][..]), (" 6", &["routing 4"])]
        {
            for (protocol, kind) in
                ["tcp", "udp"].iter().flat_map(|one| kinds.iter().map(move |kind| (one, kind)))
            {
                let way = format!("{protocol}{family}, {kind}");
                let set = bare.value(&way) == "ok";
                assert_eq!(ways.contains(&way), set, "{way}: {ways:?}\n{bare}");
                // The kernel lets some of them be set with a capability only.
                assert!(set || !lab.user().is_root(), "{bare}");
            }
        }
        assert!(ways.iter().any(|way| way == "udp 6, routing 4"), "{ways:?}\n{bare}");

        let exact = [tcp.rule(), udp.rule(), tcp6.rule(), udp6.rule()];
        let any = ["*:*", "udp://*:*"].map(str::to_owned);
        for rules in [&exact[..], &any] {
            let run = rules.iter().fold(lab.sandbox(), |run, rule| run.allow(rule));
            let out = run.run("route_packets", &args);
            let ways = capture.ways();
            // They went, each without a way of its own.
            out.expect("tcp, loose source route", "EPERM").expect("udp 6, routing 4", "EPERM");
            let plain =
                ["icmp, plain", "icmp 6, plain", "tcp 6, plain", "tcp, plain", "udp 6, plain", "udp, plain"];
            assert_eq!(
                ways.iter().filter(|way| !way.starts_with("icmp")).collect::<Vec<_>>(),
                plain[2..],
                "{out}"
            );
            assert!(ways.iter().all(|way| plain.contains(&way.as_str())), "{ways:?}\n{out}");
        }
    });
}

/// `route_packets TCP UDP TCP6 UDP6`: sets a route, and sends or connects whether it is set or not.
fn route_packets(args: &Args) {
    // By way of 127.0.0.2; end of options.
    let route = |kind: u8| vec![kind, 7, 4, 127, 0, 0, 2, 0];
    for (at, protocol) in ["tcp", "udp", "tcp 6", "udp 6"].into_iter().enumerate() {
        let to: SocketAddr = args.get(at);
        let options = match to {
            SocketAddr::V4(_) => vec![
                ("loose source route", libc::IPPROTO_IP, libc::IP_OPTIONS, route(0x83)),
                ("strict source route", libc::IPPROTO_IP, libc::IP_OPTIONS, route(0x89)),
            ],
            SocketAddr::V6(_) => vec![
                ("routing 4", libc::IPPROTO_IPV6, 57, segment_routing().to_vec()),
                ("2292 routing 4", libc::IPPROTO_IPV6, 5, segment_routing().to_vec()),
            ],
        };
        let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        for (name, level, option, value) in options {
            let kind = if at % 2 == 0 { libc::SOCK_STREAM } else { libc::SOCK_DGRAM };
            let socket = raw::socket(family, kind | libc::SOCK_NONBLOCK, 0).unwrap();
            let words = [socket as usize, level as usize, option as usize, raw::at(&value[..]), value.len()];
            report(format!("{protocol}, {name}"), shown(raw::call(libc::SYS_setsockopt, &words)));
            let name = raw::internet(to);
            if kind == libc::SOCK_STREAM {
                let _ = raw::connect(socket, &name);
            } else {
                let _ = lab::message::sendto(socket, b"packet", 0, &name);
            }
        }
    }
}

/// Segment routing (type 4), one segment: no next header, length 2 × 8, nothing left, last entry 0.
fn segment_routing() -> [u8; 24] {
    let mut header = [0u8; 24];
    header[1] = 2;
    header[2] = 4;
    header[8..].copy_from_slice(&std::net::Ipv6Addr::LOCALHOST.octets());
    header
}

fn route_options(_: &Args) {
    // Loose source route, 7 bytes, pointer 4, by way of 127.0.0.2; end of options.
    let route = [0x83u8, 7, 4, 127, 0, 0, 2, 0];
    let header = segment_routing();
    let v4 = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap() as usize;
    let v6 = raw::socket(libc::AF_INET6, libc::SOCK_STREAM, 0).unwrap() as usize;
    let set = |name: &str, fd: usize, level: i32, option: usize, value: &[u8]| {
        let level = level as usize;
        let words = [fd, level, option, raw::at(value), value.len()];
        report(name, shown(raw::call(libc::SYS_setsockopt, &words)));
        // The kernel reads 32 bits of both registers.
        let words = [fd, level | 1 << 35, option | 1 << 50, raw::at(value), value.len()];
        report(format!("{name} with garbage above"), shown(raw::call(libc::SYS_setsockopt, &words)));
    };
    set("IP_OPTIONS", v4, libc::IPPROTO_IP, libc::IP_OPTIONS as usize, &route);
    set("IP_TOS", v4, libc::IPPROTO_IP, libc::IP_TOS as usize, &16i32.to_ne_bytes());
    for (name, option) in IPV6 {
        set(name, v6, libc::IPPROTO_IPV6, option, &header);
    }
}
