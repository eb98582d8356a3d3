//! A port space of a run's own: ports that are taken are had all the same, and all that a program sees of them is as on
//! a machine of its own.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

use lab::{Args, Errno, Lab, UdpServer, free_port, raw, report, shown};

lab::suite! {
    tests: [
        twenty_runs_bind_one_port_and_each_reaches_its_own,
        what_a_program_sees_is_as_on_a_machine_of_its_own,
        a_port_is_forgotten_with_its_socket,
        a_server_whose_queue_is_full_is_waited_for,
        datagrams_reach_the_runs_own,
        a_published_port_is_reached_from_outside,
        a_published_port_that_is_taken_is_told_before_anything_runs,
        rules_speak_of_the_runs_ports,
    ],
    programs: [call_full_server, answer_with, see_ports, close_and_bind_again, datagrams_to_itself, serve_again],
}

const SPACE: [&str; 5] = ["--port-remap", "--net-allow-bind", "*", "--net-allow-bind", "udp://*"];

fn twenty_runs_bind_one_port_and_each_reaches_its_own(lab: &Lab) {
    let host = lab::TcpServer::v4();
    let address = host.address().to_string();
    let run =
        |name: &usize| lab.sandbox().options(SPACE).program("answer_with", [&address, &name.to_string()]);
    let names: Vec<usize> = (0..20).collect();
    let mut children: Vec<_> = names.iter().map(|name| run(name).input_pipe().start()).collect();
    children.iter_mut().for_each(|child| assert_eq!(child.wait_for("bound"), address));
    children.iter_mut().for_each(|child| child.send("go\n"));
    for (name, child) in names.iter().zip(children) {
        child.finish().expect("heard", name).expect("v6", name).expect_code(0);
    }
    assert_eq!(host.saw(), []);
}

fn what_a_program_sees_is_as_on_a_machine_of_its_own(lab: &Lab) {
    let port = free_port();
    let bare = lab.bare().run("see_ports", [port.to_string()]);
    let free = lab.sandbox().options(SPACE).run("see_ports", [port.to_string()]);
    // From here on somebody has it.
    let host = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let _host6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).unwrap();
    host.set_nonblocking(true).unwrap();
    let taken = lab.sandbox().options(SPACE).run("see_ports", [port.to_string()]);
    for out in [free, taken] {
        for key in SEEN {
            out.expect(key, bare.value(key));
        }
    }
    assert!(host.accept().is_err());
}

fn a_port_is_forgotten_with_its_socket(lab: &Lab) {
    let port = free_port();
    let host = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let out = lab.sandbox().options(SPACE).run("close_and_bind_again", [port.to_string()]);
    out.expect("first", "ok").expect("closed", "ECONNREFUSED").expect("again", "ok").expect("other", "ok");
    drop(host);
}

fn a_server_whose_queue_is_full_is_waited_for(lab: &Lab) {
    for run in [lab.bare(), lab.sandbox().options(SPACE)] {
        let out = run.run("call_full_server", [free_port().to_string()]);
        out.expect("connect", "ok").expect("heard", "x");
    }
}

fn datagrams_reach_the_runs_own(lab: &Lab) {
    let host = UdpServer::v4();
    let out = lab.sandbox().options(SPACE).run("datagrams_to_itself", [host.address().to_string()]);
    out.expect("bound", host.address()).expect("peer", host.address());
    out.expect("connected", "back").expect("unconnected", "back").expect("batch", "back");
    assert_eq!(host.saw(), []);
}

fn a_published_port_is_reached_from_outside(lab: &Lab) {
    let (outside, inside) = (free_port(), free_port());
    let taken = TcpListener::bind(("127.0.0.1", inside)).unwrap();
    let run = lab.sandbox().options(["--publish", &format!("{outside}:{inside}")]);
    let mut child = run.program("serve_again", [format!("127.0.0.1:{inside}")]).start();
    for round in ["first", "second"] {
        assert_eq!(child.wait_for(round), format!("127.0.0.1:{inside}"));
        let mut heard = String::new();
        TcpStream::connect(("127.0.0.1", outside)).unwrap().read_to_string(&mut heard).unwrap();
        assert_eq!(heard, round);
    }
    child.finish().expect_code(0);
    drop(taken);
}

