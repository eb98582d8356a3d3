//! In a port space of its own a run reaches its own sockets without a rule. So whatever it makes the supervisor take for
//! one of its own would be a way out: a service outside at the same port, one that takes a port which was the run's, one
//! that shares a port, another run's.

use std::net::{SocketAddr, TcpListener, TcpStream};

use lab::{Args, Errno, Lab, TcpServer, UdpServer, free_port, raw, report, shown};

lab::suite! {
    tests: [
        a_service_outside_shares_no_port,
        a_service_that_comes_later_shares_no_port,
        a_port_that_was_the_runs_leads_nowhere,
        a_connection_in_the_making_does_not_outlive_its_server,
        a_port_that_is_only_bound_leads_nowhere,
        another_runs_port_is_not_reached,
        datagrams_reach_no_service_outside,
        a_port_of_the_machine_that_no_rule_names_is_not_had,
    ],
    programs: [share_late, share, share_and_count, call_after_close, call_when_full, call_after_bind, hold_a_port, call_datagram],
}

const SPACE: [&str; 5] = ["--port-remap", "--net-allow-bind", "*", "--net-allow-bind", "udp://*"];

/// By SO_REUSEPORT, which two sockets of one user need to share a port.
fn a_service_outside_shares_no_port(lab: &Lab) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let mut host = lab.bare().program("share_and_count", [&address]).input_pipe().start();
    host.wait_for("listen");
    // Without the sandbox the port is shared.
    lab.bare().run("share", [&address]).expect("bind", "ok").expect("listen", "ok");

    for options in [&SPACE[..], &["--publish", &port.to_string()]] {
        let mut thief = lab.sandbox().options(options).program("share", [&address]).input_pipe().start();
        if options.len() == SPACE.len() {
            assert_eq!(thief.wait_for("listen"), "ok");
            for _ in 0..30 {
                drop(TcpStream::connect(&address).unwrap());
            }
            thief.end_input();
            thief.finish().expect("bind", "ok").expect("accepted", 0);
        } else {
            thief.finish().expect_code(125);
        }
    }
    host.end_input();
    host.finish().expect("accepted", 30);
}

/// A socket that has the very port of the machine is made to share it, and calls there reach now one, now the other.
fn a_service_that_comes_later_shares_no_port(lab: &Lab) {
    for way in ["before", "after"] {
        let address = format!("127.0.0.1:{}", free_port());
        let run = |bare: bool| {
            let run = if bare { lab.bare() } else { lab.sandbox().options(SPACE) };
            let mut child = run.program("share_late", [&address, way]).input_pipe().start();
            child.wait_for("bind");
            let mut host = lab.bare().program("share_and_count", [&address]).input_pipe().start();
            let shared = host.wait_for("listen");
            child.send("go\n");
            let out = child.finish();
            host.end_input();
            (out, shared, host.finish())
        };
        let (out, shared, host) = run(true);
        out.expect("option", "ok");
        assert_eq!(shared, "ok");
        assert!(host.value("accepted").parse::<u32>().unwrap() > 0, "{host}");
        let (out, shared, host) = run(false);
        out.expect("option", if way == "before" { "ok" } else { "EINVAL" });
        if shared == "ok" {
            host.expect("accepted", 0);
        }
    }
}

fn a_port_that_was_the_runs_leads_nowhere(lab: &Lab) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let run = |bare: bool| {
        let run = if bare { lab.bare() } else { lab.sandbox().options(SPACE) };
        let mut child = run.program("call_after_close", [&address]).input_pipe().start();
        // The very port of the machine, since it is free.
        assert_eq!(child.wait_for("closed"), address);
        let host = TcpServer::on(address.parse().unwrap()).unwrap();
        child.send("go\n");
        (child.finish(), host)
    };
    let (out, host) = run(true);
    out.expect("connect", "ok");
    assert_eq!(host.saw().len(), 1);
    drop(host);
    let (out, host) = run(false);
    out.expect("connect", "ECONNREFUSED").expect_said(&format!("--net-allow {address}"));
    assert_eq!(host.saw(), []);
}

