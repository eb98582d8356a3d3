//! A port of the program's own is where others call, so only those are bound that a rule names: by every spelling of an
//! address, by UDP as by TCP, by `listen` without `bind`, with the descriptor or the address changed during the call,
//! and on every kernel. A port that the kernel chooses is free to bind, and not to listen on.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use lab::{Args, Errno, Lab, Rounds, SwappedAddress, free_port, raw, report, shown};

lab::suite! {
    tests: [
        only_ports_that_a_rule_names_are_bound,
        a_denied_port_stays_denied,
        no_datagram_socket_takes_a_port_that_no_rule_names,
        a_socket_swapped_during_bind_is_not_bound,
        a_port_swapped_during_bind_is_not_bound,
        a_port_that_the_kernel_chooses_does_not_listen_by_itself,
        many_ports_are_enforced_as_few_are,
        a_landlock_domain_of_the_programs_own_still_holds,
    ],
    programs: [serve_by_rule, take_port, swap_bound_socket, swap_bound_port, bind_in_a_domain],
}

/// An address, and the family that is written into it, if that is another one.
const SPELLINGS: [(&str, Option<i32>); 6] = [
    ("127.0.0.1", None),
    ("0.0.0.0", None),
    ("0.0.0.0", Some(libc::AF_UNSPEC)),
    ("[::1]", None),
    ("[::]", None),
    ("[::ffff:127.0.0.1]", None),
];

/// With a rule for UDP every bind is performed on behalf; without, Landlock decides.
const WAYS: [&[&str]; 4] =
    [&[], &["--net-allow", "udp://127.0.0.1:9"], &["--landlock-at-most", "3"], &["--port-remap"]];

