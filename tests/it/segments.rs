//! A sender as QUIC libraries have one: many datagrams a call, which the kernel cuts from one payload (UDP_SEGMENT of
//! udp(7)), with marks for congestion (ECN, in IP_TOS) and a source address (IP_PKTINFO) of their own, in batches. The
//! server must see each datagram as if nobody stood between.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use lab::{Args, Lab, raw, report, shown};

use lab::message::{Entry, control, entry, header, part, sendmmsg, sendmsg, told, udp};

lab::suite! { tests: [each_datagram_arrives_as_it_was_meant, none_arrives_elsewhere], programs: [segments] }

/// How the length of the segments is told, and whether the socket is connected.
const WAYS: [[&str; 2]; 4] =
    [["message", "named"], ["message", "connected"], ["option", "named"], ["option", "connected"]];

/// What is sent in one message: the mark, and the length of its payload. The last segment is a short one.
const ALONE: (u8, usize) = (ECT_0, 5 * SEGMENT + 123);
const BATCH: [(u8, usize); 4] = [
    (ECT_1, 3 * SEGMENT),
    (EXPEDITED | ECT_0, 2 * SEGMENT + 1),
    // One datagram, that no cut falls into.
    (0, SEGMENT / 2),
    (CONGESTED, 4 * SEGMENT),
];

fn each_datagram_arrives_as_it_was_meant(lab: &Lab) {
    for ip in ["127.0.0.1", "::1"] {
        let receiver = Receiver::start(ip);
        let to = receiver.address.to_string();
        let source: IpAddr = if receiver.address.is_ipv4() { SOURCE.into() } else { ip.parse().unwrap() };
        let expected: Vec<_> = std::iter::once(ALONE)
            .chain(BATCH)
            .flat_map(|(mark, length)| {
                payload(mark, length)
                    .chunks(SEGMENT)
                    .map(|cut| (source, mark, cut.to_vec()))
                    .collect::<Vec<_>>()
            })
            .collect();
        for [told_by, name] in WAYS {
            for run in [lab.bare(), lab.sandbox().allow(format!("udp://{to}"))] {
                let out = run.run("segments", [told_by, name, &to]);
                out.expect_code(0).expect("alone", ALONE.1).expect("batch", BATCH.len());
                for (index, (_, length)) in BATCH.iter().enumerate() {
                    out.expect(&format!("length of {index}"), length);
                }
                let received = receiver.received();
                assert_eq!(received.len(), expected.len(), "{out}");
                assert!(received == expected, "{received:?}\n{expected:?}\n{out}");
            }
        }
    }
}

fn none_arrives_elsewhere(lab: &Lab) {
    for ip in ["127.0.0.1", "::1"] {
        let (allowed, other) = (Receiver::start(ip), Receiver::start(ip));
        for [told_by, name] in WAYS {
            let run = lab.sandbox().allow(format!("udp://{}", allowed.address));
            let out = run.run("segments", [told_by, name, &other.address.to_string()]);
            if name == "connected" {
                // As for a socket that has no peer.
                out.expect("connect", "ECONNREFUSED").expect("alone", "EDESTADDRREQ");
                out.expect("batch", "EDESTADDRREQ");
            } else {
                out.expect("alone", "ECONNREFUSED").expect("batch", "ECONNREFUSED");
            }
            assert_eq!((allowed.received(), other.received()), (vec![], vec![]), "{out}");
        }
        lab.bare().run("segments", ["message", "named", &other.address.to_string()]).expect_code(0);
        assert!(!other.received().is_empty());
    }
}

/// A server that says of each datagram where it came from, its mark and its bytes.
struct Receiver {
    socket: UdpSocket,
    address: SocketAddr,
}

type Received = (IpAddr, u8, Vec<u8>);

impl Receiver {
    fn start(ip: &str) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        set(socket.as_raw_fd(), mark_option(address, true), 1).unwrap();
        Receiver { socket, address }
    }

    /// What has come since the last time. All of it waits in the socket's buffer until then.
    fn received(&self) -> Vec<Received> {
        std::iter::from_fn(|| self.next()).collect()
    }

    fn next(&self) -> Option<Received> {
        let (mut name, mut bytes, mut space) = ([0u8; 28], vec![0u8; 65_536], [0u8; 64]);
        let parts = [[raw::out(&mut bytes[..]), bytes.len()]];
        let mut header = [raw::out(&mut name), 28, raw::at(&parts), 1, raw::out(&mut space), 64, 0];
        let fd = self.socket.as_raw_fd() as usize;
        let length = raw::call(libc::SYS_recvmsg, &[fd, raw::out(&mut header), 0]).ok()?;
        bytes.truncate(length);
        // The only control message: behind its header, a byte (IPv4) or an integer.
        Some((self.sender(&name), space[16], bytes))
    }

    fn sender(&self, name: &[u8; 28]) -> IpAddr {
        match self.address {
            SocketAddr::V4(_) => <[u8; 4]>::try_from(&name[4..8]).unwrap().into(),
            SocketAddr::V6(_) => <[u8; 16]>::try_from(&name[8..24]).unwrap().into(),
        }
    }
}

