//! `sendmmsg`, where it ends before the last of its messages: because a length cannot be told, or a stream took a part of one.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use lab::message::{Entry, entry, part, sendmmsg, told};
use lab::{Args, Lab, NONE, Run, UdpServer, raw, report, shown};

lab::suite! {
    tests: [a_length_that_cannot_be_told_ends_a_batch, a_stream_that_took_a_part_gets_nothing_after_it],
    programs: [tell_lengths_nowhere, send_parts],
}

fn runs(lab: &Lab, server: &UdpServer) -> [Run; 2] {
    [lab.bare(), lab.sandbox().allow(server.rule()).option("--unix-dgram")]
}

fn a_length_that_cannot_be_told_ends_a_batch(lab: &Lab) {
    let server = UdpServer::v4();
    let address = server.address().to_string();
    let [bare, inside] = runs(lab, &server).map(|run| run.run("tell_lengths_nowhere", [&address]));
    assert!(bare.stdout.lines().count() >= 30, "{bare}");
    assert_eq!(inside.stdout, bare.stdout, "{inside}");
    // What cannot be told was sent all the same, and nothing after it.
    bare.expect("datagram 0 of 4 told", "EFAULT [], 1 arrived");
    bare.expect("datagram 2 of 4 told", "2 [6 6], 3 arrived");
    let saw = server.saw();
    assert_eq!(saw.len() % 2, 0, "{saw:?}");
}

/// `tell_lengths_nowhere ADDRESS`.
fn tell_lengths_nowhere(args: &Args) {
    const PAGE: usize = 4096;
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let area = raw::call(libc::SYS_mmap, &[0, 2 * PAGE, protection, flags, usize::MAX, 0]).unwrap();
    let protect = |protection: i32| {
        raw::call(libc::SYS_mprotect, &[area + PAGE, PAGE, protection as usize]).unwrap();
    };
    let to: std::net::SocketAddr = args.get(0);
    let name = raw::internet(to);
    let parts = [part(b"hello!")];
    let udp = raw::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
    let kinds =
        [("stream", libc::SOCK_STREAM), ("datagram", libc::SOCK_DGRAM), ("packet", libc::SOCK_SEQPACKET)];
    let mut pairs = kinds.map(|(kind, number)| (kind, pair(number), Vec::new())).to_vec();
    pairs.push(("udp", (udp, -1), name));
    for (kind, (socket, end), name) in pairs {
        for closed in [libc::PROT_READ, libc::PROT_NONE] {
            for count in [1, 2, 4] {
                for writable in 0..=count {
                    // The length of the first that is not is where the second page begins.
                    let start = area + PAGE - writable * 64 - if closed == libc::PROT_NONE { 56 } else { 0 };
                    protect(libc::PROT_READ | libc::PROT_WRITE);
                    let entries = vec![entry(&name, &parts, &[]); count];
                    // SAFETY: all of it lies in the two pages.
                    unsafe { std::ptr::copy_nonoverlapping(entries.as_ptr(), start as *mut Entry, count) };
                    protect(closed);
                    let sent = raw::call(libc::SYS_sendmmsg, &[socket as usize, start, count, 0]);
                    protect(libc::PROT_READ | libc::PROT_WRITE);
                    // SAFETY: as above.
                    let entries =
                        unsafe { std::slice::from_raw_parts(start as *const Entry, count) }.to_vec();
                    let lengths: Vec<_> =
                        entries.iter().filter_map(told).map(|length| length.to_string()).collect();
                    let how = if closed == libc::PROT_READ { "told" } else { "closed" };
                    let sent = sent.map_or_else(|errno| shown::<()>(Err(errno)), |sent| sent.to_string());
                    let came = if end < 0 { String::new() } else { format!(", {} arrived", arrived(end)) };
                    report(
                        format!("{kind} {writable} of {count} {how}"),
                        format!("{sent} [{}]{came}", lengths.join(" ")),
                    );
                }
            }
        }
    }
}

fn pair(kind: i32) -> (RawFd, RawFd) {
    let mut pair = [0i32; 2];
    raw::call(libc::SYS_socketpair, &[libc::AF_UNIX as usize, kind as usize, 0, raw::out(&mut pair)])
        .unwrap();
    (pair[0], pair[1])
}

/// How many messages of six bytes.
fn arrived(end: RawFd) -> usize {
    let mut buffer = [0u8; 6];
    let flags = libc::MSG_DONTWAIT as usize;
    let take = || raw::call(libc::SYS_recvfrom, &[end as usize, raw::out(&mut buffer), 6, flags, 0, 0]);
    std::iter::repeat_with(take).take_while(Result::is_ok).count()
}

/// What comes after a part would be taken for the rest of it.
fn a_stream_that_took_a_part_gets_nothing_after_it(lab: &Lab) {
    let server = UdpServer::v4();
    for run in runs(lab, &server) {
        let out = run.run("send_parts", NONE);
        out.expect("parts followed", 0);
        assert!(out.value("parts").parse::<usize>().unwrap() > 10, "{out}");
    }
}

/// `send_parts`: while another thread makes room.
fn send_parts(_: &Args) {
    let (socket, end) = pair(libc::SOCK_STREAM);
    let done = AtomicBool::new(false);
    let long = vec![1u8; 400_000];
    let (mut parts, mut followed) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0u8; 1 << 16];
            while !done.load(Ordering::Relaxed) {
                let flags = libc::MSG_DONTWAIT as usize;
                let _ = raw::call(
                    libc::SYS_recvfrom,
                    &[end as usize, raw::out(&mut buffer[..]), 1 << 16, flags, 0, 0],
                );
            }
        });
        for _ in 0..200 {
            // There is room for a part, and not for all of it.
            let mut poll = libc::pollfd { fd: socket, events: libc::POLLOUT, revents: 0 };
            raw::call(libc::SYS_poll, &[raw::out(&mut poll), 1, 5000]).unwrap();
            let (first, second) = ([part(&long)], [part(b"after")]);
            let mut entries = [entry(&[], &first, &[]), entry(&[], &second, &[])];
            let sent = sendmmsg(socket, &mut entries, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
            if sent.is_ok() && told(&entries[0]).is_some_and(|length| length < long.len()) {
                parts += 1;
                followed += usize::from(sent != Ok(1));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    report("parts", parts);
    report("parts followed", followed);
}
