//! A peer without room: a TCP stream whose receiver does not read, a unix listener whose queue is full. Whoever calls
//! waits, does not wait, waits for a time, or is interrupted, as it would bare; and nobody else waits.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use lab::{Args, Errno, Lab, Run, UnixServer, raw, report, shown};

use lab::message::{entry, header, part, sendmmsg, sendmsg, sendto};

lab::suite! {
    tests: [a_full_tcp_stream_is_as_bare, a_gone_tcp_peer_is_as_bare, a_full_unix_queue_is_as_bare],
    programs: [full_tcp, gone_tcp, full_unix_queue],
}

/// With sends trapped.
fn trapped(lab: &Lab, to: &str) -> Run {
    lab.sandbox().allow("udp://127.0.0.9:9").allow(to)
}

fn a_full_tcp_stream_is_as_bare(lab: &Lab) {
    let run = |sandboxed: bool| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap().to_string();
        let run = if sandboxed { trapped(lab, &to) } else { lab.bare() };
        let mut child = run.program("full_tcp", [&to]).start();
        let _unread = listener.accept().unwrap();
        child.wait_for("end");
        child.finish()
    };
    // Both wait most of the time.
    let (bare, out) = std::thread::scope(|scope| {
        let bare = scope.spawn(|| run(false));
        let out = run(true);
        (bare.join().unwrap(), out)
    });
    assert_eq!(bare.stdout, out.stdout, "bare, and in the sandbox:\n{bare}\n{out}");
    out.expect("MSG_DONTWAIT sendmsg", "EAGAIN").expect("O_NONBLOCK sendto", "EAGAIN");
    out.expect("SO_SNDTIMEO sendmsg", "EAGAIN after 300 ms").expect("interrupted sendmsg", "EINTR");
}

fn a_gone_tcp_peer_is_as_bare(lab: &Lab) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    for how in ["shut down", "reset"] {
        let run = |run: Run| {
            let mut child = run.input_pipe().program("gone_tcp", [how, &to]).start();
            for _ in 0..CALLS.len() * 2 {
                let (stream, _) = listener.accept().unwrap();
                if how == "reset" {
                    // An end without goodbye: tcp(7), SO_LINGER of socket(7).
                    let words = [libc::SOL_SOCKET as usize, libc::SO_LINGER as usize, raw::at(&[1i32, 0]), 8];
                    let fd = stream.as_raw_fd() as usize;
                    raw::call(libc::SYS_setsockopt, &[&[fd], &words[..]].concat()).unwrap();
                }
                drop(stream);
                child.send("x");
            }
            child.finish()
        };
        let (bare, out) = (run(lab.bare()), run(trapped(lab, &to)));
        assert_eq!(bare.stdout, out.stdout, "bare, and in the sandbox:\n{bare}\n{out}");
        for call in CALLS {
            let first = if how == "reset" { "ECONNRESET, no signal" } else { "EPIPE, SIGPIPE in the caller" };
            out.expect(call, first).expect(&format!("{call} again"), "EPIPE, SIGPIPE in the caller");
            out.expect(&format!("{call} again, MSG_NOSIGNAL"), "EPIPE, no signal");
        }
    }
}

