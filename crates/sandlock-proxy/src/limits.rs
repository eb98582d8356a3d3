//! Every limit of the proxy, in one place. The design note (`docs/design/http-proxy.md`) says what each is for.

use std::time::Duration;

/// How many connections of the run are served at once; the next ones are closed.
pub(crate) const MOST_CONNECTIONS: usize = 256;
/// How many bytes the head of a request may have, with the line of the request; and its trailers.
pub(crate) const MOST_HEAD: usize = 64 * 1024;
/// How many fields a head may have, and the trailers.
pub(crate) const MOST_FIELDS: usize = 100;
/// How many bytes the line before a chunk may have.
pub(crate) const MOST_CHUNK_LINE: usize = 256;
/// How many bytes are read ahead of what was looked at, for HTTP/1.1.
pub(crate) const READ_AHEAD: usize = 64 * 1024;
/// How many bytes hyper holds of one direction of an HTTP/1.1 connection.
pub(crate) const MOST_BUFFER: usize = 128 * 1024;
/// How many requests of one HTTP/2 connection are under way at once.
pub(crate) const MOST_STREAMS: u32 = 100;
/// How many streams a peer may have reset before they were seen (CVE-2023-44487).
pub(crate) const MOST_PENDING_RESETS: usize = 20;
/// How many streams are reset for the peer's mistakes before its connection ends.
pub(crate) const MOST_LOCAL_RESETS: usize = 128;
/// How many requests of a run are under way at once; the next ones are answered 503.
pub(crate) const MOST_REQUESTS: usize = 1024;
/// How many bytes may come of one HTTP/2 stream of a program before somebody takes them, and of a whole connection.
pub(crate) const PROGRAM_WINDOWS: (u32, u32) = (256 * 1024, 512 * 1024);
/// The same of an upstream, which may be far away: a window is what can come in one round trip.
pub(crate) const UPSTREAM_WINDOWS: (u32, u32) = (1024 * 1024, 2 * 1024 * 1024);
/// How many bytes wait to be sent of one HTTP/2 stream.
pub(crate) const MOST_TO_SEND: usize = 64 * 1024;
/// How many certificates are kept, each with what it is served with.
pub(crate) const MOST_CERTIFICATES: usize = 1024;
/// How many bytes a ClientHello may have, with its records.
pub(crate) const MOST_HELLO: usize = 32 * 1024;
/// How many bytes a secret may have.
pub(crate) const MOST_SECRET: u64 = 64 * 1024;
/// How many bytes a proxy on the way may say before it connects.
pub(crate) const MOST_PROXY_HEAD: usize = 16 * 1024;
/// How many refusals are told at once.
pub(crate) const TOLD_AT_ONCE: u32 = 100;
/// How often one more is told; a refused request waits for it.
pub(crate) const TOLD_EVERY: Duration = Duration::from_millis(5);

/// How long is waited for somebody who does not do his part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the rest of a head, from its first byte on; for a whole TLS handshake.
    pub(crate) head: Duration,
    /// For the next request of a connection that has none under way.
    pub(crate) idle: Duration,
    /// For a connection to the upstream, with TLS.
    pub(crate) connect: Duration,
}

pub(crate) const PATIENCE: Patience = Patience {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(60),
    connect: Duration::from_secs(30),
};