fn a_published_port_that_is_taken_is_told_before_anything_runs(lab: &Lab) {
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port().to_string();
    let out = lab.sandbox().options(["--publish", &port]).sh("echo ran");
    out.expect_code(125).expect_said(&format!("--publish {port}: "));
    assert!(!out.to_string().contains("\nran"), "{out}");
    let twice = ["--publish", "udp://9:1", "--publish", "udp://9:2"];
    lab.sandbox().options(twice).sh("true").expect_code(125).expect_said("--publish udp://9:");
    let alone = lab.sandbox().options(["--kernel-only", "--port-remap"]).sh("true");
    alone.expect_code(125).expect_said("--port-remap");
}

fn rules_speak_of_the_runs_ports(lab: &Lab) {
    let (allowed, other) = (free_port().to_string(), free_port().to_string());
    let run = || lab.sandbox().options(["--port-remap", "--net-allow-bind", &allowed]);
    run().run("close_and_bind_again", [&allowed]).expect("first", "ok").expect("other", "EACCES");
    let out = run().run("close_and_bind_again", [&other]);
    out.expect("first", "EACCES").expect_said(&format!("--net-allow-bind {other}"));
}

/// `answer_with ADDRESS NAME`: serves its name there, and on [::1]; when told, asks both.
fn answer_with(args: &Args) {
    let address: SocketAddr = args.get(0);
    let name = args.text(1).to_owned();
    let listeners = [address, (Ipv6Addr::LOCALHOST, address.port()).into()]
        .map(|address| TcpListener::bind(address).unwrap());
    report("bound", listeners[0].local_addr().unwrap());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    for (key, listener) in ["heard", "v6"].iter().zip(listeners) {
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap().0.write_all(name.as_bytes()).unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        report(key, heard);
    }
}

const SEEN: [&str; 17] = [
    "own",
    "peer",
    "accepted",
    "again",
    "other address",
    "v6",
    "v6only",
    "mapped",
    "any",
    "reused",
    "shared",
    "not shared",
    "connected",
    "bound twice",
    "short",
    "negative",
    "null",
];

/// `see_ports PORT`: what there is to see.
fn see_ports(args: &Args) {
    let port: u16 = args.get(0);
    let v4 = |ip: [u8; 4]| raw::internet(SocketAddr::from((ip, port)));
    let v6 = |ip: Ipv6Addr| raw::internet(SocketAddr::from((ip, port)));
    let new = |family| raw::socket(family, libc::SOCK_STREAM, 0).unwrap();
    let set = |socket: i32, level, option| {
        raw::call(libc::SYS_setsockopt, &[socket as usize, level, option, raw::at(&1i32), 4]).unwrap();
    };
    let listen = |socket: i32| shown(raw::call(libc::SYS_listen, &[socket as usize, 8]));
    const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

    let first = new(libc::AF_INET);
    report("own", format!("{} {}", shown(raw::bind(first, &v4(LOOPBACK))), listen(first)));
    let listener = unsafe_listener(first);
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = listener.accept().unwrap().0;
    report("peer", format!("{}", client.peer_addr().unwrap().port() == port));
    report("accepted", format!("{}", accepted.local_addr().unwrap().port() == port));
    report("again", shown(raw::bind(new(libc::AF_INET), &v4(LOOPBACK))));
    report("other address", shown(raw::bind(new(libc::AF_INET), &v4([127, 0, 0, 2]))));
    report("any", shown(raw::bind(new(libc::AF_INET), &v4([0, 0, 0, 0]))));
    report(
        "mapped",
        shown(raw::bind(new(libc::AF_INET6), &v6(Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1])))),
    );
    report("v6", shown(raw::bind(new(libc::AF_INET6), &v6(Ipv6Addr::LOCALHOST))));
    let only = new(libc::AF_INET6);
    set(only, 41, 26);
    report("v6only", shown(raw::bind(only, &v6(Ipv6Addr::UNSPECIFIED))));
    report("connected", shown(raw::connect(client.as_raw_fd(), &v4(LOOPBACK))));
    report("bound twice", shown(raw::bind(first, &v4(LOOPBACK))));

    let name = |length: &mut i32, at: usize| {
        shown(raw::call(libc::SYS_getsockname, &[first as usize, at, raw::out(length)]))
    };
    let (mut bytes, mut length) = ([0u8; 28], 4);
    report("short", format!("{} {length}", name(&mut length, raw::out(&mut bytes))));
    report("short", format!("{:?} {length}", bytes));
    length = -1;
    report("negative", name(&mut length, raw::out(&mut bytes)));
    length = 16;
    report("null", name(&mut length, 0));
    drop((listener, client, accepted));

    // Another port, since this one has connections of before.
    let shared: Vec<_> = (0..2).map(|_| new(libc::AF_INET)).collect();
    shared.iter().for_each(|socket| set(*socket, 1, 15));
    let address = v4([127, 0, 0, 3]);
    let bound: Vec<_> =
        shared.iter().map(|socket| shown(raw::bind(*socket, &address)) + &listen(*socket)).collect();
    report("shared", format!("{bound:?}"));
    report("not shared", shown(raw::bind(new(libc::AF_INET), &address)));
    let reused: Vec<_> = (0..2).map(|_| new(libc::AF_INET)).collect();
    reused.iter().for_each(|socket| set(*socket, 1, 2));
    let address = v4([127, 0, 0, 4]);
    let bound: Vec<_> =
        reused.iter().map(|socket| shown(raw::bind(*socket, &address)) + &listen(*socket)).collect();
    report("reused", format!("{bound:?}"));
}