fn a_full_unix_queue_is_as_bare(lab: &Lab) {
    let place = lab.directory("sockets");
    let path = place.join("full");
    let listener = UnixListener::bind(&path).unwrap();
    lab.own(&path);
    raw::call(libc::SYS_listen, &[listener.as_raw_fd() as usize, 0]).unwrap();
    listener.set_nonblocking(true).unwrap();
    let free = UnixServer::at(lab, place.join("free"));
    let run = |run: Run| {
        let fillers: Vec<_> = std::iter::from_fn(|| {
            let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let filler = raw::socket(libc::AF_UNIX, kind, 0).unwrap();
            let filled = raw::connect(filler, &raw::unix(&path));
            if filled.is_err() {
                raw::close(filler);
            }
            filled.map(|()| filler).ok()
        })
        .collect();
        let before = free.saw().len();
        let mut child = run.program("full_unix_queue", [&path, &place.join("free")]).start();
        child.wait_for("waits");
        std::thread::sleep(Duration::from_millis(300));
        // No more: the one that waits comes as soon as there is room.
        let accepted: Vec<_> = fillers.iter().map(|_| listener.accept().unwrap()).collect();
        let out = child.finish();
        drop(accepted);
        let mut heard = String::new();
        let mut last = listener.accept().unwrap().0;
        std::io::Read::read_to_string(&mut last, &mut heard).unwrap();
        assert_eq!(heard, "waited", "{out}");
        fillers.into_iter().for_each(raw::close);
        assert_eq!(free.saw().len(), before + 20, "{out}");
        out
    };
    let bare = run(lab.bare());
    for version in ["1", "7"] {
        let out = run(lab.sandbox().write(&place).options(["--landlock-at-most", version]));
        assert_eq!(bare.stdout, out.stdout, "bare, and in the sandbox:\n{bare}\n{out}");
        out.expect("nonblocking", "EAGAIN").expect("SO_SNDTIMEO", "EAGAIN after 300 ms");
        out.expect("interrupted", "EINTR").expect("restarted", "ok").expect("others", "ok");
    }
}

const CALLS: [&str; 3] = ["sendmsg", "sendto", "sendmmsg"];

/// `CALL` on a connected socket; TCP passes over the name, which makes `sendto` trapped.
fn send(call: &str, socket: RawFd, payload: &[u8], flags: i32) -> Result<usize, Errno> {
    let parts = [part(payload)];
    match call {
        "sendmsg" => sendmsg(socket, &header(&[], &parts, &[]), flags),
        "sendto" => sendto(socket, payload, flags, &raw::internet(SocketAddr::from(([127, 0, 0, 1], 9)))),
        _ => sendmmsg(socket, &mut [entry(&[], &parts, &[])], flags),
    }
}

static SIGNALLED: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_signal(_: i32) {
    SIGNALLED.store(raw::tid(), Ordering::Relaxed);
}