/// The queue of the run's own server is full, so a connection to it is being made until there is room; the kernel asks again
/// and again. Then the server closes, and a service outside comes to listen there.
fn a_connection_in_the_making_does_not_outlive_its_server(lab: &Lab) {
    let run = |bare: bool| {
        let address = format!("127.0.0.1:{}", free_port());
        let run = if bare { lab.bare() } else { lab.sandbox().options(SPACE) };
        let mut child = run.program("call_when_full", [&address]).input_pipe().start();
        let begun = child.wait_for("begun");
        assert_eq!(child.wait_for("closed"), address);
        let host = TcpServer::on(address.parse().unwrap()).unwrap();
        child.send("go\n");
        let out = child.finish();
        let heard = host.saw().iter().any(|seen| !seen.bytes.is_empty());
        (begun, out.value("sent") == "ok" && heard, host.saw().len())
    };
    // On a busy machine the kernel may ask before the service is there.
    assert!((0..10).any(|_| run(true) == ("EINPROGRESS".into(), true, 1)));
    for _ in 0..2 {
        assert_eq!(run(false), ("ECONNREFUSED".into(), false, 0));
    }
}

fn a_port_that_is_only_bound_leads_nowhere(lab: &Lab) {
    let host = TcpServer::v4();
    let address = host.address().to_string();
    let out = lab.sandbox().options(SPACE).run("call_after_bind", [&address]);
    out.expect("bind", "ok").expect("connect", "ECONNREFUSED").expect("own", "ok");
    assert_eq!(host.saw(), []);
    lab.bare().run("tcp", [&address]).expect("connect", "ok");
}

fn another_runs_port_is_not_reached(lab: &Lab) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let mut holder = lab.sandbox().options(SPACE).program("hold_a_port", [&address]).input_pipe().start();
    assert_eq!(holder.wait_for("bound"), address);
    TcpStream::connect(&address).unwrap();
    lab.sandbox().options(SPACE).run("tcp", [&address]).expect("connect", "ECONNREFUSED");
    // Having the same port opens nothing either.
    let out = lab.sandbox().options(SPACE).run("call_after_bind", [&address]);
    out.expect("connect", "ECONNREFUSED").expect("own", "ok");
    holder.end_input();
    holder.finish().expect_code(0);
}

fn datagrams_reach_no_service_outside(lab: &Lab) {
    let host = UdpServer::v4();
    let address = host.address().to_string();
    lab.bare().run("call_datagram", [&address]).expect("unbound", "ok");
    assert_eq!(host.saw().len(), 1);
    let out = lab.sandbox().options(SPACE).run("call_datagram", [&address]);
    out.expect("unbound", "ECONNREFUSED").expect("bound", "ok").expect("closed", "ECONNREFUSED");
    assert_eq!(host.saw().len(), 1);
}

fn a_port_of_the_machine_that_no_rule_names_is_not_had(lab: &Lab) {
    let (outside, inside) = (free_port(), free_port());
    let run = || lab.sandbox().options(["--publish", &format!("{outside}:{inside}")]);
    // The machine's port is not the run's.
    run().run("hold_a_port", [format!("127.0.0.1:{outside}")]).expect("bound", "EACCES");
    let out = run()
        .options(["--net-deny-bind", &inside.to_string()])
        .run("hold_a_port", [format!("127.0.0.1:{inside}")]);
    out.expect("bound", "EACCES");
}

fn sharing(args: &Args) -> TcpListener {
    let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    raw::call(libc::SYS_setsockopt, &[socket as usize, 1, 15, raw::at(&1i32), 4]).unwrap();
    report("bind", shown(raw::bind(socket, &raw::internet(args.get::<SocketAddr>(0)))));
    report("listen", shown(raw::call(libc::SYS_listen, &[socket as usize, 64])));
    // SAFETY: nobody else has the descriptor.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(socket) }
}

