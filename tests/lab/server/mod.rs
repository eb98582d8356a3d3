//! Servers on loopback that say what *they* saw: a sandbox is judged at the receiving side.

mod datagram;
mod names;
mod stream;
mod thread;
mod web;

pub use datagram::UdpServer;
pub use names::{Asked, NameServer, Zone};
pub use stream::{TcpServer, UnixServer};
pub use web::WebServer;

/// What came to a server, in order of arrival: one connection with all its bytes, or one datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Where it came from; nothing for a unix socket.
    pub from: Option<std::net::SocketAddr>,
    /// What came.
    pub bytes: Vec<u8>,
}

impl Seen {
    /// What came, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// The line that every server sends.
pub(crate) const GREETING: &[u8] = b"hello\n";
