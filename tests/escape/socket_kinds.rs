//! Sockets of other protocols go where no rule speaks of: MPTCP and SCTP pass Landlock's TCP rights, packet sockets
//! pass everything. `socket(2)` is an allowlist of (family, type, protocol).

use lab::{Args, Lab, NONE, Output, TcpServer, raw, report, shown};

lab::suite! {
    tests: [other_kinds_do_not_exist, kinds_follow_their_rules, mptcp_falls_back],
    programs: [kinds, datagram_kinds, mptcp],
}

/// Name, family, type, protocol, and the errno inside.
type Kind = (&'static str, i32, i32, i32, &'static str);

#[rustfmt::skip]
const OTHERS: &[Kind] = &[
    ("mptcp", libc::AF_INET, libc::SOCK_STREAM, 262, "EPROTONOSUPPORT"),
    ("mptcp6", libc::AF_INET6, libc::SOCK_STREAM, 262, "EPROTONOSUPPORT"),
    ("sctp", libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP, "EACCES"),
    ("sctp packets", libc::AF_INET6, libc::SOCK_SEQPACKET, libc::IPPROTO_SCTP, "EACCES"),
    ("dccp", libc::AF_INET, 6, 33, "EACCES"),
    ("udplite", libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE, "EACCES"),
    ("udplite6", libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE, "EACCES"),
    ("raw", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW, "EACCES"),
    ("raw6", libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_RAW, "EACCES"),
    ("raw icmp", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP, "EACCES"),
    ("raw tcp", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP, "EACCES"),
    ("smc by tcp", libc::AF_INET, libc::SOCK_STREAM, 256, "EACCES"),
    ("packet by inet", libc::AF_INET, 10, 0x300, "EACCES"),
    ("packet", libc::AF_PACKET, libc::SOCK_RAW, 0x300, "EAFNOSUPPORT"),
    ("packet datagrams", libc::AF_PACKET, libc::SOCK_DGRAM, 0x300, "EAFNOSUPPORT"),
    ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM, 0, "EAFNOSUPPORT"),
    ("alg", libc::AF_ALG, libc::SOCK_SEQPACKET, 0, "EAFNOSUPPORT"),
    ("smc", 43, libc::SOCK_STREAM, 0, "EAFNOSUPPORT"),
    ("xdp", libc::AF_XDP, libc::SOCK_RAW, 0, "EAFNOSUPPORT"),
    ("key", libc::AF_KEY, libc::SOCK_RAW, 2, "EAFNOSUPPORT"),
    ("can", libc::AF_CAN, libc::SOCK_RAW, 1, "EAFNOSUPPORT"),
    ("tipc", libc::AF_TIPC, libc::SOCK_STREAM, 0, "EAFNOSUPPORT"),
    ("rds", libc::AF_RDS, libc::SOCK_SEQPACKET, 0, "EAFNOSUPPORT"),
    ("bluetooth", libc::AF_BLUETOOTH, libc::SOCK_STREAM, 3, "EAFNOSUPPORT"),
    ("kcm", 41, libc::SOCK_DGRAM, 0, "EAFNOSUPPORT"),
    ("qrtr", 42, libc::SOCK_DGRAM, 0, "EAFNOSUPPORT"),
    ("netlink sock_diag", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_SOCK_DIAG, "EACCES"),
    ("netlink audit", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT, "EACCES"),
    ("netlink netfilter", libc::AF_NETLINK, libc::SOCK_DGRAM, libc::NETLINK_NETFILTER, "EACCES"),
    ("netlink uevent", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT, "EACCES"),
    ("netlink generic", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_GENERIC, "EACCES"),
    ("unix datagrams", libc::AF_UNIX, libc::SOCK_DGRAM, 0, "EACCES"),
    // To the kernel the raw type of a unix socket is its datagram type.
    ("unix raw", libc::AF_UNIX, libc::SOCK_RAW, 0, "EACCES"),
];