fn only_ports_that_a_rule_names_are_bound(lab: &Lab) {
    for (index, (ip, _)) in SPELLINGS.into_iter().enumerate() {
        for way in WAYS {
            let (allowed, other) = (free_port(), free_port());
            let run = || lab.sandbox().options(way).options(["--net-allow-bind", &allowed.to_string()]);
            let arguments = |port| [format!("{ip}:{port}"), index.to_string()];
            let to = |port| {
                if ip.starts_with("[::1]") { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") }
            };
            let mut child = run().input_pipe().program("serve_by_rule", arguments(allowed)).start();
            assert_eq!(child.wait_for("listen"), "ok", "{ip} {way:?}");
            TcpStream::connect(to(allowed)).unwrap();
            child.end_input();
            child.finish().expect("bind", "ok");

            let mut child = run().input_pipe().program("serve_by_rule", arguments(other)).start();
            // What was not bound is a port that the kernel would choose.
            assert_eq!(child.wait_for("listen"), "EACCES", "{ip} {way:?}");
            assert!(TcpStream::connect(to(other)).is_err());
            child.end_input();
            child.finish().expect("bind", "EACCES").expect_said(&format!("--net-allow-bind {other}"));
        }
    }
}

fn a_denied_port_stays_denied(lab: &Lab) {
    let port = free_port();
    for way in WAYS {
        let run = || lab.sandbox().options(way).options(["--net-allow-bind", "*"]);
        let arguments = [format!("127.0.0.1:{port}"), "0".to_owned()];
        run().run("serve_by_rule", &arguments).expect("bind", "ok").expect("listen", "ok");
        let out =
            run().options(["--net-deny-bind", &format!("{port},1-80")]).run("serve_by_rule", &arguments);
        out.expect("bind", "EACCES").expect_said("--net-deny-bind refuses");
    }
}

fn no_datagram_socket_takes_a_port_that_no_rule_names(lab: &Lab) {
    for (index, (ip, _)) in SPELLINGS.into_iter().enumerate() {
        let (allowed, other) = (free_port(), free_port());
        let arguments = |port| [format!("{ip}:{port}"), index.to_string()];
        lab.bare().run("take_port", arguments(other)).expect("bind", "ok").expect("port", other);
        // Ports of TCP are others.
        let rules = ["--net-allow-bind", &format!("udp://{allowed}"), "--net-allow-bind", &other.to_string()];
        let open = ["--net-allow", "udp://*:*"];
        for more in [&open[..], &[], &["--landlock-at-most", "1"]] {
            let run = || lab.sandbox().options(rules).options(more);
            run().run("take_port", arguments(allowed)).expect("bind", "ok").expect("port", allowed);
            let out = run().run("take_port", arguments(other));
            out.expect("bind", "EACCES").expect("port", 0);
            out.expect_said(&format!("--net-allow-bind udp://{other}"));
            run().run("take_port", arguments(0)).expect("bind", "ok");
        }
        let any_port = lab.sandbox().options(open).options(["--net-allow-bind", "udp://*"]);
        any_port.run("take_port", arguments(other)).expect("bind", "ok");
    }
}

/// While a TCP socket is bound to a port that its rule allows, the descriptor becomes a UDP socket.
fn a_socket_swapped_during_bind_is_not_bound(lab: &Lab) {
    let port = free_port().to_string();
    let bare = lab.bare().run("swap_bound_socket", [&port]);
    assert!(bare.value("datagram").parse::<u32>().unwrap() > 0, "the swap never showed\n{bare}");
    let rules = ["--net-allow", "udp://127.0.0.1:9", "--net-allow-bind", &port];
    let out = lab.sandbox().options(rules).run("swap_bound_socket", [&port]);
    out.expect("datagram", 0);
    for shown in ["stream", "refused"] {
        assert!(out.value(shown).parse::<u32>().unwrap() > 0, "the swap never showed\n{out}");
    }
    UdpSocket::bind(("127.0.0.1", port.parse().unwrap())).unwrap();
}

fn a_port_swapped_during_bind_is_not_bound(lab: &Lab) {
    let (allowed, other) = (free_port().to_string(), free_port().to_string());
    for way in WAYS {
        let rules = ["--net-allow-bind", &allowed];
        let out = lab.sandbox().options(way).options(rules).run("swap_bound_port", [&allowed, &other]);
        out.expect("other", 0);
        for shown in ["allowed", "refused"] {
            assert!(out.value(shown).parse::<u32>().unwrap() > 0, "the swap never showed\n{out}");
        }
    }
    let bare = lab.bare().run("swap_bound_port", [&allowed, &other]);
    assert!(bare.value("other").parse::<u32>().unwrap() > 0, "the swap never showed\n{bare}");
}

fn a_port_that_the_kernel_chooses_does_not_listen_by_itself(lab: &Lab) {
    let port = free_port().to_string();
    for way in WAYS {
        for address in ["127.0.0.1:0", "[::1]:0", "none", "none6"] {
            let run = |rule: &str| {
                lab.sandbox()
                    .options(way)
                    .options(["--net-allow-bind", rule])
                    .run("serve_by_rule", [address, "0"])
            };
            for rule in ["0", "*"] {
                let out = run(rule);
                out.expect("listen", "ok");
                assert_ne!(out.value("port"), "0");
            }
            let out = run(&port);
            out.expect("listen", "EACCES").expect_said("--net-allow-bind 0");
            let denied = lab.sandbox().options(way);
            let denied = denied.options(["--net-allow-bind", "*", "--net-deny-bind", "1024-65535"]);
            denied.run("serve_by_rule", [address, "0"]).expect("listen", "EACCES");
        }
    }
}

fn many_ports_are_enforced_as_few_are(lab: &Lab) {
    // More than Landlock is told.
    let rules = ["--net-allow-bind", "1024-65535", "--net-deny-bind", "32000-32009"];
    let run = |port: u16| {
        lab.sandbox().options(rules).run("serve_by_rule", [format!("127.0.0.1:{port}"), "0".to_owned()])
    };
    run(free_port()).expect("bind", "ok").expect("listen", "ok");
    run(32005).expect("bind", "EACCES");
    run(443).expect("bind", "EACCES").expect_said("--net-allow-bind 443");
}

/// Names of unix sockets are made on behalf where UDP sockets can be: outside of the domain that the program made.
fn a_landlock_domain_of_the_programs_own_still_holds(lab: &Lab) {
    let socket = lab.path("work/socket");
    lab.bare().run("bind_in_a_domain", [&socket]).expect("before", "ok").expect("inside", "EACCES");
    for way in WAYS {
        let out = lab.sandbox().write(lab.path("work")).options(way).run("bind_in_a_domain", [&socket]);
        out.expect("before", "ok").expect("inside", "EACCES");
    }
}

/// `serve_by_rule ADDRESS|none|none6 SPELLING`: binds and listens, and stays until its standard input ends.
fn serve_by_rule(args: &Args) {
    let six = args.text(0).starts_with('[') || args.text(0) == "none6";
    let socket = raw::socket(if six { libc::AF_INET6 } else { libc::AF_INET }, libc::SOCK_STREAM, 0).unwrap();
    if !args.text(0).starts_with("none") {
        report("bind", shown(raw::bind(socket, &spelled(args))));
    }
    report("listen", shown(raw::call(libc::SYS_listen, &[socket as usize, 1])));
    report("port", raw::port_of(socket));
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new()).unwrap();
}

