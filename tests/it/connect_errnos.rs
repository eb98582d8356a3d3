//! `connect` on behalf answers what the kernel answers: the same faulty calls, bare and sandboxed, side by side.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use lab::{Args, Errno, Lab, Output, TcpServer, UdpServer, UnixServer, raw, report, shown};

lab::suite! {
    tests: [internet_as_bare, unix_as_bare, others_as_bare],
    programs: [internet_calls, unix_calls, other_calls],
}

fn internet_as_bare(lab: &Lab) {
    for (server, udp) in [(TcpServer::v4(), UdpServer::v4()), (TcpServer::v6(), UdpServer::v6())] {
        let args = [server.rule(), udp.address().to_string()];
        let run = lab.sandbox().options(ALL).run("internet_calls", &args);
        same(&lab.bare().run("internet_calls", &args), &run);
    }
}

fn unix_as_bare(lab: &Lab) {
    let work = lab.path("work");
    let _server = UnixServer::at(lab, work.join("socket"));
    let _datagrams = std::os::unix::net::UnixDatagram::bind(work.join("datagrams")).unwrap();
    lab.own(&work.join("datagrams"));
    // Bare, root's capabilities open it; inside there are none.
    let _closed = (!lab.user().is_root()).then(|| UnixServer::at(lab, work.join("closed")));
    if !lab.user().is_root() {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        std::fs::set_permissions(work.join("closed"), mode).unwrap();
    }
    drop(UnixServer::at(lab, work.join("dead")));
    lab.file("work/file", "");
    lab.directory("work/directory");
    std::os::unix::fs::symlink("loop", work.join("loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", work.join("dangling")).unwrap();
    same(&lab.bare().run("unix_calls", [&work]), &lab.sandbox().write(&work).run("unix_calls", [&work]));
}

fn others_as_bare(lab: &Lab) {
    let server = TcpServer::v4();
    let out = lab.sandbox().options(ALL).run("other_calls", [server.rule()]);
    same(&lab.bare().run("other_calls", [server.rule()]), &out);
}

const ALL: [&str; 8] = [
    "--net-allow",
    "127.0.0.0/8:*",
    "--net-allow",
    "[::1]:*",
    "--net-allow",
    "udp://127.0.0.0/8:*",
    "--net-allow",
    "udp://[::1]:*",
];

/// Every line the same; all differences at once.
#[track_caller]
fn same(bare: &Output, sandboxed: &Output) {
    let differences: Vec<_> = bare
        .stdout
        .lines()
        .zip(sandboxed.stdout.lines())
        .filter(|(one, other)| one != other)
        .map(|(one, other)| format!("bare {one}, sandboxed {other}\n"))
        .collect();
    assert!(differences.is_empty(), "{}", differences.concat());
    assert!(bare.stdout.lines().count() == sandboxed.stdout.lines().count(), "{bare}{sandboxed}");
    assert!(bare.stdout.lines().count() > 5, "{bare}");
}

/// One call on a fresh socket, by registers.
fn connect(fd: RawFd, address: usize, length: usize) -> Result<usize, Errno> {
    raw::call(libc::SYS_connect, &[fd as usize, address, length])
}

const LENGTHS: [i64; 22] = [
    -1,
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    17,
    23,
    24,
    27,
    28,
    29,
    64,
    127,
    128,
    129,
    i32::MIN as i64,
    1 << 32 | 16,
];

/// `internet_calls TCP UDP`.
fn internet_calls(args: &Args) {
    for (kind, address) in [(libc::SOCK_STREAM, args.get(0)), (libc::SOCK_DGRAM, args.get::<SocketAddr>(1))] {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let mut bytes = raw::internet(address);
        bytes.resize(256, 0);
        let fresh = || raw::socket(family, kind, 0).unwrap();
        let one = |name: &str, bytes: &[u8], length: i64| {
            let socket = fresh();
            report(
                format!("{kind} {name} {length}"),
                shown(connect(socket, raw::at(bytes), length as usize)),
            );
            raw::close(socket);
        };
        LENGTHS.iter().for_each(|&length| one("length", &bytes, length));
        for other in [0u16, 1, 2, 10, 16, 17, 0xffff] {
            let mut bytes = bytes.clone();
            bytes[..2].copy_from_slice(&other.to_ne_bytes());
            [2, 7, 8, 16, 24, 28].iter().for_each(|&length| one(&format!("family {other}"), &bytes, length));
        }
        for (name, at) in [("null", 0), ("low", 1), ("kernel", usize::MAX - 4096), ("unmapped", 1 << 46)] {
            let socket = fresh();
            report(format!("{kind} {name}"), shown(connect(socket, at, 16)));
            report(format!("{kind} {name} without length"), shown(connect(socket, at, 0)));
        }
        edge(kind, &bytes);
        sequence(kind, fresh(), &bytes, if address.is_ipv4() { 16 } else { 28 });
        let mut nobody = bytes.clone();
        nobody[2..4].copy_from_slice(&0u16.to_be_bytes());
        one("port 0", &nobody, 28);
        // Nothing listens there.
        nobody[2..4].copy_from_slice(&1u16.to_be_bytes());
        one("closed port", &nobody, 28);
    }
}

/// The address at the end of the last mapped page: a length beyond it is a fault.
fn edge(kind: i32, bytes: &[u8]) {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let pages = raw::call(libc::SYS_mmap, &[0, 8192, protection, flags, usize::MAX, 0]).unwrap();
    raw::call(libc::SYS_munmap, &[pages + 4096, 4096]).unwrap();
    for (room, length) in [(16, 16), (16, 17), (28, 28), (28, 29), (8, 16), (1, 2), (1, 1)] {
        let at = pages + 4096 - room;
        // SAFETY: the page was just mapped, and `room` bytes of it are left.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, room) };
        let family = i32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let socket = raw::socket(family, kind, 0).unwrap();
        report(format!("{kind} edge {room} {length}"), shown(connect(socket, at, length)));
        raw::close(socket);
    }
}

/// One socket through its life: connected, again, disconnected, again.
fn sequence(kind: i32, socket: RawFd, bytes: &[u8], length: usize) {
    let unspecified = [0u8; 16];
    let step = |name: &str, bytes: &[u8], length: usize| {
        report(format!("{kind} {name}"), shown(connect(socket, raw::at(bytes), length)));
    };
    step("disconnected first", &unspecified, 16);
    step("connected", bytes, length);
    step("connected again", bytes, length);
    step("connected with a wrong length", bytes, 3);
    step("disconnected", &unspecified, 16);
    step("disconnected again, shortly", &unspecified, 2);
    step("connected anew", bytes, length);
    raw::call(libc::SYS_shutdown, &[socket as usize, 2]).unwrap();
    step("after shutdown", bytes, length);
}

fn unix_calls(args: &Args) {
    let place = args.path(0);
    let one = |name: &str, kind: i32, bytes: &[u8], length: usize| {
        let socket = raw::socket(libc::AF_UNIX, kind, 0).unwrap();
        report(name, shown(connect(socket, raw::at(bytes), length)));
        raw::close(socket);
    };
    for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
        for name in [
            "socket",
            "datagrams",
            "closed",
            "dead",
            "file",
            "directory",
            "loop",
            "dangling",
            "none",
            "file/none",
            "none/none",
            "directory/",
            "socket/",
            ".",
            "",
            "/",
            "/dev/null",
        ] {
            for path in [place.join(name), Path::new(name).to_owned()] {
                let bytes = raw::unix(&path);
                one(&format!("{kind} {}", path.display()), kind, &bytes, bytes.len());
            }
        }
    }
    let bytes = raw::unix(Path::new("socket"));
    let mut long = bytes.clone();
    long.resize(256, 0);
    for length in [0, 1, 2, 3, 8, 9, 10, 109, 110, 111, 128, 129, usize::MAX] {
        one(&format!("length {length}"), libc::SOCK_STREAM, &long, length);
    }
    // Nothing ends the name but the length.
    let full = [&[1u8, 0][..], &[b'x'; 108]].concat();
    one("no end", libc::SOCK_STREAM, &full, 110);
    one("abstract of nobody", libc::SOCK_STREAM, &raw::unix_abstract(b"nobody has this name"), 23);
    one("abstract without a name", libc::SOCK_STREAM, &raw::unix_abstract(b""), 3);
    for family in [0u16, 2, 10, 0xffff] {
        let mut other = bytes.clone();
        other[..2].copy_from_slice(&family.to_ne_bytes());
        one(&format!("family {family}"), libc::SOCK_STREAM, &other, other.len());
    }
    let socket = raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
    report("connected", shown(connect(socket, raw::at(&bytes[..]), bytes.len())));
    report("connected again", shown(connect(socket, raw::at(&bytes[..]), bytes.len())));
    report("fault", shown(connect(socket, 8, 10)));
}

