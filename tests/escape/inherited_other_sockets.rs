//! Sockets of kinds that cannot be made inside, given to the command: raw ones (whose packets are whatever one writes),
//! ping sockets without an ICMP rule, unix datagram sockets without `--unix-dgram`. Their names are judged as such
//! sockets, and not as whatever the rules speak of.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use lab::{Args, Capture, Errno, Lab, in_namespace, raw, report, shown};

use lab::message::{entry, header, part, sendmmsg, sendmsg, sendto};

lab::suite! {
    tests: [raw_and_ping_sockets_send_nothing, unix_datagram_sockets_reach_nobody],
    programs: [send_inherited],
}

/// Standard input, and one given by `--pass-fd`.
const NUMBERS: [RawFd; 2] = [0, 7];

fn run(lab: &Lab, number: RawFd, socket: RawFd, rules: Option<&[&str]>, to: &str) -> lab::Output {
    // SAFETY: it was just made, and nobody else closes it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let run = match rules {
        None => lab.bare(),
        Some(rules) => {
            let run = rules.iter().fold(lab.sandbox(), |run, rule| run.allow(rule));
            if number > 2 { run.option("--pass-fd").option(number.to_string()) } else { run }
        }
    };
    run.descriptor(number, socket).run("send_inherited", [&number.to_string(), to])
}

fn raw_and_ping_sockets_send_nothing(lab: &Lab) {
    in_namespace("inherited socket", || {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        let icmp = libc::IPPROTO_ICMP;
        let kinds = [
            ("raw", libc::SOCK_RAW, icmp),
            ("raw of any protocol", libc::SOCK_RAW, libc::IPPROTO_RAW),
            ("ping", libc::SOCK_DGRAM, icmp),
        ];
        let capture = Capture::start();
        for (name, kind, protocol) in kinds {
            let socket = || raw::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, protocol).unwrap();
            for number in NUMBERS {
                // `write` has a peer by then.
                let bare = run(lab, number, socket(), None, "127.0.0.1");
                CALLS.iter().for_each(|call| _ = bare.expect(call, "ok"));
                assert!(capture.ways().contains("icmp, plain"), "{name}\n{bare}");
                let mut rules = vec![
                    vec![],
                    vec!["*:*"],
                    vec!["udp://*:*"],
                    vec!["udp://127.0.0.1:*", "*:*"],
                    vec!["icmp://127.0.0.9", "udp://*:*"],
                ];
                if kind == libc::SOCK_RAW {
                    // Rules for echoes are none for whatever one writes.
                    rules.extend([
                        vec!["icmp://*"],
                        vec!["icmp://127.0.0.1"],
                        vec!["icmp://*", "udp://*:*", "*:*"],
                    ]);
                }
                for rules in rules {
                    let out = run(lab, number, socket(), Some(&rules), "127.0.0.1");
                    for call in CALLS {
                        assert_ne!(out.value(call), "ok", "{name}, {call}, {rules:?}\n{out}");
                    }
                    assert_eq!(capture.packets().len(), 0, "{name} {rules:?}\n{out}");
                }
            }
        }
    });
}

fn unix_datagram_sockets_reach_nobody(lab: &Lab) {
    let path = lab.directory("outside").join("socket");
    let receiver = UnixDatagram::bind(&path).unwrap();
    receiver.set_nonblocking(true).unwrap();
    lab.own(&path);
    let received = || std::iter::from_fn(|| receiver.recv(&mut [0; 64]).ok()).count();
    let socket = || raw::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0).unwrap();
    let to = path.to_str().unwrap();
    for number in NUMBERS {
        let bare = run(lab, number, socket(), None, to);
        CALLS.iter().for_each(|call| _ = bare.expect(call, "ok"));
        assert_eq!(received(), 4, "{bare}");
        for rules in [vec![], vec!["*:*"], vec!["udp://*:*"], vec!["udp://*:*", "icmp://*", "*:*"]] {
            let out = run(lab, number, socket(), Some(&rules), to);
            for call in CALLS {
                assert_ne!(out.value(call), "ok", "{call}, {rules:?}\n{out}");
            }
            assert_eq!(received(), 0, "{rules:?}\n{out}");
        }
    }
}

const CALLS: [&str; 5] = ["sendto", "sendmsg", "sendmmsg", "connect", "write"];

/// `send_inherited FD IP|PATH`.
fn send_inherited(args: &Args) {
    let socket: RawFd = args.get(0);
    let name = match args.text(1).parse::<std::net::IpAddr>() {
        Ok(ip) => raw::internet((ip, 0)),
        Err(_) => raw::unix(Path::new(args.text(1))),
    };
    // An echo request; to a raw socket of any protocol the beginning is the header of IPv4, to which an echo is the
    // rest: version and length, total length 28, a lifetime, the protocol, no checksum, and two addresses.
    let echo = [8, 0, 0xf7, 0xfe, 0, 0, 0, 1];
    let mut payload = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
    payload.extend(echo);
    let payload = if protocol_of(socket) == libc::IPPROTO_RAW { &payload[..] } else { &echo };
    let parts = [part(payload)];
    let say = |call: &str, result: Result<usize, Errno>| report(call, shown(result));
    say("sendto", sendto(socket, payload, 0, &name));
    say("sendmsg", sendmsg(socket, &header(&name, &parts, &[]), 0));
    say("sendmmsg", sendmmsg(socket, &mut [entry(&name, &parts, &[])], 0));
    say("connect", raw::connect(socket, &name).map(|()| 0));
    say("write", raw::call(libc::SYS_write, &[socket as usize, raw::at(payload), payload.len()]));
}

fn protocol_of(socket: RawFd) -> i32 {
    let (mut protocol, mut length) = (0i32, 4u32);
    let (level, option) = (libc::SOL_SOCKET as usize, libc::SO_PROTOCOL as usize);
    let words = [socket as usize, level, option, raw::out(&mut protocol), raw::out(&mut length)];
    raw::call(libc::SYS_getsockopt, &words).unwrap();
    protocol
}
