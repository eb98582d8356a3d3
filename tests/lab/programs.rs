//! Programs that many tests run: an honest connection, an honest datagram, an honest unix socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::{Args, Errno, Program, report};

pub(crate) const ALL: &[Program] =
    &[("tcp", tcp), ("udp", udp), ("unix", unix), ("lab-outsider", crate::lab::outsider)];

/// `tcp ADDRESS...`: connects, says `tcp`, reports `connect`, and `heard` (the server's line). With several
/// addresses, each key begins with its address.
fn tcp(args: &Args) {
    for index in 0..args.count() {
        let address: SocketAddr = args.get(index);
        let key = |name| if args.count() == 1 { String::from(name) } else { format!("{address} {name}") };
        match TcpStream::connect(address) {
            Ok(stream) => {
                report(key("connect"), "ok");
                report(key("heard"), converse(stream, "tcp"));
            }
            Err(error) => report(key("connect"), Errno::from(&error)),
        }
    }
}

/// `unix PATH`: as `tcp`, on a unix socket.
fn unix(args: &Args) {
    match UnixStream::connect(args.path(0)) {
        Ok(stream) => {
            report("connect", "ok");
            report("heard", converse(stream, "unix"));
        }
        Err(error) => report("connect", Errno::from(&error)),
    }
}

/// `udp ADDRESS`: sends `udp` there, reports `socket`, `send`, and `heard` (an answer, within a second).
fn udp(args: &Args) {
    let address: SocketAddr = args.get(0);
    let local = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = match UdpSocket::bind(local) {
        Ok(socket) => socket,
        Err(error) => return report("socket", Errno::from(&error)),
    };
    report("socket", "ok");
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    match socket.send_to(b"udp", address) {
        Ok(_) => report("send", "ok"),
        Err(error) => return report("send", Errno::from(&error)),
    }
    let mut buffer = [0; 64];
    if let Ok(count) = socket.recv(&mut buffer) {
        report("heard", String::from_utf8_lossy(&buffer[..count]));
    }
}

fn converse(mut stream: impl Read + Write, word: &str) -> String {
    let mut heard = [0; 64];
    let count = stream.read(&mut heard).unwrap_or(0);
    let _ = stream.write_all(word.as_bytes());
    String::from_utf8_lossy(&heard[..count]).trim_end().to_owned()
}
