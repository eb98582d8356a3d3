//! Connections end when their destination is denied with `--cut`: seen at the other end. Others go on.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use lab::{Args, Child, Lab, raw, report, shown};

lab::suite! {
    tests: [
        a_connection_ends_when_its_destination_is_denied,
        whoever_holds_it,
        one_that_is_being_made_never_arrives,
        a_connected_datagram_socket_sends_nothing_more,
        accepted_and_inner_connections_go_on,
        a_connection_that_was_led_to_the_proxy_ends_by_where_it_was_to_go,
    ],
    programs: [talks, waits_for_room, sends_on, is_a_server, talks_to_itself],
}

fn start(lab: &Lab, options: &[&str], program: &str, args: &[&str]) -> Child {
    let run = lab.sandbox().options(["--name", "cut", "--adjustable"]).options(options);
    let mut child = run.program(program, args).input_pipe().start();
    child.wait_for("ready");
    while lab.sandlock().arguments(["inspect", "cut"]).output().code() != 0 {}
    child
}

fn deny(lab: &Lab, rule: &str, cut: &[&str]) {
    lab.sandlock().arguments(["deny", "cut", rule]).arguments(cut).output().expect_code(0);
}

/// A connection to this listener, as its end sees it.
fn accepted(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn goes_on(stream: &mut TcpStream) -> bool {
    // More than was under way.
    let mut bytes = [0; 4096];
    let until = Instant::now() + Duration::from_millis(200);
    while Instant::now() < until {
        match stream.read(&mut bytes) {
            Ok(count) if count > 0 => {}
            _ => return false,
        }
    }
    true
}

fn ended(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 4096];
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        assert!(Instant::now() < until, "it goes on");
        match stream.read(&mut bytes) {
            Ok(0) => return "orderly".to_owned(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return "reset".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}

fn a_connection_ends_when_its_destination_is_denied(lab: &Lab) {
    let [one, other] = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [to, to_other] = [&one, &other].map(|listener| listener.local_addr().unwrap().to_string());
    let rules = ["--net-allow", &to, "--net-allow", &to_other];
    let run = start(lab, &rules, "talks", &["plain", &to, &to_other]);
    let (mut stream, mut stays) = (accepted(&one), accepted(&other));
    deny(lab, &to, &[]);
    assert!(goes_on(&mut stream) && goes_on(&mut stays));
    // It was denied before: what is ended is what the rules do not grant.
    deny(lab, "192.0.2.1:1", &["--cut"]);
    assert_eq!(ended(&mut stream), "reset");
    assert!(goes_on(&mut stays));
    let out = run.finish();
    out.expect("0", "ECONNREFUSED again").expect("1", "ok");
}

fn whoever_holds_it(lab: &Lab) {
    for holder in ["child", "orphan", "thread"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap().to_string();
        let run = start(lab, &["--net-allow", &to], "talks", &[holder, &to]);
        let mut stream = accepted(&listener);
        assert!(goes_on(&mut stream), "{holder}");
        deny(lab, &to, &["--cut"]);
        assert_eq!(ended(&mut stream), "reset", "{holder}");
        run.finish();
    }
}

fn one_that_is_being_made_never_arrives(lab: &Lab) {
    for denied in [false, true] {
        // A backlog of one that is full: whoever comes next waits for room.
        let listener = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        raw::bind(listener, &raw::internet(any)).unwrap();
        raw::call(libc::SYS_listen, &[listener as usize, 0]).unwrap();
        // SAFETY: made above, and nobody else's.
        let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(listener) });
        let to = listener.local_addr().unwrap();
        let full = TcpStream::connect(to).unwrap();
        let to = to.to_string();
        let mut run = start(lab, &["--net-allow", &to], "waits_for_room", &[&to]);
        std::thread::sleep(Duration::from_millis(300));
        if denied {
            deny(lab, &to, &["--cut"]);
            assert_eq!(run.wait_for("connect"), "ECONNABORTED");
        }
        // Now there is room.
        drop((listener.accept().unwrap(), full));
        listener.set_nonblocking(true).unwrap();
        std::thread::sleep(Duration::from_millis(if denied { 3500 } else { 0 }));
        if !denied {
            assert_eq!(run.wait_for("connect"), "ok");
        }
        assert_eq!(listener.accept().is_ok(), !denied);
        run.finish().expect_code(0);
    }
}

fn a_connected_datagram_socket_sends_nothing_more(lab: &Lab) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let rule = format!("udp://{}", server.local_addr().unwrap());
    let to = server.local_addr().unwrap().to_string();
    let run = start(lab, &["--net-allow", &rule], "sends_on", &[&to]);
    server.recv(&mut [0; 8]).unwrap();
    deny(lab, &rule, &["--cut"]);
    // What was sent before.
    let until = Instant::now() + Duration::from_secs(5);
    while server.recv(&mut [0; 8]).is_ok() {
        assert!(Instant::now() < until, "it goes on");
    }
    let out = run.finish();
    assert_ne!(out.value("send"), "ok", "{out}");
}

