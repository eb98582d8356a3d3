//! Sends are performed on behalf once a rule speaks of UDP: of datagrams, and of all that goes through `sendmsg` on
//! any other socket. An honest program must not notice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lab::{Args, Errno, Lab, NONE, Output, UdpServer, raw, report, shown};

use lab::message::{control, entry, header, part, sendmmsg, sendmsg, sendto, told};

lab::suite! {
    tests: [
        a_server_answers,
        descriptors_are_those_of_the_caller,
        a_long_stream_arrives_whole,
        a_long_tcp_stream_arrives_whole,
        full_sockets_are_as_bare,
        a_closed_peer_is_as_bare,
        signals_are_as_bare,
        senders_may_die_in_mid_send,
    ],
    programs: [pass_descriptors, stream_long, stream_tcp, full, closed, signalled, dying],
}

/// Runs a program bare, and sandboxed with sends trapped; what it reports must be the same.
fn same(lab: &Lab, program: &str) -> Output {
    let bare = lab.bare().run(program, NONE);
    bare.expect_code(0);
    let out = trapped(lab).run(program, NONE);
    assert_eq!(bare.stdout, out.stdout, "bare, and in the sandbox:\n{bare}\n{out}");
    out
}

/// A sandbox in which every send with a name, and every `sendmsg`, is trapped.
fn trapped(lab: &Lab) -> lab::Run {
    lab.sandbox().allow("udp://127.0.0.1:9").option("--unix-dgram")
}

fn a_server_answers(lab: &Lab) {
    for server in [UdpServer::v4(), UdpServer::v6()] {
        let out = lab.sandbox().allow(server.rule()).run("udp", [server.address().to_string()]);
        out.expect("send", "ok").expect("heard", "hello\n".trim());
        assert_eq!(server.saw()[0].text(), "udp");
    }
}

fn descriptors_are_those_of_the_caller(lab: &Lab) {
    let out = same(lab, "pass_descriptors");
    out.expect("stream", "read by a passed descriptor").expect("datagram", "read by a passed descriptor");
    out.expect("closed", "EBADF").expect("many", "254 EINVAL 253 ok").expect("another thread's", "ok");
    out.expect("batch", "2 told 1 2");
}

fn a_long_stream_arrives_whole(lab: &Lab) {
    same(lab, "stream_long").expect("arrived", "whole");
}

fn a_long_tcp_stream_arrives_whole(lab: &Lab) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for run in [lab.bare(), trapped(lab).allow(&address)] {
        let mut child = run.program("stream_tcp", [&address]).start();
        let received = slowly(listener.accept().unwrap().0);
        assert_eq!(received, expected(LONG), "{}", child.wait_for("sent"));
        child.finish().expect("sent", LONG);
    }
}

fn full_sockets_are_as_bare(lab: &Lab) {
    let out = same(lab, "full");
    for kind in ["stream", "seqpacket", "datagram"] {
        out.expect(&format!("{kind} MSG_DONTWAIT"), "EAGAIN").expect(&format!("{kind} O_NONBLOCK"), "EAGAIN");
        out.expect(&format!("{kind} SO_SNDTIMEO"), "EAGAIN after 300 ms");
    }
    out.expect("stream partial", "some, then the rest");
}

fn a_closed_peer_is_as_bare(lab: &Lab) {
    let out = same(lab, "closed");
    for call in ["sendto", "sendmsg", "sendmmsg"] {
        out.expect(&format!("stream {call}"), "EPIPE, SIGPIPE in the caller");
        out.expect(&format!("stream {call} MSG_NOSIGNAL"), "EPIPE, no SIGPIPE");
    }
}

fn signals_are_as_bare(lab: &Lab) {
    let out = same(lab, "signalled");
    out.expect("without SA_RESTART", "EINTR").expect("with SA_RESTART", "whole");
    out.expect("partial without SA_RESTART", "partial");
}

