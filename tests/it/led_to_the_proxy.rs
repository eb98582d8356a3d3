//! A connection to a port that HTTP rules speak of goes through the run's proxy, whatever the socket is like and however
//! it connects, and arrives where the program wanted it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{FromRawFd, RawFd};
use std::time::Duration;

use lab::{Args, Lab, TcpServer, raw, report};

lab::suite! {
    tests: [
        every_kind_of_connect_is_led_there,
        other_ports_are_not_led_there,
        what_the_network_rules_refuse_is_not_led_there,
        many_at_once,
    ],
    programs: [connect_and_fetch, fetch_at_once],
}

const KINDS: [&str; 6] = ["blocking", "non-blocking", "bound", "bound to all", "with a limit", "v6only"];

fn servers(lab: &Lab) -> [TcpServer; 2] {
    lab.file("files/page", "a page");
    TcpServer::http_on_same_port(["127.0.0.1", "::1"], &lab.path("files"))
}

/// Whether the one connection of a server is not the program's own.
#[track_caller]
fn came_from_the_proxy(server: &TcpServer, number: usize, program: &str) {
    let seen = server.saw();
    assert_eq!(seen.len(), number, "{seen:?}");
    let from = seen[number - 1].from.unwrap();
    assert!(from.port().to_string() != program, "{from}");
}

fn every_kind_of_connect_is_led_there(lab: &Lab) {
    let [v4, v6] = servers(lab);
    let rules = [&v4, &v6].map(|server| format!("GET {}", server.address()));
    let (mut to_v4, mut to_v6) = (0, 0);
    for version in ["1", "7"] {
        for kind in KINDS {
            for (to, family) in [
                (v4.address().to_string(), "IPv4"),
                (v6.address().to_string(), "IPv6"),
                (format!("[::ffff:127.0.0.1]:{}", v4.port()), "IPv6"),
            ] {
                // A socket for IPv6 alone reaches nothing else.
                if kind == "v6only" && !to.starts_with("[::1") {
                    continue;
                }
                let run = lab.sandbox().options(["--landlock-at-most", version]);
                let run = run.options(["--http-allow", &rules[0], "--http-allow", &rules[1]]);
                let out = run.run("connect_and_fetch", [kind, &to, family]);
                out.expect("answer", "a page");
                let (server, number) =
                    if to.starts_with("[::1") { (&v6, &mut to_v6) } else { (&v4, &mut to_v4) };
                *number += 1;
                came_from_the_proxy(server, *number, out.value("port"));
            }
        }
    }
}

fn other_ports_are_not_led_there(lab: &Lab) {
    let [v4, _] = servers(lab);
    let run = lab.sandbox().options(["--http-allow", "GET 127.0.0.1:9"]).allow(v4.rule());
    let out = run.run("connect_and_fetch", ["blocking", &v4.rule(), "IPv4"]);
    out.expect("answer", "a page");
    assert_eq!(v4.saw()[0].from.unwrap().port().to_string(), out.value("port"));
}

fn what_the_network_rules_refuse_is_not_led_there(lab: &Lab) {
    let [v4, v6] = servers(lab);
    // A rule for any host opens nothing, and neither does one that denies.
    let port = v4.port();
    for (flag, rule) in
        [("--http-allow", format!("* *:{port}")), ("--http-deny", format!("* nobody.test:{port}"))]
    {
        let run = || lab.sandbox().options([flag, &rule]);
        let out = run().run("connect_and_fetch", ["blocking", &v4.rule(), "IPv4"]);
        out.expect("answer", "ECONNREFUSED").expect_said(&format!("tcp {}", v4.address()));
        let out = run().allow(v4.rule()).run("connect_and_fetch", ["blocking", &v6.rule(), "IPv6"]);
        out.expect("answer", "ECONNREFUSED");
    }
    assert!(v4.saw().is_empty() && v6.saw().is_empty());
    let run = lab.sandbox().options(["--http-allow", &format!("* *:{port}")]).allow(v4.rule());
    run.run("connect_and_fetch", ["blocking", &v4.rule(), "IPv4"]).expect("answer", "a page");
}

fn many_at_once(lab: &Lab) {
    let [v4, _] = servers(lab);
    let run = lab.sandbox().options(["--http-allow", &format!("GET {}", v4.address())]);
    run.run("fetch_at_once", [v4.rule()]).expect("answered", 20);
}

fn fetch(mut stream: TcpStream, to: SocketAddr) -> String {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let host = SocketAddr::new(to.ip().to_canonical(), to.port());
    let request = format!("GET /page HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    match stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer)) {
        Ok(_) => answer.split("\r\n\r\n").nth(1).unwrap_or(&answer).to_owned(),
        Err(error) => error.to_string(),
    }
}

/// `connect_and_fetch KIND ADDRESS FAMILY`.
fn connect_and_fetch(args: &Args) {
    let (kind, to): (&str, SocketAddr) = (args.text(0), args.get(1));
    let v6 = args.text(2) == "IPv6";
    let waits = kind != "non-blocking";
    let flags = if waits { libc::SOCK_STREAM } else { libc::SOCK_STREAM | libc::SOCK_NONBLOCK };
    let socket = raw::socket(if v6 { libc::AF_INET6 } else { libc::AF_INET }, flags, 0).unwrap();
    match kind {
        "bound" => bind(socket, SocketAddr::new(to.ip(), 0)),
        "bound to all" => bind(socket, if v6 { "[::]:0" } else { "0.0.0.0:0" }.parse().unwrap()),
        "with a limit" => set(socket, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &[5u64, 0]),
        "v6only" if v6 => set(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &[1u32]),
        _ => {}
    }
    match raw::connect(socket, &raw::internet(to)) {
        Ok(()) => {}
        Err(errno) if !waits && errno.to_string() == "EINPROGRESS" => writable(socket),
        Err(errno) => return report("answer", errno),
    }
    // SAFETY: made above, and nobody else's.
    let stream = unsafe { TcpStream::from_raw_fd(socket) };
    let own = stream.local_addr().unwrap();
    report("port", own.port());
    report("answer", fetch(stream, to));
}

fn bind(socket: RawFd, address: SocketAddr) {
    raw::bind(socket, &raw::internet(address)).unwrap();
}

fn set<T: Copy>(socket: RawFd, level: i32, name: i32, value: &[T]) {
    let arguments = [socket as usize, level as usize, name as usize, raw::at(value), size_of_val(value)];
    raw::call(libc::SYS_setsockopt, &arguments).unwrap();
}

/// Waits until a connection stands.
fn writable(socket: RawFd) {
    let mut poll = [libc::pollfd { fd: socket, events: libc::POLLOUT, revents: 0 }];
    let limit = [5u64, 0];
    raw::call(libc::SYS_ppoll, &[raw::out(&mut poll), 1, raw::at(&limit), 0, 8]).unwrap();
}

fn fetch_at_once(args: &Args) {
    let to: SocketAddr = args.get(0);
    let threads: Vec<_> =
        (0..20).map(|_| std::thread::spawn(move || fetch(TcpStream::connect(to).unwrap(), to))).collect();
    let answered = threads.into_iter().map(|thread| thread.join().unwrap());
    report("answered", answered.filter(|answer| answer == "a page").count());
}
