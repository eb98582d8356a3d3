//! A unix datagram socket needs no connect: each message names a socket anywhere in the file system, or an abstract
//! one. Without `--unix-dgram` there is no such socket, nor a pair; with it each name is judged.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use lab::{Args, Lab, NONE, Output, raw, report, shown};

use lab::message::{entry, header, part, sendmmsg, sendmsg, sendto};

lab::suite! {
    tests: [without_the_flag_there_are_none, a_name_is_judged_by_its_inode, abstract_names_outside_are_out_of_reach],
    programs: [make_unix, send_unix, between],
}

fn without_the_flag_there_are_none(lab: &Lab) {
    let bare = lab.bare().run("make_unix", NONE);
    let with = lab.sandbox().option("--unix-dgram").run("make_unix", NONE);
    let without = [
        lab.sandbox().run("make_unix", NONE),
        lab.sandbox().allow("udp://*:*").allow("*:*").write(lab.path("work")).run("make_unix", NONE),
        lab.sandbox().option("--kernel-only").run("make_unix", NONE),
    ];
    for name in ["datagram", "raw", "datagram pair", "raw pair", "datagram with flags"] {
        bare.expect(name, "ok");
        // The raw type is the datagram type, by a name that nobody uses.
        with.expect(name, if name.starts_with("raw") { "EACCES" } else { "ok" });
        for out in &without {
            out.expect(name, "EACCES");
        }
    }
    for name in ["stream", "stream pair", "packet pair"] {
        // Nobody could judge a connect of the last.
        for out in &without[..2] {
            out.expect(name, "ok");
        }
    }
}

fn a_name_is_judged_by_its_inode(lab: &Lab) {
    let open = lab.directory("open");
    let shut = lab.directory("shut");
    let bind = |path: &Path| {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        lab.own(path);
        socket
    };
    let (inside, outside) = (bind(&open.join("socket")), bind(&shut.join("socket")));
    let in_work = bind(&lab.path("work/socket"));
    let links = lab.directory("open/links");
    std::os::unix::fs::symlink(shut.join("socket"), links.join("out")).unwrap();
    std::os::unix::fs::symlink(open.join("socket"), links.join("in")).unwrap();
    std::os::unix::fs::symlink(&shut, links.join("directory")).unwrap();
    let allowed = [open.join("socket"), links.join("in"), "../open/socket".into(), "../open/links/in".into()];
    let forbidden = [
        shut.join("socket"),
        links.join("out"),
        links.join("directory/socket"),
        open.join("../shut/socket"),
        "../shut/socket".into(),
        "/proc/self/cwd/../shut/socket".into(),
        // Readable, not writable.
        "socket".into(),
    ];
    let calls = ["sendto", "sendmsg", "sendmmsg", "connect"];
    let all: Vec<_> = allowed.iter().chain(&forbidden).collect();
    // One path at a time: a receiver's queue is short. A send comes after each connect.
    let counts = || [&inside, &outside, &in_work].map(received);
    let expect_ok = |out: &Output, path: &Path| {
        for call in calls {
            out.expect(&format!("{} {call}", path.display()), "ok");
        }
    };
    for path in all {
        let out = lab.bare().run("send_unix", [path]);
        expect_ok(&out, path);
        assert_eq!(counts().iter().sum::<usize>(), 4, "{out}");
    }
    // Messages are trapped for UDP's sake, or not.
    for rules in [&[][..], &["--net-allow", "udp://127.0.0.1:9"]] {
        let run =
            |path| lab.sandbox().option("--unix-dgram").options(rules).write(&open).run("send_unix", [path]);
        for path in &allowed {
            let out = run(path);
            expect_ok(&out, path);
            assert_eq!(counts(), [4, 0, 0], "{out}");
        }
        for path in &forbidden {
            let out = run(path);
            for call in calls {
                let value = out.value(&format!("{} {call}", path.display()));
                assert!(["ECONNREFUSED", "EACCES"].contains(&value), "{call}={value}\n{out}");
            }
            assert_eq!(counts(), [0, 0, 0], "{out}");
        }
    }
}

