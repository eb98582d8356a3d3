//! A send that finds no room waits, and the supervisor waits for it: with the payload, it would hold as much memory as
//! a hostile program cares to block; with a thread, as many threads; and whoever else sends would wait behind.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use lab::{Args, Lab, UdpServer, raw, report};

use lab::message::{header, sendmsg, sendto, udp};

lab::suite! { tests: [they_hold_neither_memory_nor_others], programs: [block] }

fn they_hold_neither_memory_nor_others(lab: &Lab) {
    let server = UdpServer::v4();
    for kind in ["stream", "seqpacket", "datagram"] {
        let run = lab.sandbox().allow(server.rule()).option("--unix-dgram").input_pipe();
        let mut child = run.program("block", [kind.to_owned(), server.address().to_string()]).start();
        let quick: u64 = child.wait_for("median").parse().unwrap();
        let rss = supervisor_rss(child.pid());
        assert!(!rss.is_empty(), "no supervisor found");
        assert!(rss.iter().all(|rss| *rss < 100 << 10), "{kind}: the supervisor holds {rss:?} KiB");
        assert!(quick < 20_000, "{kind}: the median of sends beside the blocked ones is {quick} µs");
        child.end_input();
        let out = child.finish();
        out.expect_code(0);
        assert_eq!(out.value("blocked"), "64", "{out}");
    }
    assert_eq!(server.saw().len(), 3 * SENDS);
}

/// The memory in KiB of the processes of sandlock below the launcher, and of the launcher.
fn supervisor_rss(launcher: i32) -> Vec<u64> {
    let mut found = Vec::new();
    let mut pids = vec![launcher];
    while let Some(pid) = pids.pop() {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        pids.extend(children.split_whitespace().map(|pid| pid.parse::<i32>().unwrap()));
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let rss = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB")?.trim().parse().ok());
        if let Some(rss) = rss
            && !command.split('\0').next().unwrap_or_default().ends_with("/program")
        {
            found.push(rss);
        }
    }
    found
}

/// `block KIND ADDRESS`: many threads block in sends of what is large; this one sends small datagrams.
fn block(args: &Args) {
    let (kind, length) = match args.text(0) {
        "stream" => (libc::SOCK_STREAM, 64 << 20),
        "seqpacket" => (libc::SOCK_SEQPACKET, 150_000),
        _ => (libc::SOCK_DGRAM, 150_000),
    };
    let payload: &'static [u8] = vec![7; length].leak();
    let blocked = (0..THREADS).map(|_| {
        let mut pair = [0 as RawFd; 2];
        raw::call(libc::SYS_socketpair, &[1, kind as usize, 0, raw::out(&mut pair)]).unwrap();
        std::thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(
                move || {
                    while sendmsg(pair[0], &header(&[], &[[raw::at(payload), length]], &[]), 0).is_ok() {}
                },
            )
            .unwrap()
    });
    let blocked: Vec<_> = blocked.collect();
    std::thread::sleep(Duration::from_millis(500));
    let to: SocketAddr = args.get(1);
    let (socket, name) = (udp(to), raw::internet(to));
    let mut times: Vec<_> = (0..SENDS)
        .map(|_| {
            let begun = Instant::now();
            sendto(socket, b"quick", 0, &name).unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort();
    report("median", times[SENDS / 2].as_micros());
    let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
    report("blocked", blocked.iter().filter(|thread| !thread.is_finished()).count());
}

const THREADS: usize = 64;
const SENDS: usize = 50;