/// `take_port ADDRESS SPELLING`: binds a UDP socket.
fn take_port(args: &Args) {
    let family = if args.text(0).starts_with('[') { libc::AF_INET6 } else { libc::AF_INET };
    let socket = raw::socket(family, libc::SOCK_DGRAM, 0).unwrap();
    report("bind", shown(raw::bind(socket, &spelled(args))));
    report("port", raw::port_of(socket));
}

fn spelled(args: &Args) -> Vec<u8> {
    let mut bytes = raw::internet(args.get::<SocketAddr>(0));
    if let (_, Some(family)) = SPELLINGS[args.get::<usize>(1)] {
        bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    }
    bytes
}

/// `swap_bound_socket PORT`: binds one descriptor again and again, while another thread makes it now a TCP, now a UDP socket.
fn swap_bound_socket(args: &Args) {
    let address = raw::internet(SocketAddr::from(([127, 0, 0, 1], args.get(0))));
    let (mut stream, mut datagram, mut refused) = (0, 0, 0);
    let rounds = Rounds::begin();
    while rounds.go_on(stream > SHOWN && refused + datagram > SHOWN) {
        let target = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        let tcp = raw::call(libc::SYS_dup, &[target as usize]).unwrap();
        let udp = raw::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for from in [udp as usize, tcp] {
                        let _ = raw::call(libc::SYS_dup2, &[from, target as usize]);
                    }
                }
            });
            for _ in 0..20 {
                if raw::bind(target, &address) == Err(Errno(libc::EACCES)) {
                    refused += 1;
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        stream += u32::from(raw::port_of(tcp as i32) != 0);
        datagram += u32::from(raw::port_of(udp) != 0);
        [target, tcp as i32, udp].into_iter().for_each(raw::close);
    }
    report("stream", stream);
    report("datagram", datagram);
    report("refused", refused);
}

/// `swap_bound_port ALLOWED OTHER`: binds again and again, while another thread writes now one, now the other into the address.
fn swap_bound_port(args: &Args) {
    let (allowed, other): (u16, u16) = (args.get(0), args.get(1));
    let (mut bound, mut other_bound, mut refused) = (0, 0, 0);
    SwappedAddress::new(allowed).race([allowed, other], |address| {
        let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        match raw::call(libc::SYS_bind, &[socket as usize, raw::at(address), 16]) {
            Ok(_) if raw::port_of(socket) == allowed => bound += 1,
            Ok(_) => other_bound += 1,
            Err(Errno(libc::EACCES)) => refused += 1,
            Err(_) => {}
        }
        raw::close(socket);
        bound > SHOWN && other_bound + refused > SHOWN
    });
    report("allowed", bound);
    report("other", other_bound);
    report("refused", refused);
}

/// `bind_in_a_domain PATH`: binds there, then gives up the right to make sockets, and binds beside.
fn bind_in_a_domain(args: &Args) {
    let bind = |path: &std::path::Path| {
        let socket = raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
        shown(raw::bind(socket, &raw::unix(path)))
    };
    let path = args.path(0);
    report("before", bind(path));
    std::fs::remove_file(path).unwrap();
    const MAKE_SOCK: u64 = 1 << 9;
    let ruleset =
        raw::call(libc::SYS_landlock_create_ruleset, &[raw::at(&MAKE_SOCK), size_of::<u64>(), 0]).unwrap();
    raw::call(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0]).unwrap();
    raw::call(libc::SYS_landlock_restrict_self, &[ruleset, 0]).unwrap();
    report("inside", bind(path));
}

/// How often each side must have shown before a race counts as run.
const SHOWN: u32 = 20;
