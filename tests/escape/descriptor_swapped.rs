//! The descriptor can be swapped by `dup2` between the look at it and the act: checked as a UDP socket, which may go
//! to a port, performed as a TCP socket, which may not.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lab::{Args, Lab, Rounds, TcpServer, UdpServer, raw, report};

lab::suite! { tests: [the_socket_that_is_checked_is_the_one_that_connects], programs: [swap_descriptor] }

fn the_socket_that_is_checked_is_the_one_that_connects(lab: &Lab) {
    let (tcp, udp) = both_on_one_port();
    let out = lab.bare().run("swap_descriptor", [tcp.rule().as_str(), "bare"]);
    let bare = tcp.saw().len();
    assert!(bare > 0, "the swap never showed\n{out}");
    // The second rule lets Landlock pass the port, the last run does without Landlock's ports at all.
    let wide = format!("127.0.0.9:{}", tcp.port());
    for options in [vec![], vec!["--net-allow", &wide], vec!["--landlock-at-most", "3"]] {
        let out = lab.sandbox().allow(udp.rule()).options(options).run("swap_descriptor", [tcp.rule()]);
        assert!(out.value("connected").parse::<u32>().unwrap() > 0, "UDP never connected\n{out}");
        assert!(out.value("refused").parse::<u32>().unwrap() > 0, "the swap never showed\n{out}");
        assert_eq!(tcp.saw().len(), bare, "{out}");
    }
}

fn both_on_one_port() -> (TcpServer, UdpServer) {
    let servers = (0..100).find_map(|_| {
        let tcp = TcpServer::v4();
        UdpServer::on(tcp.address()).map(|udp| (tcp, udp))
    });
    servers.expect("no port is free for both")
}

/// `swap_descriptor ADDRESS [bare]`: connects again and again what is under one number, while another thread puts
/// now a UDP socket there, now a TCP socket.
fn swap_descriptor(args: &Args) {
    let address = raw::internet(args.get::<SocketAddr>(0));
    let udp = raw::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
    let slot = 100;
    let fill = |from: RawFd| raw::call(libc::SYS_dup2, &[from as usize, slot]).unwrap();
    fill(udp);
    let stop = AtomicBool::new(false);
    let got_through = AtomicU32::new(0);
    let (mut connected, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let tcp = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
                fill(tcp);
                std::thread::yield_now();
                fill(udp);
                let (mut name, mut length) = ([0u8; 16], 16u32);
                let name = [tcp as usize, raw::out(&mut name), raw::out(&mut length)];
                let through = raw::call(libc::SYS_getpeername, &name).is_ok();
                got_through.fetch_add(u32::from(through), Ordering::Relaxed);
                raw::close(tcp);
            }
        });
        let rounds = Rounds::begin();
        let both = |connected, refused| match args.count() {
            1 => connected > SHOWN && refused > SHOWN,
            // Bare, nothing is refused.
            _ => got_through.load(Ordering::Relaxed) > SHOWN,
        };
        while rounds.go_on(both(connected, refused)) {
            match raw::connect(slot as RawFd, &address) {
                Ok(()) => connected += 1,
                Err(_) => refused += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    report("connected", connected);
    report("refused", refused);
    report("got through", got_through.into_inner());
}

/// How often each side must have shown before a race counts as run.
const SHOWN: u32 = 20;