fn handle(signal: i32, flags: i32) {
    // SAFETY: zeroes are a valid action: an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = flags;
    // SAFETY: a handler of the right type; the old action is not asked for.
    let done = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

fn alarm_after(micros: i64) {
    let once = [0i64, 0, 0, micros];
    raw::call(libc::SYS_setitimer, &[libc::ITIMER_REAL as usize, raw::at(&once), 0]).unwrap();
}

fn limit(socket: RawFd, micros: usize) {
    let level = libc::SOL_SOCKET as usize;
    let words = [socket as usize, level, libc::SO_SNDTIMEO as usize, raw::at(&[0, micros]), 16];
    raw::call(libc::SYS_setsockopt, &words).unwrap();
}

/// What a call answered, and whether it took about the 300 milliseconds that were its limit.
fn timed(call: impl FnOnce() -> String) -> String {
    let begun = Instant::now();
    let answer = call();
    let took = begun.elapsed().as_millis();
    format!("{answer} after {} ms", if (280..1500).contains(&took) { 300 } else { took })
}

/// `full_tcp ADDRESS`.
fn full_tcp(args: &Args) {
    let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    // Less to fill.
    let words = [socket as usize, libc::SOL_SOCKET as usize, libc::SO_SNDBUF as usize, raw::at(&4096i32), 4];
    raw::call(libc::SYS_setsockopt, &words).unwrap();
    raw::connect(socket, &raw::internet(args.get::<SocketAddr>(0))).unwrap();
    let payload = vec![1; 200_000];
    // The kernel goes on moving what it has, by probes of the window that come later and later, and makes room again.
    let mut room = Instant::now();
    while room.elapsed() < Duration::from_millis(1200) {
        if sendmsg(socket, &header(&[], &[part(&payload)], &[]), libc::MSG_DONTWAIT).is_ok() {
            room = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    handle(libc::SIGALRM, 0);
    for call in CALLS {
        report(format!("MSG_DONTWAIT {call}"), shown(send(call, socket, &payload, libc::MSG_DONTWAIT)));
        alarm_after(150_000);
        report(format!("interrupted {call}"), shown(send(call, socket, &payload, 0)));
        limit(socket, 300_000);
        report(format!("SO_SNDTIMEO {call}"), timed(|| shown(send(call, socket, &payload, 0))));
        limit(socket, 0);
        let flags = |flags: i32| {
            raw::call(libc::SYS_fcntl, &[socket as usize, libc::F_SETFL as usize, flags as usize]).unwrap();
        };
        flags(libc::O_NONBLOCK);
        report(format!("O_NONBLOCK {call}"), shown(send(call, socket, &payload, 0)));
        flags(0);
    }
    report("end", "");
}

/// `gone_tcp HOW ADDRESS`: the peer is gone when a byte comes on standard input.
fn gone_tcp(args: &Args) {
    handle(libc::SIGPIPE, 0);
    // Not the first thread: the signal is the caller's, not the process's.
    let in_thread = || {
        for call in CALLS {
            for flags in [0, libc::MSG_NOSIGNAL] {
                let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
                raw::connect(socket, &raw::internet(args.get::<SocketAddr>(1))).unwrap();
                raw::call(libc::SYS_read, &[0, raw::out(&mut [0u8; 1]), 1]).unwrap();
                if args.text(0) == "shut down" {
                    raw::call(libc::SYS_shutdown, &[socket as usize, libc::SHUT_WR as usize]).unwrap();
                }
                for again in ["", " again"] {
                    SIGNALLED.store(0, Ordering::Relaxed);
                    let answer = shown(send(call, socket, b"anybody there?", flags));
                    // A signal by another process may be a moment late.
                    std::thread::sleep(Duration::from_millis(20));
                    let whose = match SIGNALLED.load(Ordering::Relaxed) {
                        0 => "no signal",
                        tid if tid == raw::tid() => "SIGPIPE in the caller",
                        _ => "SIGPIPE in another thread",
                    };
                    let suffix = if flags == 0 { "" } else { ", MSG_NOSIGNAL" };
                    report(format!("{call}{again}{suffix}"), format!("{answer}, {whose}"));
                }
                raw::close(socket);
            }
        }
    };
    std::thread::scope(|scope| scope.spawn(in_thread).join().unwrap());
}

/// `full_unix_queue FULL FREE`.
fn full_unix_queue(args: &Args) {
    let (full, free) = (raw::unix(args.path(0)), raw::unix(args.path(1)));
    let stream = |flags: i32| raw::socket(libc::AF_UNIX, libc::SOCK_STREAM | flags, 0).unwrap();
    report("nonblocking", shown(raw::connect(stream(libc::SOCK_NONBLOCK), &full)));
    let socket = stream(0);
    limit(socket, 300_000);
    report("SO_SNDTIMEO", timed(|| shown(raw::connect(socket, &full))));
    handle(libc::SIGALRM, 0);
    alarm_after(150_000);
    report("interrupted", shown(raw::connect(stream(0), &full)));
    handle(libc::SIGALRM, libc::SA_RESTART);
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            // By then the first thread waits.
            std::thread::sleep(Duration::from_millis(50));
            let begun = Instant::now();
            let others = (0..20).try_for_each(|_| {
                let socket = stream(0);
                raw::connect(socket, &free).map(|()| raw::close(socket))
            });
            let took = begun.elapsed();
            if took < Duration::from_secs(1) { shown(others) } else { "late".to_owned() }
        });
        SIGNALLED.store(0, Ordering::Relaxed);
        alarm_after(100_000);
        report("waits", "yes");
        let socket = stream(0);
        report("restarted", shown(raw::connect(socket, &full)));
        report("signalled", SIGNALLED.load(Ordering::Relaxed) != 0);
        report("others", others.join().unwrap());
        raw::call(libc::SYS_write, &[socket as usize, raw::at(b"waited"), 6]).unwrap();
    });
}
