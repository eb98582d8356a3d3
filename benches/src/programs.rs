//! The programs that are measured: each does one thing many times and prints the median of its rounds, in
//! nanoseconds an operation.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use rustix::net::{MMsgHdr, RecvFlags, SendAncillaryBuffer, SendFlags};

/// Runs the program that `words` name and prints its figure.
pub(crate) fn run(words: &[String]) -> ExitCode {
    let address = || words.get(1).and_then(|word| word.parse::<SocketAddr>().ok());
    if let [_, _, hangs_at, how] = words {
        let (Ok(hangs_at), how) = (hangs_at.parse(), how.clone()) else {
            return ExitCode::from(2);
        };
        std::thread::spawn(move || hang(hangs_at, &how));
        // It hangs when the first round is over, if not sooner.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let result = match (words.first().map(String::as_str), address()) {
        (Some("connect"), Some(to)) => connect(to),
        (Some("serve"), Some(at)) => serve(at),
        (Some("connect-to-own"), Some(at)) => connect_to_own(at),
        (Some("udp-sendto"), Some(to)) => sendto(to),
        (Some("udp-sendmsg"), Some(to)) => sendmsg(to),
        (Some("udp-sendmmsg"), Some(to)) => sendmmsg(to),
        (Some("udp-send-connected"), Some(to)) => send_connected(to),
        (Some("tcp-write"), Some(to)) => tcp(to, |stream| stream.write(&[0; 64]).map(|_| ())),
        (Some("tcp-sendmsg"), Some(to)) => tcp(to, |stream| tcp_sendmsg(stream, &[0; 64])),
        (Some("tcp-echo"), Some(to)) => tcp(to, |stream| {
            stream.write_all(&[1; 64])?;
            stream.read_exact(&mut [0; 64])
        }),
        (Some("open-close"), _) => rounds(2000, || File::open("/usr/bin/env").map(drop)),
        (Some("open-close-proc"), _) => rounds(1000, || File::open("/proc/self/stat").map(drop)),
        (Some("read-proc-net"), _) => rounds(50, || std::fs::read("/proc/net/tcp").map(drop)),
        // Not of the system's directories, where nothing has to be looked at.
        (Some("open-close-own"), _) => {
            std::env::current_exe().and_then(|own| rounds(2000, || File::open(&own).map(drop)))
        }
        (Some("embed"), _) => return crate::asked::embed(words),
        (Some("lookup"), _) => lookup(words.get(1).map_or("", String::as_str)),
        (Some("stat"), _) => rounds(5000, || std::fs::metadata("/usr/bin/env").map(drop)),
        (Some("getpid"), _) => rounds(50_000, || {
            // Not cached by the C library, and made without its wrapper.
            let _ = rustix::process::getppid();
            Ok(())
        }),
        (Some("fork-exec"), _) => {
            rounds(50, || Command::new("/bin/true").stdin(Stdio::null()).status().map(drop))
        }
        _ => return ExitCode::from(2),
    };
    match result {
        Ok(nanoseconds) => {
            let _ = writeln!(std::io::stdout(), "{nanoseconds}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{words:?}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The median over rounds of the time of one operation.
fn rounds(operations: u32, mut operation: impl FnMut() -> std::io::Result<()>) -> std::io::Result<f64> {
    let mut figures = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..operations {
            operation()?;
        }
        figures.push(started.elapsed().as_nanos() as f64 / f64::from(operations));
    }
    figures.sort_by(f64::total_cmp);
    Ok(figures[ROUNDS / 2])
}

fn connect(to: SocketAddr) -> std::io::Result<f64> {
    rounds(300, || TcpStream::connect(to).map(drop))
}

/// Nobody is there to be accepted: whoever is would have to be waited for, and `accept` is trapped for nobody.
fn serve(at: SocketAddr) -> std::io::Result<f64> {
    rounds(300, || {
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        match listener.accept() {
            Err(nobody) if nobody.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            somebody => somebody.map(drop),
        }
    })
}

fn connect_to_own(at: SocketAddr) -> std::io::Result<f64> {
    let listener = TcpListener::bind(at)?;
    std::thread::spawn(move || listener.incoming().for_each(drop));
    connect(at)
}

fn sendto(to: SocketAddr) -> std::io::Result<f64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    rounds(2000, || socket.send_to(&[0; 64], to).map(drop))
}

fn sendmsg(to: SocketAddr) -> std::io::Result<f64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    rounds(2000, || {
        let payload = [std::io::IoSlice::new(&[0; 64])];
        rustix::net::sendmsg_addr(
            &socket,
            &to,
            &payload,
            &mut SendAncillaryBuffer::default(),
            SendFlags::empty(),
        )?;
        Ok(())
    })
}

/// The time of one message of a batch.
fn sendmmsg(to: SocketAddr) -> std::io::Result<f64> {
    const BATCH: usize = 32;
    let to = to.into();
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let payload = [std::io::IoSlice::new(&[0; 64])];
    let mut labels: [SendAncillaryBuffer<'_, '_, '_>; BATCH] = Default::default();
    let mut messages: Vec<_> =
        labels.iter_mut().map(|label| MMsgHdr::new_with_addr(&to, &payload, label)).collect();
    let figure = rounds(200, || {
        let sent = rustix::net::sendmmsg(&socket, &mut messages, SendFlags::empty())?;
        if sent == BATCH { Ok(()) } else { Err(std::io::Error::other("a part of the batch")) }
    })?;
    Ok(figure / BATCH as f64)
}

/// Waits for ever in one call.
fn hang(at: SocketAddr, how: &str) {
    let Ok(stream) = TcpStream::connect(at) else { return };
    if how == "full-socket" {
        while tcp_sendmsg(&stream, &[0; 65536]).is_ok() {}
    }
}

fn lookup(name: &str) -> std::io::Result<f64> {
    rounds(50, || (name, 0).to_socket_addrs().map(drop))
}

fn send_connected(to: SocketAddr) -> std::io::Result<f64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(to)?;
    rounds(2000, || socket.send(&[0; 64]).map(drop))
}

fn tcp(
    to: SocketAddr,
    mut operation: impl FnMut(&mut TcpStream) -> std::io::Result<()>,
) -> std::io::Result<f64> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    let mut drain = [0; 65536];
    rounds(2000, || {
        operation(&mut stream)?;
        // Whatever the server said is taken away, so that nobody blocks.
        let _ = rustix::net::recv(&stream, &mut drain[..], RecvFlags::DONTWAIT);
        Ok(())
    })
}

fn tcp_sendmsg(stream: &TcpStream, payload: &[u8]) -> std::io::Result<()> {
    let payload = [std::io::IoSlice::new(payload)];
    rustix::net::sendmsg(stream, &payload, &mut SendAncillaryBuffer::default(), SendFlags::empty())?;
    Ok(())
}

const ROUNDS: usize = 9;