fn accepted_and_inner_connections_go_on(lab: &Lab) {
    let run = start(lab, &["--net-allow-bind", "0", "--net-allow", "127.0.0.1:*"], "is_a_server", &["0"]);
    let mut run = run;
    let mut client = TcpStream::connect(format!("127.0.0.1:{}", run.wait_for("port"))).unwrap();
    deny(lab, "*:*", &["--cut"]);
    client.write_all(b"hello").unwrap();
    let mut bytes = [0; 5];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    drop(client);
    run.finish().expect_code(0);
    let mut run = start(lab, &["--port-remap", "--net-allow-bind", "8080"], "talks_to_itself", &["8080"]);
    deny(lab, "*:*", &["--cut"]);
    run.send("go on\n");
    assert_eq!(run.wait_for("heard"), "hello");
    run.finish().expect_code(0);
}

fn a_connection_that_was_led_to_the_proxy_ends_by_where_it_was_to_go(lab: &Lab) {
    let [one, other] = lab::TcpServer::same_port(["127.0.0.1", "127.0.0.2"]);
    let rules = [&one, &other].map(|server| format!("GET {}/*", server.rule()));
    let options = ["--http-allow", &rules[0], "--http-allow", &rules[1]];
    let run = start(lab, &options, "talks", &["slowly", &one.rule(), &other.rule()]);
    deny(lab, &one.rule(), &["--cut"]);
    std::thread::sleep(Duration::from_millis(300));
    let out = run.finish();
    out.expect("0", "ECONNREFUSED again").expect("1", "ok");
}

fn connected(to: SocketAddr) -> Result<TcpStream, lab::Errno> {
    let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    raw::connect(socket, &raw::internet(to))?;
    // SAFETY: made above, and nobody else's.
    Ok(TcpStream::from(unsafe { OwnedFd::from_raw_fd(socket) }))
}

/// `talks HOLDER ADDRESS...`: connects, and sends all the time, until its input ends. The first that fails is tried again.
fn talks(args: &Args) {
    let mut streams: Vec<_> =
        (1..args.count()).map(|index| Some(connected(args.get(index)).unwrap())).collect();
    let pause = Duration::from_millis(if args.text(0) == "slowly" { 100 } else { 1 });
    let own = streams[0].as_ref().unwrap().as_raw_fd();
    let mut talk = || {
        report("ready", 1);
        while !raw::poll_readable(&[0], pause) {
            for (index, stream) in streams.iter_mut().enumerate() {
                let Some(open) = stream else { continue };
                let line: &[u8] = if pause.as_millis() > 10 { b"G" } else { b"hello" };
                if open.write_all(line).is_err() {
                    *stream = None;
                    let again = shown(connected(args.get(index + 1)));
                    report(index, format!("{again} again"));
                }
            }
        }
        for (index, stream) in streams.iter().enumerate() {
            if stream.is_some() {
                report(index, "ok");
            }
        }
    };
    match args.text(0) {
        "child" | "orphan" => {
            let child = raw::fork();
            if child == 0 {
                if args.text(0) == "orphan" && raw::fork() != 0 {
                    raw::exit(0);
                }
                talk();
                raw::exit(0);
            }
            streams.clear();
            raw::wait(child);
            while !raw::poll_readable(&[0], Duration::from_millis(10)) {}
        }
        "thread" => std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            scope.spawn(move || {
                // A table of its own, where alone the connection stays.
                raw::call(libc::SYS_unshare, &[libc::CLONE_FILES as usize]).unwrap();
                tell.send(()).unwrap();
                talk();
            });
            told.recv().unwrap();
            raw::close(own);
        }),
        _ => talk(),
    }
}

fn waits_for_room(args: &Args) {
    report("ready", 1);
    report("connect", shown(connected(args.get(0))));
}

fn sends_on(args: &Args) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(args.get::<SocketAddr>(0)).unwrap();
    socket.send(b"hello").unwrap();
    report("ready", 1);
    let mut last = "ok".to_owned();
    while !raw::poll_readable(&[0], Duration::from_millis(5)) {
        last = socket.send(b"hello").map_or_else(|error| error.to_string(), |_| "ok".to_owned());
    }
    report("send", last);
}

fn is_a_server(_: &Args) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    report("port", listener.local_addr().unwrap().port());
    report("ready", 1);
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).unwrap();
    stream.write_all(&bytes).unwrap();
}

fn talks_to_itself(args: &Args) {
    let listener = TcpListener::bind(("127.0.0.1", args.get(0))).unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", args.get(0))).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    report("ready", 1);
    while !raw::poll_readable(&[0], Duration::from_millis(10)) {}
    client.write_all(b"hello").unwrap();
    let mut bytes = [0; 5];
    server.read_exact(&mut bytes).unwrap();
    report("heard", String::from_utf8_lossy(&bytes));
}
