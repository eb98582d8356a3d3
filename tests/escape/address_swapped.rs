//! The address is in memory that another thread can write: whoever looks at it and then lets the kernel read it again
//! has checked one address and connected to another.

use std::net::SocketAddr;

use lab::{Args, DOCKER, Lab, PODMAN, SwappedAddress, TcpServer, raw, report};

lab::suite! { tests: [a_second_look_does_not_exist], programs: [swap_address] }

fn a_second_look_does_not_exist(lab: &Lab) {
    let (allowed, other) = (TcpServer::v4(), TcpServer::v4());
    let args = [allowed.rule(), other.rule()];
    lab.bare().run("swap_address", &args);
    let other_bare = other.saw().len();
    assert!(other_bare > 0, "the swap never showed");

    // The second lets Landlock pass the other's port.
    let wide = format!("127.0.0.9:{}", other.port());
    for rules in [vec![allowed.rule()], vec![allowed.rule(), wide]] {
        // Where filters refuse what a look at the memory and the descriptor is usually made by as well.
        for around in [None, Some(DOCKER), Some(PODMAN)] {
            let before = allowed.saw().len();
            let run = rules.iter().fold(lab.sandbox().around(around), |run, rule| run.allow(rule));
            let out = run.run("swap_address", &args);
            assert!(out.value("refused").parse::<u32>().unwrap() > 0, "the swap never showed\n{out}");
            assert!(allowed.saw().len() > before, "{out}");
            assert_eq!(other.saw().len(), other_bare, "{out}");
        }
    }
}

/// Connects again and again, while another thread writes now one port, now the other, into the address.
fn swap_address(args: &Args) {
    let ports = [args.get::<SocketAddr>(0).port(), args.get::<SocketAddr>(1).port()];
    let (mut first, mut second, mut refused) = (0, 0, 0);
    SwappedAddress::new(ports[0]).race(ports, |address| {
        let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        match raw::call(libc::SYS_connect, &[socket as usize, raw::at(address), 16]) {
            Ok(_) if peer_port(socket) == ports[0] => first += 1,
            Ok(_) => second += 1,
            Err(_) => refused += 1,
        }
        raw::close(socket);
        first > SHOWN && second + refused > SHOWN
    });
    report("first", first);
    report("second", second);
    report("refused", refused);
}

fn peer_port(socket: i32) -> u16 {
    let (mut name, mut length) = ([0u8; 16], 16u32);
    let _ = raw::call(libc::SYS_getpeername, &[socket as usize, raw::out(&mut name), raw::out(&mut length)]);
    u16::from_be_bytes([name[2], name[3]])
}

/// How often each side must have shown before a race counts as run.
const SHOWN: u32 = 20;
