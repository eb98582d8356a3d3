//! Ports for servers that are programs of the machine and want to be told theirs.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// A TCP and UDP port of 127.0.0.1 that nobody had a moment ago, and that the kernel gives to nobody who asks for any
/// (ip_local_port_range, from 32768 on). No two callers get the same.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Elsewhere for every process that runs tests at the same time.
    let first = std::process::id().wrapping_mul(7919);
    loop {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = (10_000 + first.wrapping_add(next) % 20_000) as u16;
        let tcp = std::net::TcpListener::bind(("127.0.0.1", port));
        if tcp.is_ok() && std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until somebody listens on this port of 127.0.0.1, without connecting: a server that serves once would be
/// used up.
///
/// # Panics
///
/// When that does not come in time.
pub fn wait_for_listener(port: u16) {
    let limit = Instant::now() + Duration::from_secs(10);
    // proc(5): the local address, the remote one, and the state, of which 0A is TCP_LISTEN.
    let wanted = format!(" 0100007F:{port:04X} 00000000:0000 0A ");
    while !std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap().contains(&wanted) {
        assert!(Instant::now() < limit, "nobody listens on port {port}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