fn abstract_names_outside_are_out_of_reach(lab: &Lab) {
    let name = format!("sandlock-lab-{}", lab.root().display());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let args = [format!("@{name}")];
    let key = |call: &str| format!("{} {call}", args[0]);
    lab.bare().run("send_unix", &args).expect(&key("sendto"), "ok");
    assert_eq!(received(&socket), 4);
    for level in ["9", "5"] {
        let run = lab.sandbox().option("--unix-dgram").option("--landlock-at-most").option(level);
        let out = run.write(lab.path("work")).run("send_unix", &args);
        for call in ["sendto", "sendmsg", "sendmmsg", "connect"] {
            let value = out.value(&key(call));
            assert!(["ECONNREFUSED", "EPERM"].contains(&value), "{call}={value}\n{out}");
        }
        assert_eq!(received(&socket), 0, "{out}");
    }
    // Inside, they reach each other.
    let out = lab.sandbox().option("--unix-dgram").run("between", [format!("{name}-inside")]);
    out.expect("sendto", "ok").expect("sendmsg", "ok").expect("heard", "to msg").expect("pair", "ok");
}

/// How many messages wait.
fn received(socket: &UnixDatagram) -> usize {
    std::iter::from_fn(|| socket.recv(&mut [0; 64]).ok()).count()
}

fn make_unix(_: &Args) {
    let mut pair = [0i32; 2];
    let pair_of = |kind: i32, pair: &mut [i32; 2]| {
        raw::call(libc::SYS_socketpair, &[libc::AF_UNIX as usize, kind as usize, 0, raw::out(pair)])
    };
    report("datagram", shown(raw::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)));
    report("raw", shown(raw::socket(libc::AF_UNIX, libc::SOCK_RAW, 0)));
    report(
        "datagram with flags",
        shown(raw::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0)),
    );
    report("stream", shown(raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)));
    report("datagram pair", shown(pair_of(libc::SOCK_DGRAM, &mut pair)));
    report("raw pair", shown(pair_of(libc::SOCK_RAW | libc::SOCK_CLOEXEC, &mut pair)));
    report("stream pair", shown(pair_of(libc::SOCK_STREAM, &mut pair)));
    report("packet pair", shown(pair_of(libc::SOCK_SEQPACKET, &mut pair)));
}

/// `send_unix PATH|@NAME...`
fn send_unix(args: &Args) {
    for index in 0..args.count() {
        let text = args.text(index);
        let name = match text.strip_prefix('@') {
            Some(name) => raw::unix_abstract(name.as_bytes()),
            None => raw::unix(args.path(index)),
        };
        let socket = raw::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0).unwrap();
        let parts = [part(b"unix")];
        report(format!("{text} sendto"), shown(sendto(socket, b"unix", 0, &name)));
        report(format!("{text} sendmsg"), shown(sendmsg(socket, &header(&name, &parts, &[]), 0)));
        report(format!("{text} sendmmsg"), shown(sendmmsg(socket, &mut [entry(&name, &parts, &[])], 0)));
        report(format!("{text} connect"), shown(raw::connect(socket, &name)));
        let _ = raw::call(libc::SYS_write, &[socket as usize, raw::at(b"unix"), 4]);
        raw::close(socket);
    }
}

/// `between NAME`: two sockets inside, one of them with an abstract name.
fn between(args: &Args) {
    let name = raw::unix_abstract(args.text(0).as_bytes());
    let receiver = raw::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
    raw::bind(receiver, &name).unwrap();
    let sender = raw::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0).unwrap();
    report("sendto", shown(sendto(sender, b"to", 0, &name)));
    report("sendmsg", shown(sendmsg(sender, &header(&name, &[part(b"msg")], &[]), 0)));
    let mut heard = Vec::new();
    for _ in 0..2 {
        let mut buffer = [0u8; 16];
        let words = [receiver as usize, raw::out(&mut buffer), 16, libc::MSG_DONTWAIT as usize];
        let count = raw::call(libc::SYS_recvfrom, &words).unwrap_or(0);
        heard.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
    }
    report("heard", heard.join(" "));
    let pair = UnixDatagram::pair().unwrap();
    report(
        "pair",
        shown(sendmsg(std::os::fd::AsRawFd::as_raw_fd(&pair.0), &header(&[], &[part(b"pair")], &[]), 0)),
    );
}
