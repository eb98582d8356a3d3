//! A caller that ends while a send of it waits for room: it executes another program, is killed, or exits. Then there
//! is nobody to send for. The receiver got a beginning of what was sent and sees the end of the stream, though the run
//! goes on; calls of others are served before and after.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::{Args, Lab, TcpServer, raw, report};

use lab::message::{header, part, sendmsg};

lab::suite! {
    tests: [streams_of_the_network, unix_streams, descriptors_of_another_thread],
    programs: [mid_send, after_mid_send, opened_elsewhere],
}

trait Stream: Read + AsRawFd {}
impl<T: Read + AsRawFd> Stream for T {}

/// Which thread is in the call. Whoever executes a program takes the first one's number over.
const WHO: [&str; 2] = ["first", "another"];
const ENDS: [&str; 3] = ["exec", "killed", "exits"];

fn streams_of_the_network(lab: &Lab) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let accept = || {
        let stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(LONG)).unwrap();
        Box::new(stream) as Box<dyn Stream>
    };
    all_ends(lab, &address, accept);
}

fn unix_streams(lab: &Lab) {
    let path = lab.path("work/socket");
    let listener = UnixListener::bind(&path).unwrap();
    lab.own(&path);
    let accept = || {
        let stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(LONG)).unwrap();
        Box::new(stream) as Box<dyn Stream>
    };
    all_ends(lab, path.to_str().unwrap(), accept);
}

fn all_ends(lab: &Lab, address: &str, accept: impl Fn() -> Box<dyn Stream>) {
    let free = TcpServer::v4();
    let sandbox = || {
        let run = lab.sandbox().allow(free.rule()).allow("udp://127.0.0.9:9");
        if address.starts_with('/') { run.write(address) } else { run.allow(address) }
    };
    let whole = pattern();
    for who in WHO {
        for end in ENDS {
            for run in [lab.bare(), sandbox()] {
                let before = free.saw().len();
                let mut child =
                    run.input_pipe().program("mid_send", [who, end, address, &free.rule()]).start();
                let mut stream = accept();
                assert!(raw::poll_readable(&[stream.as_raw_fd()], LONG));
                // Until there is no room left.
                std::thread::sleep(Duration::from_millis(100));
                child.send("go\n");
                assert_eq!(child.wait_for("the send"), "waits");
                assert_eq!(child.wait_for("others after"), "ok");
                let mut received = Vec::new();
                // Whoever still had the stream would keep this from its end, and this from an end in time.
                stream.read_to_end(&mut received).unwrap();
                assert!(child.is_running());
                assert!(!received.is_empty() && received.len() < whole.len(), "{} bytes", received.len());
                assert!(whole.starts_with(&received), "{who} {end}: damaged");
                child.end_input();
                let out = child.finish();
                out.expect_code(0).expect("others meanwhile", "ok");
                assert_eq!(free.saw().len(), before + 20, "{out}");
            }
        }
    }
}

/// More than the buffers between the two hold; every place has its own bytes.
fn pattern() -> Vec<u8> {
    let mut bytes = vec![0; 16 << 20];
    for (index, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_ne_bytes());
    }
    bytes
}

static SENT: AtomicBool = AtomicBool::new(false);

/// `mid_send WHO END ADDRESS FREE`.
fn mid_send(args: &Args) {
    if args.text(1) == "exec" {
        return send_and_end(args);
    }
    let child = raw::fork();
    if child == 0 {
        send_and_end(args);
    }
    let status = raw::wait(child);
    assert_eq!(status, if args.text(1) == "killed" { libc::SIGKILL } else { 7 << 8 });
    go_on(args.get(3));
}

