//! Servers inside: on ports that a rule names, reached from outside, and from inside where a rule says so.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use lab::{Args, Errno, Lab, free_port, raw, report, shown};

lab::suite! {
    tests: [
        a_server_inside_is_reached_from_outside,
        a_server_inside_is_reached_from_inside_by_a_rule,
        a_datagram_server_answers_whom_it_may,
        the_kernel_alone_carries_every_port,
        a_refusal_names_the_flag,
        a_name_of_a_unix_socket_is_as_bare,
        addresses_of_interfaces_are_had,
    ],
    programs: [greet, greet_and_call, echo_datagrams, unix_names, interfaces],
}

/// With a rule for UDP every bind is performed on behalf; without, Landlock decides.
const WAYS: [&[&str]; 4] =
    [&[], &["--net-allow", "udp://127.0.0.1:9"], &["--landlock-at-most", "3"], &["--port-remap"]];

fn a_server_inside_is_reached_from_outside(lab: &Lab) {
    for way in WAYS {
        for ip in ["127.0.0.1", "[::1]"] {
            let port = free_port();
            let rules = ["--net-allow-bind", &port.to_string()];
            let address = format!("{ip}:{port}");
            let mut child = lab.sandbox().options(way).options(rules).program("greet", [&address]).start();
            assert_eq!(child.wait_for("listening"), address);
            let mut heard = String::new();
            TcpStream::connect(&address).unwrap().read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "hello");
            child.finish().expect_code(0);
        }
    }
}

fn a_server_inside_is_reached_from_inside_by_a_rule(lab: &Lab) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let run = || lab.sandbox().options(["--net-allow-bind", &port.to_string()]);
    run().allow(&address).run("greet_and_call", [&address]).expect("heard", "hello");
    run().run("greet_and_call", [&address]).expect("connect", "ECONNREFUSED");
    // Whatever the kernel chooses.
    let run = || lab.sandbox().options(["--net-allow-bind", "0"]);
    run().allow("127.0.0.1:*").run("greet_and_call", ["127.0.0.1:0"]).expect("heard", "hello");
}

fn a_datagram_server_answers_whom_it_may(lab: &Lab) {
    let port = free_port();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let rules = ["--net-allow-bind", &format!("udp://{port}")];
    for (answers, rule) in [
        ("ok", format!("udp://{}", client.local_addr().unwrap())),
        ("ECONNREFUSED", "udp://127.0.0.1:1".into()),
    ] {
        let run = lab.sandbox().options(rules).allow(rule);
        let mut child = run.program("echo_datagrams", [format!("127.0.0.1:{port}")]).start();
        child.wait_for("bound");
        client.send_to(b"hello", ("127.0.0.1", port)).unwrap();
        if answers == "ok" {
            assert_eq!(client.recv(&mut [0; 16]).unwrap(), 5);
        }
        child.finish().expect("answer", answers);
    }
    // Without a rule of where to, sockets can be made and bound, and answer nobody.
    let mut child =
        lab.sandbox().options(rules).program("echo_datagrams", [format!("127.0.0.1:{port}")]).start();
    child.wait_for("bound");
    client.send_to(b"hello", ("127.0.0.1", port)).unwrap();
    child.finish().expect("answer", "ECONNREFUSED");
}

fn the_kernel_alone_carries_every_port(lab: &Lab) {
    let address = format!("127.0.0.1:{}", free_port());
    let run = |rule: &str| {
        let rules = ["--kernel-only", "--net-allow", &format!(":{}", address.rsplit(':').next().unwrap())];
        lab.sandbox().options(rules).options(["--net-allow-bind", rule]).run("greet_and_call", [&address])
    };
    run("*").expect("heard", "hello");
    run("8080").expect_code(125).expect_said("--net-allow-bind \"8080\"");
    let run =
        |rules: &[&str]| lab.sandbox().options(["--kernel-only", "--net-allow", "udp://*:*"]).options(rules);
    run(&[]).sh("true").expect_code(125).expect_said("--net-allow-bind");
    run(&["--net-allow-bind", "udp://*"]).sh("true").expect_code(0);
}

fn a_refusal_names_the_flag(lab: &Lab) {
    let out =
        lab.sandbox().command("python3", ["-c", "import socket; socket.create_server(('', 8123))"]).output();
    out.expect_said("tcp bind to port 8123").expect_said("--net-allow-bind 8123").expect_code(1);
}

