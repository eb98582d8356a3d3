//! Ping sockets: an echo goes where an ICMP rule leads, and its answer comes back; all else stays.
//!
//! Which groups may have such sockets is a setting of the network namespace. So each test has a namespace of its own,
//! which only root can make; there the kernel's own counters say what arrived.

use std::net::{IpAddr, SocketAddr};

use lab::{Args, Errno, Lab, raw, report, shown};

use lab::message::{control, entry, header, part, sendmmsg, sendmsg, sendto};

lab::suite! {
    tests: [
        an_echo_goes_where_a_rule_leads,
        every_spelling_is_judged,
        without_a_rule_there_is_no_such_socket,
        the_real_ping_works,
    ],
    programs: [ping],
}

fn an_echo_goes_where_a_rule_leads(lab: &Lab) {
    in_namespace(|| {
        let bare = lab.bare().run("ping", ["127.0.0.1", "127.0.0.2", "::1"]);
        for (to, call) in ["127.0.0.1", "127.0.0.2", "::1"].iter().flat_map(|to| CALLS.map(|call| (to, call)))
        {
            bare.expect(&format!("{to} {call}"), "echoed");
        }
        assert_eq!(echoes(), [8, 4], "{bare}");

        let run = || lab.sandbox().allow("icmp://127.0.0.1").allow("icmp://[::1]");
        let out = run().run("ping", ["127.0.0.1", "127.0.0.2", "::1", "::2"]);
        for call in CALLS {
            out.expect(&format!("127.0.0.1 {call}"), "echoed").expect(&format!("::1 {call}"), "echoed");
            out.expect(&format!("127.0.0.2 {call}"), "ECONNREFUSED")
                .expect(&format!("::2 {call}"), "ECONNREFUSED");
        }
        assert_eq!(echoes(), [12, 8], "{out}");
        out.expect_said("icmp").expect_said("127.0.0.2");
        out.expect("source route", "EPERM").expect("time to live", "ok").expect("no echo", "EINVAL");

        // A rule for one family opens nothing of the other.
        let out = lab.sandbox().allow("icmp://127.0.0.1").run("ping", ["::1"]);
        out.expect("::1 sendto", "ECONNREFUSED");
        assert_eq!(echoes()[1], 8, "{out}");
        // Nor does a rule for any place of another protocol.
        let out = lab
            .sandbox()
            .allow("icmp://127.0.0.9")
            .allow("udp://*:*")
            .allow("*:*")
            .run("ping", ["127.0.0.1"]);
        out.expect("127.0.0.1 sendto", "ECONNREFUSED").expect("127.0.0.1 connect", "ECONNREFUSED");
        assert_eq!(echoes()[1], 8, "{out}");
    });
}

fn every_spelling_is_judged(lab: &Lab) {
    in_namespace(|| {
        // The unspecified address is the machine itself.
        let bare = lab.bare().run("ping", ["0.0.0.0", "::"]);
        let before = echoes();
        assert!(before[0] + before[1] > 0, "{bare}");
        let out = lab
            .sandbox()
            .allow("icmp://10.0.0.0/8")
            .allow("icmp://[::2]")
            .run("ping", ["0.0.0.0", "::", "::ffff:127.0.0.1"]);
        for to in ["0.0.0.0", "::", "::ffff:127.0.0.1"] {
            for call in CALLS {
                assert_ne!(out.value(&format!("{to} {call}")), "echoed", "{out}");
            }
        }
        assert_eq!(echoes(), before, "{out}");
    });
}

fn without_a_rule_there_is_no_such_socket(lab: &Lab) {
    in_namespace(|| {
        lab.bare().run("ping", ["127.0.0.1"]).expect("127.0.0.1 socket", "ok");
        let before = echoes();
        for rules in [&[][..], &["--net-allow", "*:*", "--net-allow", "udp://*:*"]] {
            let out = lab.sandbox().options(rules).run("ping", ["127.0.0.1", "::1"]);
            out.expect("127.0.0.1 socket", "EACCES").expect("::1 socket", "EACCES");
        }
        assert_eq!(echoes(), before);
    });
}