/// One thread sends more than there is room for, another one makes an end of both.
fn send_and_end(args: &Args) {
    let payload = pattern();
    let socket = connected(args.text(2));
    let send = || {
        let _ = sendmsg(socket, &header(&[], &[part(&payload)], &[]), 0);
        SENT.store(true, Ordering::Relaxed);
    };
    let end = || {
        let mut word = [0u8; 3];
        raw::call(libc::SYS_read, &[0, raw::out(&mut word), 3]).unwrap();
        report("others meanwhile", calls(args.get(3)));
        report("the send", if SENT.load(Ordering::Relaxed) { "is through" } else { "waits" });
        match args.text(1) {
            "exec" => {
                let words = std::env::args_os().take(2).collect::<Vec<_>>();
                let mut command = std::process::Command::new(std::env::current_exe().unwrap());
                command.arg(&words[1]).args(["after_mid_send", args.text(3), &socket.to_string()]);
                panic!("{}", command.exec());
            }
            "killed" => {
                let own = std::process::id() as usize;
                let _ = raw::call(libc::SYS_kill, &[own, libc::SIGKILL as usize]);
            }
            _ => raw::exit(7),
        }
    };
    std::thread::scope(|scope| {
        if args.text(0) == "first" {
            scope.spawn(end);
            send();
        } else {
            scope.spawn(send);
            end();
        }
    });
}

/// `after_mid_send FREE SOCKET`: what was executed.
fn after_mid_send(args: &Args) {
    raw::close(args.get(1));
    go_on(args.get(0));
}

/// Until standard input ends.
fn go_on(free: SocketAddr) {
    report("others after", calls(free));
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Ten connections, and as many messages.
fn calls(free: SocketAddr) -> &'static str {
    let begun = Instant::now();
    for _ in 0..10 {
        let socket = raw::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0).unwrap();
        raw::connect(socket, &raw::internet(free)).unwrap();
        sendmsg(socket, &header(&[], &[part(b"x")], &[]), 0).unwrap();
        raw::close(socket);
    }
    if begun.elapsed() < Duration::from_secs(2) { "ok" } else { "late" }
}

fn connected(address: &str) -> RawFd {
    let (family, name) = match address.parse::<SocketAddr>() {
        Ok(address) => (libc::AF_INET, raw::internet(address)),
        Err(_) => (libc::AF_UNIX, raw::unix(Path::new(address))),
    };
    let socket = raw::socket(family, libc::SOCK_STREAM, 0).unwrap();
    raw::connect(socket, &name).unwrap();
    socket
}

fn descriptors_of_another_thread(lab: &Lab) {
    let (server, datagrams) = (TcpServer::v4(), lab::UdpServer::v4());
    let addresses = [server.rule(), datagrams.address().to_string()];
    for run in [lab.bare(), lab.sandbox().allow(server.rule()).allow(datagrams.rule())] {
        let before = (server.saw().len(), datagrams.saw().len());
        let out = run.run("opened_elsewhere", &addresses);
        out.expect_code(0);
        let texts = |seen: Vec<lab::Seen>| seen.iter().map(lab::Seen::text).collect::<Vec<_>>();
        assert_eq!(texts(server.saw())[before.0..], ["elsewhere"], "{out}");
        assert_eq!(texts(datagrams.saw())[before.1..], ["elsewhere"], "{out}");
    }
}

/// `opened_elsewhere TCP UDP`: a thread that has ended opened it, another one connects, another one sends.
fn opened_elsewhere(args: &Args) {
    let in_thread =
        |act: &(dyn Fn() -> RawFd + Sync)| std::thread::scope(|scope| scope.spawn(act).join().unwrap());
    let parts = [part(b"elsewhere")];
    for (index, kind) in [libc::SOCK_STREAM, libc::SOCK_DGRAM].into_iter().enumerate() {
        let socket = in_thread(&|| raw::socket(libc::AF_INET, kind, 0).unwrap());
        let name = raw::internet(args.get::<SocketAddr>(index));
        let name = if kind == libc::SOCK_STREAM {
            in_thread(&|| raw::connect(socket, &name).map(|()| socket).unwrap());
            &[]
        } else {
            &name[..]
        };
        in_thread(&|| sendmsg(socket, &header(name, &parts, &[]), 0).map(|_| socket).unwrap());
    }
}

const LONG: Duration = Duration::from_secs(10);