/// `share_late ADDRESS before|after`: sets SO_REUSEPORT before or after it binds, listens, and when told calls there.
fn share_late(args: &Args) {
    let address: SocketAddr = args.get(0);
    let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    let option = || raw::call(libc::SYS_setsockopt, &[socket as usize, 1, 15, raw::at(&1i32), 4]);
    let before = (args.text(1) == "before").then(option);
    let bound = raw::bind(socket, &raw::internet(address));
    report("option", shown(before.unwrap_or_else(option)));
    raw::call(libc::SYS_listen, &[socket as usize, 64]).unwrap();
    report("bind", shown(bound));
    std::io::stdin().read_line(&mut String::new()).unwrap();
    for _ in 0..30 {
        let _ = TcpStream::connect(address);
    }
}

/// `share ADDRESS`: listens there with SO_REUSEPORT until its standard input ends, and counts who came.
fn share(args: &Args) {
    let listener = sharing(args);
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new()).unwrap();
    listener.set_nonblocking(true).unwrap();
    report("accepted", std::iter::from_fn(|| listener.accept().ok()).count());
}

/// The same.
fn share_and_count(args: &Args) {
    share(args);
}

/// `call_after_close ADDRESS`: listens there, closes, and when told calls there.
fn call_after_close(args: &Args) {
    let listener = TcpListener::bind(args.get::<SocketAddr>(0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(TcpStream::connect(address));
    drop(listener);
    report("closed", address);
    std::io::stdin().read_line(&mut String::new()).unwrap();
    call(address);
}

/// `call_when_full ADDRESS`: listens there, fills the queue, calls without blocking, and closes all else; when told, sends as
/// soon as it is connected.
fn call_when_full(args: &Args) {
    let address: SocketAddr = args.get(0);
    let server = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    raw::bind(server, &raw::internet(address)).unwrap();
    raw::call(libc::SYS_listen, &[server as usize, 0]).unwrap();
    let filling = TcpStream::connect(address).unwrap();
    let client = raw::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0).unwrap();
    report("begun", shown(raw::connect(client, &raw::internet(address))));
    raw::close(server);
    drop(filling);
    report("closed", address);
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let mut poll = libc::pollfd { fd: client, events: libc::POLLOUT, revents: 0 };
    raw::call(libc::SYS_poll, &[raw::out(&mut poll), 1, 20_000]).unwrap();
    let sent = lab::message::sendto(client, b"x", libc::MSG_NOSIGNAL, &[]);
    report("sent", shown(sent.map(|_| ())));
}

fn call(address: SocketAddr) {
    match TcpStream::connect(address) {
        Ok(_) => report("connect", "ok"),
        Err(error) => report("connect", Errno::from(&error)),
    }
}

/// `call_after_bind ADDRESS`: binds there and calls there, then listens and calls once more.
fn call_after_bind(args: &Args) {
    let address: SocketAddr = args.get(0);
    let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    report("bind", shown(raw::bind(socket, &raw::internet(address))));
    call(address);
    raw::call(libc::SYS_listen, &[socket as usize, 1]).unwrap();
    report(
        "own",
        TcpStream::connect(address).map_or_else(|error| Errno::from(&error).to_string(), |_| "ok".into()),
    );
}

/// `hold_a_port ADDRESS`: listens there until its standard input ends.
fn hold_a_port(args: &Args) {
    let listener = TcpListener::bind(args.get::<SocketAddr>(0));
    match &listener {
        Ok(listener) => report("bound", listener.local_addr().unwrap()),
        Err(error) => report("bound", Errno::from(error)),
    }
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new()).unwrap();
}

/// `call_datagram ADDRESS`: sends there, again when it is bound there, and again when that is closed.
fn call_datagram(args: &Args) {
    let address: SocketAddr = args.get(0);
    let client = raw::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
    let send = || shown(lab::message::sendto(client, b"x", 0, &raw::internet(address)).map(|_| ()));
    report("unbound", send());
    let server = raw::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
    if raw::bind(server, &raw::internet(address)).is_ok() {
        report("bound", send());
        raw::close(server);
        report("closed", send());
    }
}