fn unsafe_listener(socket: i32) -> TcpListener {
    // SAFETY: the descriptor is open, and whoever uses it beside does not close it.
    unsafe { TcpListener::from_raw_fd(socket) }
}

/// `close_and_bind_again PORT`: on loopback.
fn close_and_bind_again(args: &Args) {
    let address = SocketAddr::from(([127, 0, 0, 1], args.get(0)));
    let told = |result: &std::io::Result<TcpListener>| match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => Errno::from(error).to_string(),
    };
    let first = TcpListener::bind(address);
    report("first", told(&first));
    drop(first);
    report(
        "closed",
        TcpStream::connect(address).map_or_else(|error| Errno::from(&error).to_string(), |_| "ok".into()),
    );
    for _ in 0..50 {
        drop(TcpListener::bind(address));
    }
    let again = TcpListener::bind(address);
    report("again", told(&again));
    report("other", told(&TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], address.port() ^ 1)))));
}

/// `datagrams_to_itself ADDRESS`: binds there, and answers itself.
fn datagrams_to_itself(args: &Args) {
    let address: SocketAddr = args.get(0);
    let server = UdpSocket::bind(address).unwrap();
    report("bound", server.local_addr().unwrap());
    let answered = |client: &UdpSocket| {
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut bytes = [0; 16];
        let (_, from) = server.recv_from(&mut bytes).unwrap();
        if let Err(error) = server.send_to(b"back", from) {
            return Errno::from(&error).to_string();
        }
        let count = client.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(address).unwrap();
    report("peer", client.peer_addr().unwrap());
    client.send(b"hello").unwrap();
    report("connected", answered(&client));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"hello", address).unwrap();
    report("unconnected", answered(&client));
    // Without having been bound.
    let client = raw::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).unwrap();
    let (name, parts) = (raw::internet(address), [lab::message::part(b"hello")]);
    let entries = [lab::message::entry(&name, &parts, &[])];
    raw::call(libc::SYS_sendmmsg, &[client as usize, raw::at(&entries), 1, 0]).unwrap();
    // SAFETY: nobody else has the descriptor.
    report("batch", answered(&unsafe { UdpSocket::from_raw_fd(client) }));
}

/// `serve_again ADDRESS`: two servers, one after the other.
fn serve_again(args: &Args) {
    let address: SocketAddr = args.get(0);
    for round in ["first", "second"] {
        let listener = TcpListener::bind(address).unwrap();
        report(round, listener.local_addr().unwrap());
        listener.accept().unwrap().0.write_all(round.as_bytes()).unwrap();
    }
}

/// `call_full_server PORT`: fills the queue of a server of its own, and calls it once more; it begins to accept meanwhile.
fn call_full_server(args: &Args) {
    let address = SocketAddr::from(([127, 0, 0, 1], args.get(0)));
    let server = TcpListener::bind(address).unwrap();
    raw::call(libc::SYS_listen, &[server.as_raw_fd() as usize, 0]).unwrap();
    let filling = TcpStream::connect(address).unwrap();
    let accepting = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(server.accept().unwrap());
        let (mut accepted, _) = server.accept().unwrap();
        let mut heard = [0; 1];
        accepted.read_exact(&mut heard).unwrap();
        report("heard", String::from_utf8_lossy(&heard));
    });
    match TcpStream::connect(address) {
        Ok(mut stream) => {
            report("connect", "ok");
            stream.write_all(b"x").unwrap();
            accepting.join().unwrap();
        }
        Err(error) => report("connect", Errno::from(&error)),
    }
    drop(filling);
}
