//! Which error of a message is told where there are several, on sockets whose names are looked up: what is passed along, who it
//! is to, whether it can be read. As without the sandbox.

use std::path::Path;

use lab::message::{control, header, part, sendmsg};
use lab::{Args, Lab, raw, report, shown};

lab::suite! {
    tests: [of_several_errors_the_same_is_told],
    programs: [send_what_is_wrong],
}

fn of_several_errors_the_same_is_told(lab: &Lab) {
    let work = lab.path("work");
    let bare = lab.bare().run("send_what_is_wrong", [&work]);
    assert!(bare.stdout.lines().count() > 2000, "{bare}");
    let run = lab.sandbox().write(&work).option("--unix-dgram").allow("udp://127.0.0.1:9");
    let out = run.run("send_what_is_wrong", [&work]);
    let lines = out.stdout.lines().zip(bare.stdout.lines());
    let others: Vec<_> = lines.filter(|(inside, bare)| inside != bare).collect();
    assert!(others.is_empty(), "{} inside, and bare: {others:#?}", others.len());
    assert_eq!(out.stdout.len(), bare.stdout.len());
}

/// `send_what_is_wrong DIRECTORY`.
fn send_what_is_wrong(args: &Args) {
    // As every program is inside: without capabilities.
    let capabilities = [0x2008_0522u32, 0];
    raw::call(libc::SYS_capset, &[raw::at(&capabilities), raw::at(&[0u32; 6])]).unwrap();
    let unix = |kind: i32| raw::socket(libc::AF_UNIX, kind, 0).unwrap();
    let pair = |kind: i32| {
        let mut pair = [0i32; 2];
        raw::call(libc::SYS_socketpair, &[libc::AF_UNIX as usize, kind as usize, 0, raw::out(&mut pair)])
            .unwrap();
        (pair[0], pair[1])
    };
    let path = args.path(0).join("peer");
    let receiver = unix(libc::SOCK_DGRAM);
    let _ = std::fs::remove_file(&path);
    raw::bind(receiver, &raw::unix(&path)).unwrap();
    let (stream, datagram, packet) =
        (pair(libc::SOCK_STREAM), pair(libc::SOCK_DGRAM), pair(libc::SOCK_SEQPACKET));
    let sockets = [
        ("datagram", unix(libc::SOCK_DGRAM), receiver),
        ("datagram pair", datagram.0, datagram.1),
        ("stream", unix(libc::SOCK_STREAM), -1),
        ("stream pair", stream.0, stream.1),
        ("packet", unix(libc::SOCK_SEQPACKET), -1),
        ("packet pair", packet.0, packet.1),
    ];
    let fd = |fd: i32| control(libc::SOL_SOCKET, libc::SCM_RIGHTS, &fd.to_ne_bytes());
    let credentials = |pid: i32, len: usize| {
        let words = [pid as u32, raw::uid(), raw::gid(), 0].map(u32::to_ne_bytes);
        control(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &words.as_flattened()[..len])
    };
    let own = std::process::id() as i32;
    let long = |len: u64| {
        let mut bytes = fd(0);
        bytes[..8].copy_from_slice(&len.to_ne_bytes());
        bytes
    };
    let controls = [
        ("nothing", Vec::new()),
        ("a descriptor", fd(0)),
        ("a closed one", fd(150)),
        ("a part of one", control(libc::SOL_SOCKET, libc::SCM_RIGHTS, &[0; 3])),
        ("none of many", control(libc::SOL_SOCKET, libc::SCM_RIGHTS, &[])),
        ("too many", control(libc::SOL_SOCKET, libc::SCM_RIGHTS, &[0; 254 * 4])),
        ("own credentials", credentials(own, 12)),
        ("another's", credentials(1, 12)),
        ("short credentials", credentials(own, 8)),
        ("long credentials", credentials(own, 16)),
        ("an unknown type", control(libc::SOL_SOCKET, 99, &[0; 4])),
        ("a mark", control(libc::SOL_SOCKET, libc::SO_MARK, &[0; 4])),
        ("an unknown level", control(17, 99, &[0; 4])),
        ("one and an unknown", [fd(0), control(libc::SOL_SOCKET, 99, &[])].concat()),
        ("a closed one and an unknown", [fd(150), control(libc::SOL_SOCKET, 99, &[])].concat()),
        ("too short", long(15)),
        ("too long", long(400)),
    ];
    let mut inet = [0; 16];
    inet[0] = libc::AF_INET as u8;
    let names = [
        ("nobody", Vec::new()),
        ("the peer", raw::unix(&path)),
        ("none there", raw::unix(Path::new("missing"))),
        ("a directory", raw::unix(Path::new("/"))),
        ("no name there", raw::unix_abstract(b"lab-nobody-has-this")),
        ("one of another family", inet.to_vec()),
        ("a byte", vec![1]),
        ("a family", vec![1, 0]),
    ];
    let readable = [part(b"x")];
    let unreadable = [[0x4000, 3]];
    for (socket, fd, end) in sockets {
        for (passed, control) in &controls {
            for (to, name) in &names {
                for (flags, what) in [(0, ""), (libc::MSG_OOB, " urgent")] {
                    for (parts, how) in [(&readable[..], ""), (&unreadable, " unreadable"), (&[], " empty")] {
                        let done = sendmsg(
                            fd,
                            &header(name, parts, control),
                            flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                        );
                        report(format!("{socket}: {passed} to {to}{what}{how}"), shown(done));
                        let mut buffer = [0u8; 16];
                        let _ = raw::call(
                            libc::SYS_recvfrom,
                            &[end as usize, raw::out(&mut buffer), 16, libc::MSG_DONTWAIT as usize, 0, 0],
                        );
                    }
                }
            }
        }
    }
}
