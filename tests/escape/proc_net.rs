//! The tables of sockets in `/proc/PID/net` tell who on this machine listens where, who talks to whom, and the paths and
//! names of unix sockets. The sandbox is shown its own sockets, under every spelling, and nobody else's.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;

use lab::{Args, Lab, TcpServer, raw, report};

lab::suite! {
    tests: [sockets_of_others_are_in_no_table, own_sockets_are_in_their_tables, other_tables_are_absent],
    programs: [find_in_tables, own_in_tables, open_tables],
}

/// `struct sockaddr_nl`: the kernel chooses the number.
const NETLINK: [u8; 12] = [libc::AF_NETLINK as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const TABLES: [&str; 6] = ["tcp", "tcp6", "udp", "udp6", "unix", "netlink"];

fn looked_at(lab: &Lab) -> lab::Run {
    lab.sandbox().allow("localhost:9").option("--pin-names")
}

fn inode(socket: &impl AsRawFd) -> String {
    let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
    let target = std::fs::read_link(path).unwrap().display().to_string();
    target.trim_start_matches("socket:[").trim_end_matches(']').to_owned()
}

fn sockets_of_others_are_in_no_table(lab: &Lab) {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp6 = TcpListener::bind("[::1]:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp6 = UdpSocket::bind("[::1]:0").unwrap();
    let unix = UnixListener::bind(lab.path("listener")).unwrap();
    let netlink = raw::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0).unwrap();
    // One without a number of its own is in no table.
    raw::bind(netlink, &NETLINK).unwrap();
    let of_netlink = {
        let target = std::fs::read_link(format!("/proc/self/fd/{netlink}")).unwrap().display().to_string();
        target.trim_start_matches("socket:[").trim_end_matches(']').to_owned()
    };
    let numbers = [inode(&tcp), inode(&tcp6), inode(&udp), inode(&udp6), inode(&unix), of_netlink];

    // The kernel's tables are no snapshots: a line can be passed over while others come and go.
    let misses_nothing = || {
        let bare = lab.bare().run("find_in_tables", &numbers);
        TABLES.iter().all(|table| bare.value(&format!("{table} missed")).is_empty())
    };
    assert!((0..20).any(|_| misses_nothing()), "outside they are not found either");
    for run in [looked_at(lab), lab.sandbox().option("--own-proc")] {
        let out = run.run("find_in_tables", &numbers);
        for table in TABLES {
            out.expect(&format!("{table} found"), "").expect(&format!("{table} failed"), "");
        }
    }
    raw::close(netlink);
}

fn own_sockets_are_in_their_tables(lab: &Lab) {
    let server = TcpServer::v4();
    for run in [lab.bare(), looked_at(lab).allow(server.rule()).allow("udp://*:*")] {
        let out = run.run("own_in_tables", [server.rule()]);
        for kind in ["tcp", "udp", "unix", "netlink", "of a child", "of a thread's own table", "by a thread"]
        {
            out.expect(kind, "there");
        }
        out.expect("heading", "the kernel's");
    }
}

fn other_tables_are_absent(lab: &Lab) {
    let out = looked_at(lab)
        .run("open_tables", ["nf_conntrack", "arp", "tcp_metrics", "nfsfs", "rpc", "stat/rt_cache"]);
    out.expect("opened", "");
    let kept = ["dev", "route", "snmp", "netstat", "sockstat", "protocols"];
    looked_at(lab).run("open_tables", kept).expect("failed", "");
}

/// Every way to a table.
fn ways(table: &str) -> Vec<(&'static str, std::io::Result<String>)> {
    let this = std::process::id();
    let read = |path: String| std::fs::read_to_string(path);
    let link = std::env::temp_dir().join(table);
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(format!("/proc/net/{table}"), &link).unwrap();
    let mut ways = vec![
        ("/proc/net", read(format!("/proc/net/{table}"))),
        ("self", read(format!("/proc/self/net/{table}"))),
        ("thread-self", read(format!("/proc/thread-self/net/{table}"))),
        ("number", read(format!("/proc/{this}/net/{table}"))),
        ("task", read(format!("/proc/{this}/task/{}/net/{table}", raw::tid()))),
        ("root", read(format!("/proc/self/root/proc/net/../net/{table}"))),
        ("link", read(link.display().to_string())),
    ];
    let home = std::env::current_dir().unwrap();
    std::env::set_current_dir("/proc/self/net").unwrap();
    ways.push(("inside", read(table.to_owned())));
    std::env::set_current_dir(home).unwrap();
    ways
}

/// Looks for the number in the lines of a table, as a word.
fn has(text: &str, number: &str) -> bool {
    text.split_ascii_whitespace().any(|word| word == number)
}

/// `find_in_tables INODE...`: one for each table.
fn find_in_tables(args: &Args) {
    for (index, table) in TABLES.iter().enumerate() {
        let (mut found, mut missed, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (way, text) in ways(table) {
            match text {
                Ok(text) if has(&text, args.text(index)) => found.push(way),
                Ok(_) => missed.push(way),
                Err(_) => failed.push(way),
            }
        }
        report(format!("{table} found"), found.join(","));
        report(format!("{table} missed"), missed.join(","));
        report(format!("{table} failed"), failed.join(","));
    }
}

fn shown_in(table: &str, number: &str) -> &'static str {
    let all = ways(table).into_iter().all(|(_, text)| text.is_ok_and(|text| has(&text, number)));
    if all { "there" } else { "missing" }
}

/// `own_in_tables ADDRESS`.
fn own_in_tables(args: &Args) {
    let stream = std::net::TcpStream::connect(args.text(0)).unwrap();
    report("tcp", shown_in("tcp", &inode(&stream)));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect("127.0.0.1:9").unwrap();
    report("udp", shown_in("udp", &inode(&udp)));
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    report("unix", shown_in("unix", &inode(&one)));
    let netlink = raw::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0).unwrap();
    raw::bind(netlink, &NETLINK).unwrap();
    let target = std::fs::read_link(format!("/proc/self/fd/{netlink}")).unwrap().display().to_string();
    report("netlink", shown_in("netlink", target.trim_start_matches("socket:[").trim_end_matches(']')));
    let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
    report(
        "heading",
        if text.trim_start().starts_with("sl  local_address") { "the kernel's" } else { &text },
    );

    // A child's, which the parent does not have.
    let (mut ends, mut byte) = ([0i32; 2], [0u8; 32]);
    raw::call(libc::SYS_pipe2, &[raw::out(&mut ends), 0]).unwrap();
    let child = raw::fork();
    if child == 0 {
        let (own, _kept) = std::os::unix::net::UnixStream::pair().unwrap();
        let text = inode(&own);
        raw::call(libc::SYS_write, &[ends[1] as usize, raw::at(text.as_bytes()), text.len()]).unwrap();
        loop {
            raw::call(libc::SYS_pause, &[]).ok();
        }
    }
    let len = raw::call(libc::SYS_read, &[ends[0] as usize, raw::out(&mut byte), 32]).unwrap();
    report("of a child", shown_in("unix", std::str::from_utf8(&byte[..len]).unwrap()));
    raw::call(libc::SYS_kill, &[child as usize, libc::SIGKILL as usize]).unwrap();

    let (to_main, from_thread) = std::sync::mpsc::channel();
    let (to_thread, from_main) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        raw::call(libc::SYS_unshare, &[libc::CLONE_FILES as usize]).unwrap();
        let (own, _kept) = std::os::unix::net::UnixStream::pair().unwrap();
        report("by a thread", shown_in("unix", &inode_here(&own)));
        to_main.send(inode_here(&own)).unwrap();
        let _ = from_main.recv();
    });
    let number = from_thread.recv().unwrap();
    report("of a thread's own table", shown_in("unix", &number));
    drop(to_thread);
    thread.join().unwrap();
}

/// Of a thread with a table of its own.
fn inode_here(socket: &impl AsRawFd) -> String {
    let path = format!("/proc/thread-self/fd/{}", socket.as_raw_fd());
    let target = std::fs::read_link(path).unwrap().display().to_string();
    target.trim_start_matches("socket:[").trim_end_matches(']').to_owned()
}

/// `open_tables NAME...`.
fn open_tables(args: &Args) {
    let (mut opened, mut failed) = (Vec::new(), Vec::new());
    for index in 0..args.count() {
        let name = args.text(index);
        match std::fs::read(format!("/proc/self/net/{name}")) {
            Ok(_) => opened.push(name),
            Err(_) => failed.push(name),
        }
    }
    report("opened", opened.join(","));
    report("failed", failed.join(","));
}