fn the_real_ping_works(lab: &Lab) {
    let ping = lab::tool("ping", "iputils-ping");
    in_namespace(|| {
        // It asks a UDP socket, connected to port 1025, for its own address.
        let rules = ["--net-allow", "icmp://127.0.0.1", "--net-allow", "udp://127.0.0.0/8:1025"];
        let run = |to| {
            let arguments = ["-c", "2", "-i", "0.2", "-W", "1", to];
            lab.sandbox().options(rules).command(&ping, arguments).output()
        };
        let out = run("127.0.0.1");
        out.expect_code(0);
        assert!(out.stdout.contains(" 0% packet loss"), "{out}");
        let before = echoes();
        let out = run("127.0.0.2");
        assert_ne!(out.code(), 0, "{out}");
        assert_eq!(echoes(), before, "{out}");
    });
}

const CALLS: [&str; 4] = ["sendto", "sendmsg", "sendmmsg", "connect"];

/// In a network namespace where every group may have ping sockets.
fn in_namespace(test: impl FnOnce() + Send) {
    lab::in_namespace("ping socket", || {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        test();
    });
}

/// How many echo requests arrived in the namespace of this thread, by ICMP and ICMPv6.
fn echoes() -> [u64; 2] {
    let v4 = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = v4.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let names = lines.next().unwrap().split(' ');
    let (_, v4) = names.zip(lines.next().unwrap().split(' ')).find(|(name, _)| *name == "InEchos").unwrap();
    let v6 = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
    let v6 = v6.lines().find_map(|line| line.strip_prefix("Icmp6InEchos")).unwrap();
    [v4, v6.trim()].map(|count| count.parse().unwrap())
}

/// `ping ADDRESS...`
fn ping(args: &Args) {
    for index in 0..args.count() {
        let to: IpAddr = args.get(index);
        // There are no ports; what stands there must say nothing.
        let name = raw::internet(SocketAddr::from((to, [0, 7][index % 2])));
        let socket = || match to {
            IpAddr::V4(_) => raw::socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
            IpAddr::V6(_) => raw::socket(libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6),
        };
        report(format!("{to} socket"), shown(socket()));
        let Ok(socket) = socket() else { continue };
        let limit = [2usize, 0];
        let words =
            [socket as usize, libc::SOL_SOCKET as usize, libc::SO_RCVTIMEO as usize, raw::at(&limit), 16];
        raw::call(libc::SYS_setsockopt, &words).unwrap();
        // Echo request, code 0, checksum and identifier of the kernel's, a number, and words.
        let (request, reply) = if to.is_ipv4() { (8, 0) } else { (128, 129) };
        let echo = [&[request, 0, 0, 0, 0, 0, 0, 1], &b"is there anybody"[..]].concat();
        let parts = [part(&echo[..8]), part(&echo[8..])];
        let say = |call: &str, result: Result<usize, Errno>| {
            let mut buffer = [0u8; 64];
            let heard = match result {
                Ok(_) => raw::call(libc::SYS_recvfrom, &[socket as usize, raw::out(&mut buffer), 64]),
                Err(errno) => Err(errno),
            };
            let echoed =
                heard.is_ok_and(|count| count == 24 && buffer[0] == reply && buffer[8..24] == echo[8..]);
            report(
                format!("{to} {call}"),
                if echoed { "echoed".to_owned() } else { shown(result.and(heard)) },
            );
        };
        say("sendto", sendto(socket, &echo, 0, &name));
        say("sendmsg", sendmsg(socket, &header(&name, &parts, &[]), 0));
        say("sendmmsg", sendmmsg(socket, &mut [entry(&name, &parts, &[])], 0));
        let connected = raw::connect(socket, &name);
        say(
            "connect",
            connected.and_then(|()| {
                raw::call(libc::SYS_write, &[socket as usize, raw::at(&echo[..]), echo.len()])
            }),
        );
        if index == 0 && to.is_ipv4() {
            // To nobody, so that it is not counted: only the answer to the call is of interest.
            let far = raw::internet(SocketAddr::from(([127, 0, 0, 1], 0)));
            let route = control(libc::IPPROTO_IP, libc::IP_RETOPTS, &[7, 7, 4, 0, 0, 0, 0, 0]);
            let ttl = control(libc::IPPROTO_IP, libc::IP_TTL, &9i32.to_ne_bytes());
            if args.count() == 4 {
                report("source route", shown(sendmsg(socket, &header(&far, &parts, &route), 0)));
                report("no echo", shown(sendto(socket, &[5, 0, 0, 0, 0, 0, 0, 1], 0, &far)));
                // Not counted by the tests: it has no echo in it.
                report(
                    "time to live",
                    shown(
                        sendmsg(socket, &header(&far, &[], &ttl), 0)
                            .or_else(|errno| if errno.0 == libc::EINVAL { Ok(0) } else { Err(errno) }),
                    ),
                );
            }
        }
    }
}
