//! A connected stream takes no notice of the name that a message has, so there is nothing to judge; a UDP socket sends
//! there. `dup2` in another thread makes the one into the other between the look and the send.

use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lab::{Args, Lab, TcpServer, UdpServer, raw, report};

use lab::message::{entry, header, part, sendmmsg, sendmsg, sendto, udp};

lab::suite! { tests: [the_socket_that_is_judged_is_the_one_that_sends], programs: [swap_sender] }

fn the_socket_that_is_judged_is_the_one_that_sends(lab: &Lab) {
    let (allowed, other) = (UdpServer::v4(), UdpServer::v4());
    let tcp = TcpServer::v4();
    for kind in ["tcp", "seqpacket", "stream", "connected"] {
        let addresses =
            [allowed.address(), other.address(), tcp.address()].map(|address| address.to_string());
        let args = [&[kind.to_owned()], &addresses[..]].concat();
        let before = other.saw().len();
        let bare = lab.bare().run("swap_sender", &args);
        let bare_count = other.saw().len();
        assert!(bare_count > before, "{bare}");
        let run = lab.sandbox().allow(allowed.rule()).allow(tcp.rule()).option("--unix-dgram");
        let out = run.run("swap_sender", &args);
        assert!(out.value("refused").parse::<u32>().unwrap() > 0, "{out}");
        if kind != "connected" {
            assert!(out.value("otherwise").parse::<u32>().unwrap() > 0, "the swap never showed\n{out}");
        }
        assert_eq!(other.saw().len(), bare_count, "{kind}\n{out}");
    }
}

/// `swap_sender KIND ALLOWED OTHER TCP`: a descriptor is now a socket of this kind, now a UDP socket.
fn swap_sender(args: &Args) {
    let allowed = raw::internet(args.get::<SocketAddr>(1));
    let name = raw::internet(args.get::<SocketAddr>(2));
    let socket = udp(args.get(2));
    let (first, drained): (RawFd, Option<UnixStream>) = match args.text(0) {
        "tcp" => {
            let fd = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
            raw::connect(fd, &raw::internet(args.get::<SocketAddr>(3))).unwrap();
            (fd, None)
        }
        "seqpacket" => {
            let mut pair = [0i32; 2];
            raw::call(libc::SYS_socketpair, &[1, libc::SOCK_SEQPACKET as usize, 0, raw::out(&mut pair)])
                .unwrap();
            (pair[0], None)
        }
        "stream" => {
            let (one, two) = UnixStream::pair().unwrap();
            let fd = one.as_raw_fd();
            std::mem::forget(one);
            (fd, Some(two))
        }
        _ => {
            let fd = udp(args.get(2));
            raw::connect(fd, &allowed).unwrap();
            (fd, None)
        }
    };
    let slot = 100usize;
    let fill = |from: RawFd| raw::call(libc::SYS_dup2, &[from as usize, slot]).unwrap();
    fill(first);
    let (stop, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut refused, mut otherwise) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                swaps.fetch_add(1, Ordering::Relaxed);
                // Where both threads have to share a processor, the other one goes on here.
                fill(socket);
                std::thread::yield_now();
                fill(first);
                std::thread::yield_now();
            }
        });
        let parts = [part(b"swapped")];
        // On a busy machine one thread may get far before the other one has its turn.
        let (begun, mut rounds, mut turns, mut last) = (Instant::now(), 0, 0, 0);
        while rounds < ROUNDS || (turns < TURNS && begun.elapsed() < LONGEST) {
            rounds += 1;
            let now = swaps.load(Ordering::Relaxed);
            turns += usize::from(now != last);
            last = now;
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            let slot = slot as RawFd;
            let result = match rounds % 3 {
                0 => sendto(slot, b"swapped", flags, &name),
                1 => sendmsg(slot, &header(&name, &parts, &[]), flags),
                _ => sendmmsg(slot, &mut [entry(&name, &parts, &[]); 2], flags),
            };
            match result {
                Err(errno) if errno.0 == libc::ECONNREFUSED => refused += 1,
                _ => otherwise += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    if let Some(mut other) = drained {
        other.set_nonblocking(true).unwrap();
        let _ = other.read(&mut [0; 16]);
    }
    report("refused", refused);
    report("otherwise", otherwise);
}

const ROUNDS: usize = 2000;
const TURNS: usize = 100;
const LONGEST: Duration = Duration::from_secs(2);