fn senders_may_die_in_mid_send(lab: &Lab) {
    let begun = Instant::now();
    same(lab, "dying").expect("killed", 8).expect("after", "ok");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

fn pair(kind: i32) -> [RawFd; 2] {
    let mut pair = [0; 2];
    raw::call(libc::SYS_socketpair, &[1, kind as usize, 0, raw::out(&mut pair)]).unwrap();
    pair
}

fn rights(descriptors: &[RawFd]) -> Vec<u8> {
    let data: Vec<u8> = descriptors.iter().flat_map(|fd| fd.to_ne_bytes()).collect();
    control(libc::SOL_SOCKET, libc::SCM_RIGHTS, &data)
}

/// The descriptors that come with the next message.
fn receive_rights(from: RawFd) -> Vec<RawFd> {
    let (mut payload, mut space) = ([0u8; 64], vec![0u8; 2048]);
    let parts = [[raw::out(&mut payload), 64]];
    let mut header = [0, 0, raw::at(&parts), 1, raw::out(&mut space[..]), 2048, 0];
    if raw::call(libc::SYS_recvmsg, &[from as usize, raw::out(&mut header), 0]).is_err() || header[5] < 20 {
        return Vec::new();
    }
    let length = usize::from_ne_bytes(space[..8].try_into().unwrap());
    space[16..length].chunks_exact(4).map(|fd| RawFd::from_ne_bytes(fd.try_into().unwrap())).collect()
}

fn pass_descriptors(_: &Args) {
    for (name, kind) in
        [("stream", libc::SOCK_STREAM), ("datagram", libc::SOCK_DGRAM), ("packets", libc::SOCK_SEQPACKET)]
    {
        let [one, two] = pair(kind);
        let (reader, mut writer) = std::io::pipe().unwrap();
        // The number means something else, if anything, to another process.
        raw::call(libc::SYS_dup2, &[reader.as_raw_fd() as usize, 777]).unwrap();
        sendmsg(one, &header(&[], &[part(b"x")], &rights(&[777])), 0).unwrap();
        drop(reader);
        raw::close(777);
        let received = receive_rights(two);
        writer.write_all(b"read by a passed descriptor").unwrap();
        drop(writer);
        let mut text = String::new();
        // SAFETY: it was just received, nobody else has it.
        let mut file = unsafe { std::fs::File::from_raw_fd(received[0]) };
        file.read_to_string(&mut text).unwrap();
        report(name, text);
    }
    let [one, two] = pair(libc::SOCK_STREAM);
    report("closed", shown(sendmsg(one, &header(&[], &[part(b"x")], &rights(&[999])), 0)));
    let send = |count: usize| shown(sendmsg(one, &header(&[], &[part(b"x")], &rights(&vec![1; count])), 0));
    report("many", format!("254 {} 253 {}", send(254), send(253)));
    report("many received", receive_rights(two).len());
    // All of a message's descriptors go with its first byte, even when its payload goes in pieces.
    let big = vec![1u8; 3 << 20];
    std::thread::scope(|scope| {
        scope.spawn(|| sendmsg(one, &header(&[], &[part(&big)], &rights(&[1, 2])), 0).unwrap());
        report("with a long payload", receive_rights(two).len());
        let (mut left, mut more) = ((3 << 20) - 64, 0);
        while left > 0 {
            let mut buffer = vec![0u8; 65_536];
            let mut space = [0u8; 64];
            let parts = [[raw::out(&mut buffer[..]), buffer.len()]];
            let mut header = [0, 0, raw::at(&parts), 1, raw::out(&mut space), 64, 0];
            left -= raw::call(libc::SYS_recvmsg, &[two as usize, raw::out(&mut header), 0]).unwrap();
            more += header[5];
        }
        report("more descriptors", more);
    });
    // Opened by another thread, in the same table.
    let fd = std::thread::spawn(|| raw::call(libc::SYS_dup, &[1]).unwrap() as RawFd).join().unwrap();
    report("another thread's", shown(sendmsg(one, &header(&[], &[part(b"x")], &rights(&[fd])), 0)));
    report("received", receive_rights(two).len());
    let (x, yy) = ([part(b"x")], [part(b"yy")]);
    let message = rights(&[1]);
    let mut entries = [entry(&[], &x, &message), entry(&[], &yy, &message)];
    let count = sendmmsg(one, &mut entries, 0).unwrap();
    report("batch", format!("{count} told {} {}", told(&entries[0]).unwrap(), told(&entries[1]).unwrap()));
    report("first of the batch", receive_rights(two).len());
    // `SCM_CREDENTIALS`, true and false.
    let on = [two as usize, libc::SOL_SOCKET as usize, libc::SO_PASSCRED as usize, raw::at(&1i32), 4];
    raw::call(libc::SYS_setsockopt, &on).unwrap();
    for (name, pid) in [("own credentials", std::process::id()), ("of process 1", 1)] {
        let data: Vec<u8> =
            [pid, raw::uid(), raw::gid()].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let message = control(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &data);
        // Bare root may claim to be any process.
        if pid != 1 || raw::euid() != 0 {
            report(name, shown(sendmsg(one, &header(&[], &[part(b"x")], &message), 0)));
        }
    }
}

/// What a sender of long things sends: every place has its own bytes.
fn pattern(length: usize) -> Vec<u8> {
    (0..length / 8)
        .flat_map(|index| (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_ne_bytes())
        .collect()
}

/// Length and checksum of that.
fn expected(length: usize) -> (usize, u64) {
    pattern(length).into_iter().fold((0, SEED), step)
}

/// FNV-1a.
fn step((count, sum): (usize, u64), byte: u8) -> (usize, u64) {
    (count + 1, (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Length and checksum of all that comes; with pauses.
fn slowly(mut from: impl Read) -> (usize, u64) {
    let mut state = (0, SEED);
    let mut buffer = vec![0; 100_000];
    let mut turns = 0;
    loop {
        let count = from.read(&mut buffer).unwrap();
        if count == 0 {
            return state;
        }
        state = buffer[..count].iter().copied().fold(state, step);
        turns += 1;
        if turns % 4 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Sends all by the three calls in turn, in parts, and says how much the calls said they sent.
fn send_all(fd: RawFd, payload: &[u8]) -> usize {
    let name = raw::internet(SocketAddr::from(([127, 0, 0, 1], 9)));
    let mut sent = 0;
    for turn in 0.. {
        let rest = &payload[sent..];
        if rest.is_empty() {
            break;
        }
        let size = rest.len().min([1, 70_000, 1_500_000, 3_000_000][turn % 4]);
        let (one, two) = rest[..size].split_at(size / 3);
        let parts = [part(one), part(two)];
        sent += match turn % 3 {
            0 => sendmsg(fd, &header(&[], &parts, &[]), 0).unwrap(),
            1 => {
                let mut entries = [entry(&[], &parts, &[])];
                assert_eq!(sendmmsg(fd, &mut entries, 0).unwrap(), 1);
                told(&entries[0]).unwrap()
            }
            // TCP looks at no name; a unix stream refuses one.
            _ => sendto(fd, &rest[..size], 0, &name)
                .or_else(|_| raw::call(libc::SYS_sendto, &[fd as usize, raw::at(rest), size]))
                .unwrap(),
        };
    }
    sent
}

fn stream_long(_: &Args) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let reader = std::thread::spawn(move || slowly(theirs));
    report("sent", send_all(ours.as_raw_fd(), &pattern(LONG)));
    ours.flush().unwrap();
    drop(ours);
    report("arrived", if reader.join().unwrap() == expected(LONG) { "whole" } else { "damaged" });
}

fn stream_tcp(args: &Args) {
    let stream = TcpStream::connect(args.get::<SocketAddr>(0)).unwrap();
    report("sent", send_all(stream.as_raw_fd(), &pattern(LONG)));
}

/// Fills a socket without waiting.
fn fill(fd: RawFd, piece: &[u8]) -> Errno {
    loop {
        if let Err(errno) = sendmsg(fd, &header(&[], &[part(piece)], &[]), libc::MSG_DONTWAIT) {
            return errno;
        }
    }
}

fn full(_: &Args) {
    let piece = vec![1u8; 10_000];
    for (name, kind) in
        [("stream", libc::SOCK_STREAM), ("seqpacket", libc::SOCK_SEQPACKET), ("datagram", libc::SOCK_DGRAM)]
    {
        let [one, _two] = pair(kind);
        fill(one, &piece);
        report(format!("{name} MSG_DONTWAIT"), fill(one, &piece));
        report(
            format!("{name} sendto"),
            shown(raw::call(
                libc::SYS_sendto,
                &[one as usize, raw::at(&piece[..]), 10_000, libc::MSG_DONTWAIT as usize],
            )),
        );
        report(
            format!("{name} in a batch"),
            shown(sendmmsg(one, &mut [entry(&[], &[part(&piece)], &[]); 2], libc::MSG_DONTWAIT)),
        );
        let limit = [0usize, 300_000];
        let words =
            [one as usize, libc::SOL_SOCKET as usize, libc::SO_SNDTIMEO as usize, raw::at(&limit), 16];
        raw::call(libc::SYS_setsockopt, &words).unwrap();
        for (call, batch) in [("SO_SNDTIMEO", false), ("SO_SNDTIMEO in a batch", true)] {
            let begun = Instant::now();
            let result = match batch {
                false => sendmsg(one, &header(&[], &[part(&piece)], &[]), 0),
                true => sendmmsg(one, &mut [entry(&[], &[part(&piece)], &[]); 2], 0),
            };
            let took = begun.elapsed().as_millis();
            let took = if (280..800).contains(&took) { 300 } else { took };
            report(format!("{name} {call}"), format!("{} after {took} ms", shown(result)));
        }
        raw::call(libc::SYS_fcntl, &[one as usize, libc::F_SETFL as usize, libc::O_NONBLOCK as usize])
            .unwrap();
        report(format!("{name} O_NONBLOCK"), shown(sendmsg(one, &header(&[], &[part(&piece)], &[]), 0)));
    }
    // More than there is room for: a part goes, and is told.
    let (one, mut two) = UnixStream::pair().unwrap();
    let long = pattern(4 << 20);
    let some = sendmsg(one.as_raw_fd(), &header(&[], &[part(&long)], &[]), libc::MSG_DONTWAIT).unwrap();
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        two.read_to_end(&mut received).unwrap();
        received
    });
    let rest = sendmsg(one.as_raw_fd(), &header(&[], &[part(&long[some..])], &[]), 0).unwrap();
    drop(one);
    let whole = reader.join().unwrap() == long && some > 0 && rest > 0 && some + rest == long.len();
    report("stream partial", if whole { "some, then the rest" } else { "damaged" });
    // Too long for a datagram.
    let [one, _two] = pair(libc::SOCK_DGRAM);
    let long = vec![1u8; 1 << 20];
    report("too long", shown(sendmsg(one, &header(&[], &[part(&long)], &[]), 0)));
    // UDP has room at once; its error comes with the next call.
    let unheard = UdpSocket::bind("127.0.0.1:9").ok();
    report(
        "udp",
        shown(
            UdpSocket::bind("127.0.0.1:0")
                .unwrap()
                .send_to(b"x", "127.0.0.1:9")
                .map_err(|error| Errno::from(&error)),
        ),
    );
    drop(unheard);
}

static PIPES: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_pipe(_: i32) {
    // SAFETY: has no precondition.
    PIPES.store(unsafe { libc::gettid() } as usize, Ordering::Relaxed);
}

extern "C" fn on_alarm(_: i32) {}

fn handle(signal: i32, handler: extern "C" fn(i32), flags: i32) {
    // SAFETY: zeroes are a valid action: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags;
    // SAFETY: a handler of the right type; the old action is not asked for.
    let done = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

fn closed(_: &Args) {
    handle(libc::SIGPIPE, on_pipe, 0);
    // Not the first thread: the signal is the caller's, not the process's.
    let in_thread = || {
        for (name, kind) in [
            ("stream", libc::SOCK_STREAM),
            ("seqpacket", libc::SOCK_SEQPACKET),
            ("datagram", libc::SOCK_DGRAM),
        ] {
            for (suffix, flags) in [("", 0), (" MSG_NOSIGNAL", libc::MSG_NOSIGNAL)] {
                for call in ["sendto", "sendmsg", "sendmmsg"] {
                    let [one, two] = pair(kind);
                    raw::close(two);
                    PIPES.store(0, Ordering::Relaxed);
                    let peer = raw::internet(SocketAddr::from(([127, 0, 0, 1], 9)));
                    let result = match call {
                        "sendto" if kind == libc::SOCK_SEQPACKET => sendto(one, b"x", flags, &peer),
                        "sendto" => {
                            raw::call(libc::SYS_sendto, &[one as usize, raw::at(b"x"), 1, flags as usize])
                        }
                        "sendmsg" => sendmsg(one, &header(&[], &[part(b"x")], &[]), flags),
                        _ => sendmmsg(one, &mut [entry(&[], &[part(b"x")], &[])], flags),
                    };
                    // A signal by another process may be a moment late.
                    std::thread::sleep(Duration::from_millis(20));
                    let signalled = PIPES.load(Ordering::Relaxed) as i32;
                    let whose = match signalled {
                        0 => "no SIGPIPE",
                        tid if tid == raw::tid() => "SIGPIPE in the caller",
                        _ => "SIGPIPE in another thread",
                    };
                    report(format!("{name} {call}{suffix}"), format!("{}, {whose}", shown(result)));
                    raw::close(one);
                }
            }
        }
    };
    std::thread::spawn(in_thread).join().unwrap();
}

fn signalled(_: &Args) {
    let piece = vec![1u8; 10_000];
    for (name, flags) in [("without SA_RESTART", 0), ("with SA_RESTART", libc::SA_RESTART)] {
        handle(libc::SIGALRM, on_alarm, flags);
        // SAFETY: has no precondition.
        let this = unsafe { libc::gettid() } as usize;
        let process = std::process::id() as usize;
        let signal_after = move |millis| {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(millis));
                raw::call(libc::SYS_tgkill, &[process, this, libc::SIGALRM as usize]).unwrap();
            })
        };
        // Nothing sent yet: EINTR, or again until there is room.
        let (one, mut two) = UnixStream::pair().unwrap();
        fill(one.as_raw_fd(), &piece);
        signal_after(150);
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(400));
            let mut received = Vec::new();
            two.read_to_end(&mut received).unwrap();
            received.iter().filter(|byte| **byte == 2).count()
        });
        let mark = vec![2u8; 50_000];
        let begun = Instant::now();
        let result = sendmsg(one.as_raw_fd(), &header(&[], &[part(&mark)], &[]), 0);
        let late = begun.elapsed() > Duration::from_millis(300);
        drop(one);
        let arrived = reader.join().unwrap();
        let told = match result {
            Ok(50_000) if arrived == 50_000 && late => "whole".to_owned(),
            Ok(count) => format!("{count} told, {arrived} arrived, late: {late}"),
            Err(errno) if arrived == 0 && !late => errno.to_string(),
            Err(errno) => format!("{errno}, {arrived} arrived, late: {late}"),
        };
        report(name, told);
        // A part sent: that is the answer, in either case.
        let (one, mut two) = UnixStream::pair().unwrap();
        signal_after(150);
        let reader = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(400));
            let mut received = Vec::new();
            two.read_to_end(&mut received).unwrap();
            received.len()
        });
        let long = vec![2u8; 4 << 20];
        let told = sendmsg(one.as_raw_fd(), &header(&[], &[part(&long)], &[]), 0);
        drop(one);
        let arrived = reader.join().unwrap();
        let told = match told {
            Ok(count) if count == arrived && count < long.len() => "partial".to_owned(),
            other => format!("{other:?}, {arrived} arrived"),
        };
        report(format!("partial {name}"), told);
    }
}

