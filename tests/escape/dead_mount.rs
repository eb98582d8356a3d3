//! A mount whose server is gone: who looks at something there waits for ever, and no signal ends that. A program that makes
//! its supervisor look must stop itself alone: not its other threads, not the refusals, not the end of the run.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{Args, Lab, TcpServer, raw, report, shown, with_dead_mount};

lab::suite! {
    tests: [
        a_call_that_hangs_holds_up_no_other,
        calls_that_hang_in_great_number_hold_up_no_other,
        a_run_that_hangs_ends_in_time,
        a_call_that_comes_back_is_answered,
    ],
    programs: [hang_and_go_on, hang],
}

/// How the supervisor is made to look there, and under which rules it has to.
const ACTS: [(&str, &[&str]); 12] = [
    ("chmod", &[]),
    ("chmod with the path in a page of it", &[]),
    ("fchmod", &[]),
    ("utimensat", &[]),
    ("setxattr", &[]),
    ("connect", &[]),
    ("sendto from a page of it", &["--net-allow", "udp://127.0.0.1:9"]),
    ("sendto, once there is room, from a page of it", &["--unix-dgram"]),
    ("open", &["--own-proc"]),
    // From here on the directory itself is locked.
    ("bind", &["--net-allow", "udp://127.0.0.1:9"]),
    ("mkdir", &["--fs-deny", "hole"]),
    ("rename", &["--fs-deny", "hole"]),
];

fn a_call_that_hangs_holds_up_no_other(lab: &Lab) {
    let (dead, work) = (lab.directory("dead"), lab.path("work"));
    let file = lab.file("work/file", "");
    with_dead_mount(&dead, |_| {
        for (act, rules) in ACTS {
            let (allowed, refused) = (TcpServer::v4(), TcpServer::v4());
            let [to, not_to] = [&allowed, &refused].map(|server| server.address().to_string());
            let words = [act.as_ref(), dead.as_os_str(), file.as_os_str(), to.as_ref(), not_to.as_ref()];
            let hole = work.join("hole");
            let rules =
                rules.iter().map(|word| if *word == "hole" { hole.as_os_str() } else { word.as_ref() });
            let started = Instant::now();
            let run = lab.sandbox().allow(allowed.rule()).write(&work).write(&dead).options(rules);
            let out = run.run("hang_and_go_on", words);
            out.expect("hangs", true).expect("chmod", "ok").expect("connect", "ok");
            out.expect("refused", "ECONNREFUSED").expect_code(0);
            assert!(out.value("took").parse::<u64>().unwrap() < 2000, "{out}");
            assert_eq!((allowed.saw().len(), refused.saw().len()), (1, 0), "{act}\n{out}");
            assert!(started.elapsed() < Duration::from_secs(8), "{act}: {:?}\n{out}", started.elapsed());
        }
        // It is the mount, and not the sandbox, that hangs.
        let server = TcpServer::v4();
        let to = server.address().to_string();
        let words = ["chmod".as_ref(), dead.as_os_str(), file.as_os_str(), to.as_ref(), to.as_ref()];
        lab.bare().run("hang_and_go_on", words).expect("hangs", true).expect("connect", "ok");
    });
}

fn calls_that_hang_in_great_number_hold_up_no_other(lab: &Lab) {
    let (dead, file) = (lab.directory("dead"), lab.file("work/file", ""));
    with_dead_mount(&dead, |_| {
        let server = TcpServer::v4();
        let to = server.address().to_string();
        let words =
            ["chmod".as_ref(), dead.as_os_str(), file.as_os_str(), to.as_ref(), "127.0.0.1:9".as_ref()];
        let run = lab.sandbox().allow(server.rule()).write(lab.path("work")).write(&dead);
        let out = run.program("hang_and_go_on", words).arguments(["20"]).output();
        out.expect("hangs", true).expect("chmod", "ok").expect("connect", "ok");
        assert_eq!(server.saw().len(), 1, "{out}");
    });
}

/// The command itself hangs, and so does its supervisor; nobody but the launcher is left to end the run.
fn a_run_that_hangs_ends_in_time(lab: &Lab) {
    let dead = lab.directory("dead");
    with_dead_mount(&dead, |_| {
        for (act, rules) in ACTS.iter().filter(|(_, rules)| !rules.contains(&"hole")) {
            let started = Instant::now();
            let run =
                lab.sandbox().write(&dead).write(lab.path("work")).options(["-t", "1s"]).options(*rules);
            let out = run.run("hang", [act.as_ref(), dead.as_os_str()]);
            out.expect_code(124).expect("begun", "ok");
            assert_eq!(out.find("done"), None, "{act}\n{out}");
            assert!(started.elapsed() < Duration::from_secs(8), "{act}: {:?}\n{out}", started.elapsed());
        }
    });
}

/// The server is killed: all that waits for it hears that (ECONNABORTED), inside as outside.
fn a_call_that_comes_back_is_answered(lab: &Lab) {
    let dead = lab.directory("dead");
    for sandboxed in [false, true] {
        with_dead_mount(&dead, |mount| {
            let run = if sandboxed { lab.sandbox().write(&dead) } else { lab.bare() };
            let mut run = run.program("hang", ["chmod".as_ref(), dead.as_os_str()]).start();
            run.wait_for("begun");
            std::thread::sleep(Duration::from_millis(300));
            assert!(run.is_running());
            mount.end();
            run.finish().expect("done", "ECONNABORTED");
        });
    }
}

