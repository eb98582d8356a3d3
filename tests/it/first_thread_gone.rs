//! The first thread of a program may end before the others (`pthread_exit` in main, as some runtimes do). Its number,
//! which is the process's, then names a zombie, that has no memory, descriptors, root and directory any more; calls of
//! the other threads are performed all the same.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use lab::{Args, Lab, TcpServer, UdpServer, UnixServer, raw, report, shown};

lab::suite! { tests: [calls_of_the_others_are_performed], programs: [first_thread_ends] }

fn calls_of_the_others_are_performed(lab: &Lab) {
    let (tcp, udp) = (TcpServer::v4(), UdpServer::v4());
    let place = lab.directory("work/place");
    let unix = UnixServer::at(lab, place.join("socket"));
    let args = [tcp.rule(), udp.address().to_string()];
    let counts = || [tcp.saw().len(), udp.saw().len(), unix.saw().len()];
    let run = |run: lab::Run| {
        let file = lab.file("work/place/file", "");
        let before = counts();
        let out = run.run("first_thread_ends", &args);
        let after = counts();
        let differences: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(differences, [1, 2, 2], "{out}");
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o604, "{out}");
        out
    };
    let bare = run(lab.bare());
    for version in ["1", "3", "5", "7"] {
        let sandbox = lab.sandbox().write(&place).allow(tcp.rule()).allow(udp.rule());
        let out = run(sandbox.options(["--landlock-at-most", version]));
        assert_eq!(bare.stdout, out.stdout, "bare, and in the sandbox:\n{bare}\n{out}");
    }
    for key in [
        "tcp",
        "bind",
        "udp",
        "udp by message",
        "unix",
        "unix, relative",
        "rights",
        "chmod",
        "signal",
        "limit",
    ] {
        bare.expect(key, "ok");
    }
}

/// `first_thread_ends TCP UDP`, in the directory that has `place`.
fn first_thread_ends(args: &Args) {
    let (tcp, udp): (SocketAddr, SocketAddr) = (args.get(0), args.get(1));
    std::thread::spawn(move || {
        while !first_thread_is_a_zombie() {
            std::thread::sleep(Duration::from_millis(1));
        }
        calls(tcp, udp);
        raw::exit(0);
    });
    // `exit`, of one thread: the C library's ends the process.
    let _ = raw::call(libc::SYS_exit, &[0]);
}

fn first_thread_is_a_zombie() -> bool {
    let pid = std::process::id();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.starts_with(" Z")
}

fn calls(tcp: SocketAddr, udp: SocketAddr) {
    use lab::message::{control, header, part, sendmsg, sendto};
    let stream = |family: i32| raw::socket(family, libc::SOCK_STREAM, 0).unwrap();
    let connected = stream(libc::AF_INET);
    let any = raw::internet(SocketAddr::from(([127, 0, 0, 1], 0)));
    report("bind", shown(raw::bind(connected, &any)));
    report("tcp", shown(raw::connect(connected, &raw::internet(tcp))));
    let (datagrams, name) = (lab::message::udp(udp), raw::internet(udp));
    report("udp", shown(sendto(datagrams, b"one", 0, &name)));
    report("udp by message", shown(sendmsg(datagrams, &header(&name, &[part(b"two")], &[]), 0)));
    let absolute = std::env::current_dir().unwrap().join("place/socket");
    report("unix", shown(raw::connect(stream(libc::AF_UNIX), &raw::unix(&absolute))));
    let relative = raw::unix(Path::new("place/socket"));
    report("unix, relative", shown(raw::connect(stream(libc::AF_UNIX), &relative)));
    let mut pair = [0i32; 2];
    let words = [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, raw::out(&mut pair)];
    raw::call(libc::SYS_socketpair, &words).unwrap();
    let rights = control(libc::SOL_SOCKET, libc::SCM_RIGHTS, &pair[0].to_ne_bytes());
    report("rights", shown(sendmsg(pair[0], &header(&[], &[part(b"x")], &rights), 0)));
    let path = [Path::new("place/file").as_os_str().as_bytes(), b"\0"].concat();
    let here = libc::AT_FDCWD as usize;
    report("chmod", shown(raw::call(libc::SYS_fchmodat, &[here, raw::at(&path[..]), 0o604])));
    let own = std::process::id() as usize;
    report("signal", shown(raw::call(libc::SYS_kill, &[own, 0])));
    let mut limits = [0u64; 2];
    report("limit", shown(raw::call(libc::SYS_prlimit64, &[own, 7, 0, raw::out(&mut limits)])));
}