/// The option that sets the mark of what is sent, or asks for that of what comes.
fn mark_option(address: SocketAddr, receive: bool) -> (i32, i32) {
    match (address, receive) {
        (SocketAddr::V4(_), false) => (libc::IPPROTO_IP, libc::IP_TOS),
        (SocketAddr::V4(_), true) => (libc::IPPROTO_IP, libc::IP_RECVTOS),
        (SocketAddr::V6(_), false) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        (SocketAddr::V6(_), true) => (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
    }
}

fn set(fd: RawFd, (level, option): (i32, i32), value: i32) -> Result<usize, lab::Errno> {
    raw::call(libc::SYS_setsockopt, &[fd as usize, level as usize, option as usize, raw::at(&value), 4])
}

/// Bytes that tell which message they are of, and where in it they belong.
fn payload(mark: u8, length: usize) -> Vec<u8> {
    (0..length).map(|index| (index as u8).wrapping_mul(7) ^ (index >> 8) as u8 ^ mark).collect()
}

/// `segments message|option named|connected ADDRESS`.
fn segments(args: &Args) {
    let (by_message, named, to) = (args.text(0) == "message", args.text(1) == "named", args.get(2));
    let socket = udp(to);
    let mut name = raw::internet(to);
    if !named {
        report("connect", shown(raw::connect(socket, &name)));
        name.clear();
    }
    // What such a library sets at the beginning: no fragments, and datagrams that came may be told together.
    let probe = match to {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    for option in [(probe, libc::IP_PMTUDISC_PROBE), ((libc::SOL_UDP, libc::UDP_GRO), 1)] {
        set(socket, option.0, option.1).unwrap();
    }
    if !by_message {
        set(socket, (libc::SOL_UDP, libc::UDP_SEGMENT), SEGMENT as i32).unwrap();
    }
    let messages = |mark: u8| {
        let (level, kind) = mark_option(to, false);
        let mut bytes = control(level, kind, &i32::from(mark).to_ne_bytes());
        bytes.extend(match to {
            // `struct in_pktinfo`: any interface, the source address.
            SocketAddr::V4(_) => {
                let address = [[0; 4], SOURCE, [0; 4]].concat();
                control(libc::IPPROTO_IP, libc::IP_PKTINFO, &address)
            }
            SocketAddr::V6(_) => {
                let address = [&std::net::Ipv6Addr::LOCALHOST.octets()[..], &[0; 4]].concat();
                control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &address)
            }
        });
        if by_message {
            bytes.extend(control(libc::SOL_UDP, libc::UDP_SEGMENT, &(SEGMENT as u16).to_ne_bytes()));
        }
        bytes
    };
    let count = |result: Result<usize, lab::Errno>| {
        result.map_or_else(|errno| errno.to_string(), |count| count.to_string())
    };
    let (bytes, with) = (payload(ALONE.0, ALONE.1), messages(ALONE.0));
    // In two parts, and the cut between them is none of the kernel's.
    let (one, two) = bytes.split_at(SEGMENT + 77);
    report("alone", count(sendmsg(socket, &header(&name, &[part(one), part(two)], &with), 0)));
    let batch = BATCH.map(|(mark, length)| (payload(mark, length), messages(mark)));
    let parts = batch.each_ref().map(|(bytes, _)| [part(bytes)]);
    let mut entries: Vec<Entry> =
        parts.iter().zip(&batch).map(|(parts, (_, with))| entry(&name, parts, with)).collect();
    report("batch", count(sendmmsg(socket, &mut entries, 0)));
    for (index, entry) in entries.iter().enumerate() {
        report(format!("length of {index}"), told(entry).unwrap_or(usize::MAX));
    }
}

/// Another address of the machine than the one that it would take by itself.
const SOURCE: [u8; 4] = [127, 0, 0, 5];
const SEGMENT: usize = 400;
/// RFC 3168, and the class that RFC 3246 names.
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CONGESTED: u8 = 3;
const EXPEDITED: u8 = 0xb8;
