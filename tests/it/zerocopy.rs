//! MSG_ZEROCOPY: the kernel refers to the sender's buffer until it says on the error queue that it is done
//! (Documentation/networking/msg_zerocopy.rst). Sent on behalf, the buffer is the supervisor's; what is promised to
//! the caller stays: after the notification the buffer may be written, and each call is told of once.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use lab::{Args, Errno, Lab, Run, TcpServer, UdpServer, raw, report};

use lab::message::{control, entry, header, part, sendmmsg, sendmsg, sendto, told, udp};

lab::suite! {
    tests: [datagrams_are_told_of_and_whole, streams_are_told_of_and_whole],
    programs: [zerocopy_datagrams, zerocopy_stream],
}

fn datagrams_are_told_of_and_whole(lab: &Lab) {
    for server in [UdpServer::v4(), UdpServer::v6()] {
        let run = |run: Run| {
            let before = server.saw().len();
            let out = run.run("zerocopy_datagrams", [server.address().to_string()]);
            out.expect_code(0);
            // Calls in turn, each waited for, so that each is told of by itself: numbers from 0.
            for (index, call) in CALLS.iter().enumerate() {
                out.expect(call, LENGTH).expect(&format!("told of {call}"), format!("{index} to {index}"));
            }
            // Four calls and a batch of four; notifications may be told together, in ranges.
            out.expect("together", "8 from 5 to 12").expect("batch", "4 of 4000");
            let seen: Vec<_> = server.saw()[before..].iter().map(|seen| seen.bytes.clone()).collect();
            let first = (0..CALLS.len()).map(|index| pattern(index, LENGTH));
            let expected: Vec<_> = first.chain((0..8).map(|index| pattern(100 + index, 4000))).collect();
            assert!(seen == expected, "{} datagrams, damaged or missing\n{out}", seen.len());
        };
        run(lab.bare());
        run(lab.sandbox().allow(server.rule()));
    }
    // Where no rule leads nothing goes, and nothing is told of.
    let (allowed, other) = (UdpServer::v4(), UdpServer::v4());
    let out = lab.sandbox().allow(allowed.rule()).run("zerocopy_datagrams", [other.address().to_string()]);
    CALLS.iter().for_each(|call| {
        out.expect(call, "ECONNREFUSED");
    });
    out.expect("nothing", "told");
    assert_eq!((allowed.saw(), other.saw()), (vec![], vec![]), "{out}");
}

fn streams_are_told_of_and_whole(lab: &Lab) {
    for server in [TcpServer::v4(), TcpServer::v6()] {
        for run in [lab.bare(), lab.sandbox().allow(server.rule()).allow("udp://127.0.0.9:9")] {
            let before = server.saw().len();
            let out = run.run("zerocopy_stream", [server.rule()]);
            out.expect_code(0).expect("sent", STREAM).expect("told of", "every call");
            let seen = &server.saw()[before].bytes;
            assert!(*seen == pattern(7, STREAM), "{} bytes, damaged or missing\n{out}", seen.len());
        }
    }
}

const CALLS: [&str; 5] = ["sendto", "sendmsg", "sendmsg in parts", "sendmsg with control", "sendmmsg"];
/// Some pages, and not a whole number of them.
const LENGTH: usize = 20_001;
/// Several calls of each length.
const STREAM: usize = 4 << 20;

/// Bytes of their own for each message and place.
fn pattern(message: usize, length: usize) -> Vec<u8> {
    (0..length).map(|index| (index.wrapping_mul(31) ^ (index >> 8) ^ (message * 57)) as u8).collect()
}

fn enable(socket: RawFd) {
    let words = [socket as usize, libc::SOL_SOCKET as usize, libc::SO_ZEROCOPY as usize, raw::at(&1i32), 4];
    raw::call(libc::SYS_setsockopt, &words).unwrap();
}

/// The next range of calls that the kernel is done with; nothing when none is told of in time.
fn notified(socket: RawFd, limit: Duration) -> Option<(u32, u32)> {
    let end = Instant::now() + limit;
    loop {
        let mut space = [0u8; 128];
        let mut header = [0, 0, 0, 0, raw::out(&mut space), 128, 0];
        let flags = (libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) as usize;
        match raw::call(libc::SYS_recvmsg, &[socket as usize, raw::out(&mut header), flags]) {
            Ok(_) => {
                // `struct sock_extended_err` behind the header of the control message.
                let word = |at: usize| u32::from_ne_bytes(space[at..at + 4].try_into().unwrap());
                let (errno, origin) = (word(16), space[20]);
                assert_eq!((errno, origin), (0, 5), "SO_EE_ORIGIN_ZEROCOPY");
                return Some((word(24), word(28)));
            }
            Err(Errno(libc::EAGAIN)) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Errno(libc::EAGAIN)) => return None,
            Err(errno) => panic!("{errno}"),
        }
    }
}

