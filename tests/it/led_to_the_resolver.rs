//! A connection to the resolver's address is one to the run's own resolver, whatever the socket is like and however it
//! connects.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{FromRawFd, RawFd};
use std::time::Duration;

use lab::{Args, Lab, raw, report};

lab::suite! {
    tests: [every_kind_of_connect_is_led_there, a_socket_is_led_there_again_and_again, many_at_once],
    programs: [connect_and_ask, one_after_the_other, at_once],
}

const KINDS: [&str; 7] =
    ["blocking", "non-blocking", "IPv6", "non-blocking IPv6", "bound", "bound elsewhere", "with a limit"];

fn every_kind_of_connect_is_led_there(lab: &Lab) {
    for version in ["1", "7"] {
        for kind in KINDS {
            let run = lab.sandbox().options(["--landlock-at-most", version]).allow("*.test:443");
            let out = run.run("connect_and_ask", [kind]);
            out.expect("answer", "no such name");
            // Its own end is as the program chose it.
            if kind == "bound elsewhere" {
                out.expect("from", "127.0.0.7");
            }
        }
    }
}

fn a_socket_is_led_there_again_and_again(lab: &Lab) {
    lab.sandbox().allow("*.test:443").run("one_after_the_other", lab::NONE).expect("answered", 20);
}

fn many_at_once(lab: &Lab) {
    lab.sandbox().allow("*.test:443").run("at_once", lab::NONE).expect("answered", 20);
}

fn resolver(v6: bool) -> Vec<u8> {
    let address = if v6 { "[::ffff:127.53.53.53]:53" } else { "127.53.53.53:53" };
    raw::internet(address.parse::<SocketAddr>().unwrap())
}

fn question() -> Vec<u8> {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend(b"\x04evil\x07example\0\0\x01\0\x01");
    [&(question.len() as u16).to_be_bytes()[..], &question].concat()
}

/// Asks for a name that no rule allows.
fn ask(stream: &mut TcpStream) -> &'static str {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = [0; 6];
    match stream.write_all(&question()).and_then(|()| stream.read_exact(&mut answer)) {
        Ok(()) if answer[2..4] == [0x12, 0x34] && answer[5] & 15 == 3 => "no such name",
        Ok(()) => "another",
        Err(_) => "none",
    }
}

fn connect_and_ask(args: &Args) {
    let kind = args.text(0);
    let v6 = kind.ends_with("IPv6");
    let waits = !kind.starts_with("non-blocking");
    let flags = if waits { libc::SOCK_STREAM } else { libc::SOCK_STREAM | libc::SOCK_NONBLOCK };
    let socket = raw::socket(if v6 { libc::AF_INET6 } else { libc::AF_INET }, flags, 0).unwrap();
    match kind {
        "bound" => raw::bind(socket, &raw::internet("127.0.0.1:0".parse::<SocketAddr>().unwrap())).unwrap(),
        "bound elsewhere" => {
            raw::bind(socket, &raw::internet("127.0.0.7:0".parse::<SocketAddr>().unwrap())).unwrap()
        }
        "with a limit" => {
            let limit = [5u64, 0];
            let (level, name) = (libc::SOL_SOCKET as usize, libc::SO_SNDTIMEO as usize);
            raw::call(libc::SYS_setsockopt, &[socket as usize, level, name, raw::at(&limit), 16]).unwrap();
        }
        _ => {}
    }
    match raw::connect(socket, &resolver(v6)) {
        Ok(()) => {}
        Err(errno) if !waits && errno.to_string() == "EINPROGRESS" => writable(socket),
        Err(errno) => return report("answer", errno),
    }
    // SAFETY: made above, and nobody else's.
    let mut stream = unsafe { TcpStream::from_raw_fd(socket) };
    report("from", stream.local_addr().unwrap().ip());
    report("answer", ask(&mut stream));
}

/// Waits until a connection stands.
fn writable(socket: RawFd) {
    let mut poll = [libc::pollfd { fd: socket, events: libc::POLLOUT, revents: 0 }];
    let limit = [5u64, 0];
    raw::call(libc::SYS_ppoll, &[raw::out(&mut poll), 1, raw::at(&limit), 0, 8]).unwrap();
}

fn one_after_the_other(_: &Args) {
    let answered = (0..20).filter(|_| {
        let mut stream = TcpStream::connect("127.53.53.53:53").unwrap();
        ask(&mut stream) == "no such name"
    });
    report("answered", answered.count());
}

fn at_once(_: &Args) {
    let threads: Vec<_> = (0..20)
        .map(|_| std::thread::spawn(|| ask(&mut TcpStream::connect("127.53.53.53:53").unwrap())))
        .collect();
    let answered = threads.into_iter().map(|thread| thread.join().unwrap());
    report("answered", answered.filter(|answer| *answer == "no such name").count());
}