fn other_kinds_do_not_exist(lab: &Lab) {
    let bare = lab.bare().run("kinds", NONE);
    let there = OTHERS.iter().filter(|kind| bare.value(kind.0) == "ok").count();
    assert!(there >= 6, "too few of these kinds exist here to tell anything\n{bare}");
    let everything = ["--net-allow", "*:*", "--net-allow", "udp://*:*", "--net-allow", "icmp://*"];
    let refused = |out: &Output| {
        for kind in OTHERS {
            out.expect(kind.0, kind.4).expect(&format!("{} with garbage above", kind.0), kind.4);
            out.expect(&format!("{} as a pair", kind.0), pair_errno(kind));
        }
    };
    refused(&lab.sandbox().run("kinds", NONE));
    refused(&lab.sandbox().options(everything).run("kinds", NONE));
    refused(&lab.sandbox().option("--kernel-only").run("kinds", NONE));
}

fn pair_errno(kind: &Kind) -> &'static str {
    if kind.1 == libc::AF_UNIX { "EACCES" } else { "EAFNOSUPPORT" }
}

fn kinds_follow_their_rules(lab: &Lab) {
    let out = lab.sandbox().allow("*:*").run("datagram_kinds", NONE);
    out.expect("tcp", "ok").expect("udp", "EACCES").expect("udp6", "EACCES").expect("ping", "EACCES");
    let out = lab.sandbox().allow("udp://*:53").run("datagram_kinds", NONE);
    out.expect("udp", "ok").expect("udp6", "ok").expect("ping", "EACCES").expect("ping6", "EACCES");
    let bare = lab.bare().run("datagram_kinds", NONE);
    let out = lab.sandbox().allow("icmp://127.0.0.1").run("datagram_kinds", NONE);
    out.expect("udp", "EACCES").expect("ping", bare.value("ping")).expect("ping6", bare.value("ping6"));
}

/// Runtimes ask for MPTCP first (Go since 1.24), and go on with TCP when there is none.
fn mptcp_falls_back(lab: &Lab) {
    let server = TcpServer::v4();
    let bare = lab.bare().run("mptcp", [server.rule()]);
    let there = usize::from(bare.value("connect") == "ok");
    assert_eq!(server.saw().len(), there, "{bare}");
    for rule in ["*:*".to_owned(), server.rule()] {
        lab.sandbox().allow(rule).run("mptcp", [server.rule()]).expect("connect", "EPROTONOSUPPORT");
    }
    assert_eq!(server.saw().len(), there);
}

fn kinds(_: &Args) {
    let mut pair = [0i32; 2];
    for &(name, family, kind, protocol, _) in OTHERS {
        report(name, shown(raw::socket(family, kind, protocol)));
        let garbage = 1usize << 40;
        let words =
            [family as usize | garbage, (kind | libc::SOCK_CLOEXEC) as usize | garbage, protocol as usize];
        report(format!("{name} with garbage above"), shown(raw::call(libc::SYS_socket, &words)));
        let words = [family as usize, kind as usize, protocol as usize, raw::out(&mut pair)];
        report(format!("{name} as a pair"), shown(raw::call(libc::SYS_socketpair, &words)));
    }
}

fn datagram_kinds(_: &Args) {
    for (name, family, kind, protocol) in [
        ("tcp", libc::AF_INET, libc::SOCK_STREAM, 0),
        ("udp", libc::AF_INET, libc::SOCK_DGRAM, 0),
        ("udp6", libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP),
        ("ping", libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
        ("ping6", libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6),
    ] {
        report(name, shown(raw::socket(family, kind, protocol)));
    }
}

fn mptcp(args: &Args) {
    let to: std::net::SocketAddr = args.get(0);
    let connected = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 262)
        .and_then(|socket| raw::connect(socket, &raw::internet(to)));
    report("connect", shown(connected));
}