/// `hang_and_go_on ACT DEAD FILE ALLOWED REFUSED [COUNT]`: what a process does while others of it hang.
fn hang_and_go_on(args: &Args) {
    let count = if args.count() > 5 { args.get(5) } else { 1 };
    let (act, dead) = (args.text(0), args.path(1));
    let hung: Vec<i32> = (0..count)
        .map(|_| {
            let child = raw::fork();
            if child == 0 {
                begin(act, dead);
                raw::exit(0);
            }
            child
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let before = Instant::now();
    for _ in 0..20 {
        let path = [args.path(2).as_os_str().as_bytes(), b"\0"].concat();
        let changed = raw::call(libc::SYS_chmod, &[raw::at(&path[..]), 0o600]);
        if changed.is_err() {
            report("chmod", shown(changed));
        }
    }
    report("chmod", "ok");
    for (key, at) in [("connect", 3), ("refused", 4)] {
        let address: SocketAddr = args.get(at);
        report(key, shown(raw::connect(raw::stream(), &raw::internet(address))));
    }
    let hangs = |pid: &i32| {
        let mut status = 0;
        raw::call(libc::SYS_wait4, &[*pid as usize, raw::out(&mut status), libc::WNOHANG as usize, 0])
            == Ok(0)
    };
    report("hangs", hung.iter().all(hangs));
    report("took", before.elapsed().as_millis());
}

/// `hang ACT DEAD`.
fn hang(args: &Args) {
    report("begun", "ok");
    report("done", begin(args.text(0), args.path(1)));
}

/// Does what hangs; says what came of it, if it comes to that.
fn begin(act: &str, dead: &Path) -> String {
    let terminated = |name: &str| [dead.join(name).as_os_str().as_bytes(), b"\0"].concat();
    let (lost, there) = (terminated("dead"), terminated(&format!("there-{}", raw::tid())));
    let lost = raw::at(&lost[..]);
    let open = |flags| raw::call(libc::SYS_openat, &[HERE, raw::at(&there[..]), flags as usize]).unwrap();
    let page = || {
        let words = [0, 4096, libc::PROT_READ as usize, libc::MAP_SHARED as usize, open(libc::O_RDONLY), 0];
        raw::call(libc::SYS_mmap, &words).unwrap()
    };
    let result = match act {
        "chmod" => raw::call(libc::SYS_chmod, &[lost, 0o600]),
        "chmod with the path in a page of it" => raw::call(libc::SYS_chmod, &[page(), 0o600]),
        "fchmod" => raw::call(libc::SYS_fchmod, &[open(libc::O_WRONLY), 0o600]),
        "utimensat" => raw::call(libc::SYS_utimensat, &[HERE, lost, 0, 0]),
        "setxattr" => raw::call(libc::SYS_setxattr, &[lost, raw::at(b"user.x\0"), raw::at(b"v"), 1, 0]),
        "connect" | "bind" => {
            let socket = raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
            let address = raw::unix(&dead.join("dead"));
            let number = if act == "bind" { libc::SYS_bind } else { libc::SYS_connect };
            raw::call(number, &[socket as usize, raw::at(&address[..]), address.len()])
        }
        "sendto from a page of it" => {
            let socket = raw::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
            let to = raw::internet("127.0.0.1:9".parse::<SocketAddr>().unwrap());
            raw::call(libc::SYS_sendto, &[socket as usize, page(), 16, 0, raw::at(&to[..]), to.len()])
        }
        "sendto, once there is room, from a page of it" => {
            let name = format!("peer-{}", raw::tid());
            let peer = UnixDatagram::bind(&name).unwrap();
            let socket = UnixDatagram::unbound().unwrap();
            socket.set_nonblocking(true).unwrap();
            while socket.send_to(b"x", &name).is_ok() {}
            socket.set_nonblocking(false).unwrap();
            let fixed = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
            let words = [0, 4096, libc::PROT_READ as usize, fixed, usize::MAX, 0];
            let buffer = raw::call(libc::SYS_mmap, &words).unwrap();
            let send = std::thread::spawn(move || {
                let to = raw::unix(Path::new(&name));
                let words = [socket.as_raw_fd() as usize, buffer, 16, 0, raw::at(&to[..]), to.len()];
                raw::call(libc::SYS_sendto, &words)
            });
            std::thread::sleep(Duration::from_millis(100));
            let fixed = (libc::MAP_SHARED | libc::MAP_FIXED) as usize;
            let words = [buffer, 4096, libc::PROT_READ as usize, fixed, open(libc::O_RDONLY), 0];
            raw::call(libc::SYS_mmap, &words).unwrap();
            peer.recv(&mut [0]).unwrap();
            send.join().unwrap()
        }
        "open" => raw::call(libc::SYS_openat, &[HERE, lost, libc::O_RDONLY as usize]),
        "mkdir" => raw::call(libc::SYS_mkdirat, &[HERE, lost, 0o700]),
        _ => raw::call(libc::SYS_renameat, &[HERE, lost, HERE, raw::at(&terminated("dead too")[..])]),
    };
    shown(result)
}

const HERE: usize = libc::AT_FDCWD as isize as usize;
