//! The tour's servers: each answers one line over HTTP, and knows how often it was reached.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A server on loopback. Its thread ends with the process.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    reached: Arc<AtomicUsize>,
    own: usize,
}

impl Server {
    /// Starts a server that greets in this name.
    pub(super) fn start(name: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let reached = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reached);
        std::thread::Builder::new().spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = answer(stream, name);
            }
        })?;
        Ok(Server { address, reached, own: 0 })
    }

    /// How often others have reached it until now.
    ///
    /// It asks the server itself: connections are taken in the order in which they came, so whoever came earlier
    /// has been counted.
    pub(super) fn reached(&mut self) -> io::Result<usize> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        self.own += 1;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(self.reached.load(Ordering::SeqCst) - self.own)
    }
}

fn answer(mut stream: TcpStream, name: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") && request.len() < LONGEST {
        match stream.read(&mut part)? {
            0 => break,
            length => request.extend_from_slice(&part[..length]),
        }
    }
    let body = format!("hello from {name}\n");
    let length = body.len();
    write!(
        stream,
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_counts_the_connections_of_others_only() {
        let mut server = Server::start("here").unwrap();
        assert_eq!(server.reached().unwrap(), 0);
        drop(TcpStream::connect(server.address).unwrap());
        assert_eq!(server.reached().unwrap(), 1);
        assert_eq!(server.reached().unwrap(), 1);
    }
}