fn other_calls(args: &Args) {
    let bytes = raw::internet(args.get::<SocketAddr>(0));
    let on = |name: &str, fd: RawFd| report(name, shown(connect(fd, raw::at(&bytes[..]), bytes.len())));
    on("no descriptor", -1);
    on("a closed one", 1000);
    on("far too high", i32::MAX);
    let file = std::fs::File::open("/dev/null").unwrap();
    on("a file", file.as_raw_fd());
    let path = [-100isize as usize, raw::at(b"/dev/null\0"), libc::O_PATH as usize];
    on("a handle", raw::call(libc::SYS_openat, &path).unwrap() as RawFd);
    let mut ends = [0i32; 2];
    raw::call(libc::SYS_pipe2, &[raw::out(&mut ends), 0]).unwrap();
    on("a pipe", ends[0]);
    report("no descriptor, and a fault", shown(connect(-1, 8, 16)));
    report("a file, and a fault", shown(connect(file.as_raw_fd(), 8, 16)));
    report("a file, and a wrong length", shown(connect(file.as_raw_fd(), raw::at(&bytes[..]), 500)));
    // The kernel reads 32 bits of a descriptor.
    let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    let garbage = socket as usize | 1 << 32;
    let done = raw::call(libc::SYS_connect, &[garbage, raw::at(&bytes[..]), bytes.len()]);
    report("garbage above the descriptor", shown(done));
    // IPv4 on an IPv6 socket, and the other way round.
    let mapped: SocketAddr =
        format!("[::ffff:127.0.0.1]:{}", args.get::<SocketAddr>(0).port()).parse().unwrap();
    let mapped = raw::internet(mapped);
    for (name, family, bytes) in [
        ("v4 on v6", libc::AF_INET6, &bytes),
        ("mapped on v6", libc::AF_INET6, &mapped),
        ("mapped on v4", libc::AF_INET, &mapped),
    ] {
        let socket = raw::socket(family, libc::SOCK_STREAM, 0).unwrap();
        report(name, shown(connect(socket, raw::at(&bytes[..]), bytes.len())));
    }
    let only = raw::socket(libc::AF_INET6, libc::SOCK_STREAM, 0).unwrap();
    let option = [only as usize, libc::IPPROTO_IPV6 as usize, libc::IPV6_V6ONLY as usize, raw::at(&1i32), 4];
    raw::call(libc::SYS_setsockopt, &option).unwrap();
    report("mapped on v6 only", shown(connect(only, raw::at(&mapped[..]), mapped.len())));
    // struct sockaddr_nl.
    let netlink = raw::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0).unwrap();
    let mut kernel = [0u8; 12];
    kernel[0] = libc::AF_NETLINK as u8;
    for length in [2, 11, 12, 16] {
        report(format!("netlink {length}"), shown(connect(netlink, raw::at(&kernel), length)));
    }
}
