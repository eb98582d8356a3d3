//! The supervisor ends while its sandbox is busy: killed by the machine, since the program inside cannot. For a moment
//! processes are there whom nobody watches. A trapped call then fails; it never goes on in the kernel.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lab::{Args, Lab, TcpServer, UdpServer, raw, report};

use lab::message::{header, part, sendmsg, udp};

lab::suite! { tests: [calls_of_the_unwatched_reach_nobody], programs: [knock] }

fn calls_of_the_unwatched_reach_nobody(lab: &Lab) {
    let (allowed, allowed_udp) = (TcpServer::v4(), UdpServer::v4());
    let (other, other_udp) = (TcpServer::v4(), UdpServer::v4());
    let addresses = |tcp: &TcpServer, udp: &UdpServer| [tcp.rule(), udp.address().to_string()];
    let mut bare = lab.bare().input_pipe().program("knock", addresses(&other, &other_udp)).start();
    bare.wait_for("knocks");
    while other.saw().is_empty() || other_udp.saw().is_empty() {
        assert!(bare.is_running());
        std::thread::sleep(Duration::from_millis(1));
    }
    bare.end_input();
    bare.finish();
    let before = (other.saw().len(), other_udp.saw().len());

    for target in ["other", "allowed"] {
        for version in ["1", "7"] {
            // Landlock, a second time by port, is not what this is about.
            let run = lab.sandbox().allow(allowed.rule()).allow(allowed_udp.rule());
            let run =
                run.allow(format!("127.0.0.9:{}", other.port())).options(["--landlock-at-most", version]);
            let args = match target {
                "other" => addresses(&other, &other_udp),
                _ => addresses(&allowed, &allowed_udp),
            };
            let mut child = run.input_pipe().program("knock", args).start();
            child.wait_for("knocks");
            std::thread::sleep(Duration::from_millis(20));
            let supervisor = only_child_of(child.pid());
            raw::call(libc::SYS_kill, &[supervisor as usize, libc::SIGKILL as usize]).unwrap();
            child.finish().expect_code(125);
            assert_eq!((other.saw().len(), other_udp.saw().len()), before);
            let known = (allowed.saw().len(), allowed_udp.saw().len());
            assert_eq!(known.0 > 0 && known.1 > 0, target == "allowed");
            // It is over: nobody knocks any more, not even where it was allowed.
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!((allowed.saw().len(), allowed_udp.saw().len()), known);
        }
    }
}

fn only_child_of(pid: i32) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.trim().parse().unwrap()
}

/// `knock TCP UDP`: eight processes, which leave their session and their parent, each call again and again.
fn knock(args: &Args) {
    let (tcp, to): (SocketAddr, SocketAddr) = (args.get(0), args.get(1));
    let mut ends = [0i32; 2];
    raw::call(libc::SYS_pipe2, &[raw::out(&mut ends), 0]).unwrap();
    for _ in 0..8 {
        if raw::fork() == 0 {
            raw::call(libc::SYS_setsid, &[]).unwrap();
            // The parent-death signal of the command is not inherited, and this would take it back.
            raw::call(libc::SYS_prctl, &[libc::PR_SET_PDEATHSIG as usize, 0]).unwrap();
            raw::close(ends[1]);
            let until = Instant::now() + Duration::from_secs(5);
            // Bare, the end of the command is the end of the pipe.
            while Instant::now() < until && !raw::poll_readable(&[ends[0]], Duration::ZERO) {
                call_once(tcp, to);
            }
            raw::exit(0);
        }
    }
    report("knocks", "yes");
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new()).unwrap();
}

fn call_once(tcp: SocketAddr, to: SocketAddr) {
    if let Ok(socket) = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0) {
        let _ = raw::connect(socket, &raw::internet(tcp));
        raw::close(socket);
    }
    let socket = udp(to);
    let _ = sendmsg(socket, &header(&raw::internet(to), &[part(b"knock")], &[]), 0);
    raw::close(socket);
}