fn dying(_: &Args) {
    let mut killed = 0;
    for round in 0..8 {
        let [one, two] = pair(if round % 2 == 0 { libc::SOCK_STREAM } else { libc::SOCK_DGRAM });
        let child = raw::fork();
        if child == 0 {
            let long = vec![1u8; if round % 2 == 0 { 8 << 20 } else { 50_000 }];
            loop {
                let _ = sendmsg(one, &header(&[], &[part(&long)], &[]), 0);
            }
        }
        std::thread::sleep(Duration::from_millis(60));
        raw::call(libc::SYS_kill, &[child as usize, libc::SIGKILL as usize]).unwrap();
        killed += usize::from(raw::wait(child) == libc::SIGKILL);
        raw::close(one);
        raw::close(two);
    }
    report("killed", killed);
    // A thread that exits the process while another one sends.
    let child = raw::fork();
    if child == 0 {
        let [one, _two] = pair(libc::SOCK_STREAM);
        std::thread::spawn(move || sendmsg(one, &header(&[], &[part(&vec![1u8; 8 << 20])], &[]), 0));
        std::thread::sleep(Duration::from_millis(60));
        raw::exit(3);
    }
    report("exited", raw::wait(child) >> 8);
    let [one, two] = pair(libc::SOCK_STREAM);
    report("after", shown(sendmsg(one, &header(&[], &[part(b"x")], &[]), 0)));
    raw::close(two);
}

const LONG: usize = 5 << 20;
const SEED: u64 = 0xcbf2_9ce4_8422_2325;