/// Made where the caller stands, with its umask, and called by what the caller wrote.
fn a_name_of_a_unix_socket_is_as_bare(lab: &Lab) {
    let work = lab.path("work");
    lab.directory("work/below");
    lab.directory("outside");
    std::os::unix::fs::symlink("below", work.join("link")).unwrap();
    let bare = lab.bare().run("unix_names", [&work]);
    bare.expect("relative", "ok")
        .expect("long", "ok")
        .expect("own", "ok")
        .expect("link", "ok")
        .expect("outside", "ok");
    for way in WAYS {
        let out = lab.sandbox().write(&work).option("--unix-dgram").options(way).run("unix_names", [&work]);
        for key in [
            "relative",
            "mode",
            "name",
            "long",
            "dots",
            "slash",
            "taken",
            "none",
            "link",
            "directory",
            "abstract",
        ] {
            out.expect(key, bare.value(key));
        }
        out.expect("outside", "EACCES").expect("own", "ok");
        if !way.is_empty() {
            // On behalf, so that it is known.
            out.expect_said(&format!("-w {}", lab.path("outside").display()));
        }
        assert_eq!(out.value("automatic").len(), bare.value("automatic").len());
    }
}

/// `getifaddrs` binds a netlink socket.
fn addresses_of_interfaces_are_had(lab: &Lab) {
    let bare = lab.bare().run("interfaces", lab::NONE);
    for way in WAYS {
        lab.sandbox().options(way).run("interfaces", lab::NONE).expect("names", bare.value("names"));
    }
}

/// `greet ADDRESS`: says hello to the first who comes.
fn greet(args: &Args) {
    let listener = TcpListener::bind(args.get::<SocketAddr>(0)).unwrap();
    report("listening", listener.local_addr().unwrap());
    listener.accept().unwrap().0.write_all(b"hello").unwrap();
}

/// `greet_and_call ADDRESS`: both sides.
fn greet_and_call(args: &Args) {
    let listener = TcpListener::bind(args.get::<SocketAddr>(0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut stream = match TcpStream::connect(address) {
        Ok(stream) => stream,
        Err(error) => return report("connect", Errno::from(&error)),
    };
    listener.accept().unwrap().0.write_all(b"hello").unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    report("heard", heard);
}

/// `echo_datagrams ADDRESS`: one.
fn echo_datagrams(args: &Args) {
    let socket = UdpSocket::bind(args.get::<SocketAddr>(0)).unwrap();
    report("bound", socket.local_addr().unwrap());
    let mut bytes = [0; 16];
    let (count, from) = socket.recv_from(&mut bytes).unwrap();
    match socket.send_to(&bytes[..count], from) {
        Ok(_) => report("answer", "ok"),
        Err(error) => report("answer", Errno::from(&error)),
    }
}

/// `unix_names WORK`: binds there in many ways.
fn unix_names(args: &Args) {
    let work = args.path(0);
    let told = |result: std::io::Result<()>| {
        result.map_or_else(|error| Errno::from(&error).to_string(), |()| "ok".into())
    };
    let listen = |path: &str| told(UnixListener::bind(path).map(|_| ()));
    std::env::set_current_dir(work).unwrap();
    raw::call(libc::SYS_umask, &[0o027]).unwrap();
    report("relative", listen("below/a"));
    report("mode", format!("{:o}", std::fs::metadata("below/a").unwrap().permissions().mode()));
    // Who receives sees the name as it was written.
    let (one, other) =
        (UnixDatagram::bind("below/one").unwrap(), UnixDatagram::bind("below/../below/other").unwrap());
    other.send_to(b"x", "below/one").unwrap();
    report("name", format!("{:?}", one.recv_from(&mut [0; 8]).unwrap().1));
    report("long", listen(&format!("below/{}", "x".repeat(101))));
    report("dots", listen("below/.."));
    report("slash", listen("below/new/"));
    report("taken", listen("below/a"));
    report("none", listen("nowhere/a"));
    report("link", listen("link/b"));
    report("directory", listen("below/a/b"));
    let directory = std::fs::File::open("below").unwrap();
    let own = format!("/proc/self/fd/{}/own", std::os::fd::AsRawFd::as_raw_fd(&directory));
    report("own", listen(&own));
    report("outside", listen("../outside/a"));
    assert!(UnixStream::connect("below/a").is_err());
    // The machine has one space of abstract names: this one is the lab's.
    let name = work.as_os_str().as_bytes();
    for (key, address) in [("abstract", raw::unix_abstract(name)), ("automatic", vec![1, 0])] {
        let socket = raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap();
        let bound = shown(raw::bind(socket, &address));
        let (mut name, mut length) = ([0u8; 110], 110u32);
        raw::call(libc::SYS_getsockname, &[socket as usize, raw::out(&mut name), raw::out(&mut length)])
            .unwrap();
        report(key, format!("{bound} {length}"));
    }
    for name in ["a", "one", "other", "b", "own", &"x".repeat(101)] {
        let _ = std::fs::remove_file(work.join("below").join(name));
    }
    let _ = std::fs::remove_file(work.join("../outside/a"));
}

fn interfaces(_: &Args) {
    let script = "import socket; print('names=' + ','.join(name for _, name in socket.if_nameindex()))";
    let _ = std::process::Command::new("python3").args(["-c", script]).status();
}
