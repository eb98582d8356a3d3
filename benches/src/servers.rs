//! The servers that programs speak to: threads of the measuring process, on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

/// A server that closes each connection at once.
pub(crate) fn closing_server() -> Option<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").ok()?;
    let address = listener.local_addr().ok()?;
    std::thread::spawn(move || listener.incoming().for_each(drop));
    Some(address)
}

/// A server that echoes what it is sent.
pub(crate) fn tcp_server() -> Option<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").ok()?;
    let address = listener.local_addr().ok()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut buffer = [0; 65536];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Some(address)
}

/// Takes datagrams and does nothing with them.
pub(crate) fn udp_server() -> Option<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
    let address = socket.local_addr().ok()?;
    std::thread::spawn(move || while socket.recv(&mut [0; 2048]).is_ok() {});
    Some(address)
}

/// A listener whose queue is full, and what fills it: a connection to it hangs.
pub(crate) fn full_listener() -> Option<(SocketAddr, (TcpListener, Vec<TcpStream>))> {
    let listener = TcpListener::bind("127.0.0.1:0").ok()?;
    rustix::net::listen(&listener, 1).ok()?;
    let address = listener.local_addr().ok()?;
    let wait = std::time::Duration::from_millis(300);
    let filling = (0..16).map_while(|_| TcpStream::connect_timeout(&address, wait).ok()).collect();
    Some((address, (listener, filling)))
}

/// A server that accepts and never reads: what is sent to it fills up.
pub(crate) fn deaf_server() -> Option<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").ok()?;
    let address = listener.local_addr().ok()?;
    std::thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
    Some(address)
}