/// Waits for so many calls: the first number and the last.
fn notified_of(socket: RawFd, calls: u32) -> (u32, u32) {
    let (first, mut last) = notified(socket, LONG).unwrap();
    while last - first + 1 < calls {
        let (next, end) = notified(socket, LONG).unwrap();
        assert_eq!(next, last + 1);
        last = end;
    }
    (first, last)
}

fn shown(result: Result<usize, Errno>) -> String {
    result.map_or_else(|errno| errno.to_string(), |count| count.to_string())
}

/// `zerocopy_datagrams ADDRESS`.
fn zerocopy_datagrams(args: &Args) {
    let to: SocketAddr = args.get(0);
    let (socket, name) = (udp(to), raw::internet(to));
    enable(socket);
    let flags = libc::MSG_ZEROCOPY;
    let mark = match to {
        SocketAddr::V4(_) => control(libc::IPPROTO_IP, libc::IP_TOS, &16i32.to_ne_bytes()),
        SocketAddr::V6(_) => control(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &16i32.to_ne_bytes()),
    };
    let mut buffer = vec![0; LENGTH];
    let mut any = false;
    for (index, call) in CALLS.iter().enumerate() {
        buffer.copy_from_slice(&pattern(index, LENGTH));
        let (one, two) = buffer.split_at(9_999);
        let whole = [part(&buffer)];
        let sent = match *call {
            "sendto" => sendto(socket, &buffer, flags, &name),
            "sendmsg" => sendmsg(socket, &header(&name, &whole, &[]), flags),
            "sendmsg in parts" => sendmsg(socket, &header(&name, &[part(one), part(two)], &[]), flags),
            "sendmsg with control" => sendmsg(socket, &header(&name, &whole, &mark), flags),
            _ => {
                let mut entries = [entry(&name, &whole, &[])];
                sendmmsg(socket, &mut entries, flags).map(|_| told(&entries[0]).unwrap())
            }
        };
        if sent.is_ok() {
            let (first, last) = notified_of(socket, 1);
            report(format!("told of {call}"), format!("{first} to {last}"));
            any = true;
        }
        // Now it is the caller's again.
        buffer.fill(0xff);
        report(call, shown(sent));
    }
    if !any {
        let silent = notified(socket, Duration::from_millis(50)).is_none();
        return report("nothing", if silent { "told" } else { "sent, and yet told of" });
    }
    let mut buffers: Vec<_> = (0..8).map(|index| pattern(100 + index, 4000)).collect();
    for buffer in &buffers[..4] {
        sendto(socket, buffer, flags, &name).unwrap();
    }
    let parts: Vec<_> = buffers[4..].iter().map(|buffer| [part(buffer)]).collect();
    let mut entries: Vec<_> = parts.iter().map(|parts| entry(&name, parts, &[])).collect();
    let count = sendmmsg(socket, &mut entries, flags).unwrap();
    let lengths: Vec<_> = entries.iter().filter_map(told).collect();
    assert!(lengths.iter().all(|length| *length == 4000));
    report("batch", format!("{count} of 4000"));
    let (first, last) = notified_of(socket, 8);
    buffers.iter_mut().for_each(|buffer| buffer.fill(0xff));
    report("together", format!("{} from {first} to {last}", last - first + 1));
}

/// `zerocopy_stream ADDRESS`.
fn zerocopy_stream(args: &Args) {
    let to: SocketAddr = args.get(0);
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = raw::socket(family, libc::SOCK_STREAM, 0).unwrap();
    raw::connect(socket, &raw::internet(to)).unwrap();
    enable(socket);
    let stream = pattern(7, STREAM);
    let mut buffer = vec![0; 1 << 20];
    let (mut sent, mut calls) = (0, 0);
    while sent < STREAM {
        let length = (STREAM - sent).min([100, 70_000, 1 << 20][calls as usize % 3]);
        buffer[..length].copy_from_slice(&stream[sent..sent + length]);
        // Short ones are told as such, so that the caller goes on behind them.
        let (one, two) = buffer[..length].split_at(length / 3);
        let message = header(&[], &[part(one), part(two)], &[]);
        sent += sendmsg(socket, &message, libc::MSG_ZEROCOPY).unwrap();
        assert_eq!(notified_of(socket, 1), (calls, calls));
        buffer.fill(0xff);
        calls += 1;
    }
    report("sent", sent);
    let silent = notified(socket, Duration::from_millis(50)).is_none();
    report("told of", if silent { "every call" } else { "more than the calls" });
}

const LONG: Duration = Duration::from_secs(10);
