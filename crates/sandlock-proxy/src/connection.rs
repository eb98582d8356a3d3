//! A connection of a program, from its first bytes on. They say what it speaks; its port says nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sandlock_service::Place;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::activity::Activity;
use crate::exchange::Exchanges;
use crate::origin::Origin;
use crate::prefixed::Prefixed;
use crate::run::Run;
use crate::upstream::{Sender, Spoken};
use crate::vetted::Vetted;
use crate::{serve, tls};

/// What a connection begins with, if it is HTTP/2 (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a TLS handshake begins with.
const HANDSHAKE: u8 = 22;

/// Serves an announced connection until its end.
pub(crate) async fn serve(run: Arc<Run>, mut stream: TcpStream, to: SocketAddr, place: Place) {
    let _ = stream.set_nodelay(true);
    let origin = Origin::clear(to);
    let mut first = BytesMut::with_capacity(4096);
    match timeout(run.patience.idle, stream.read_buf(&mut first)).await {
        Ok(Ok(1..)) => {}
        _ => return,
    }
    if first.first() == Some(&HANDSHAKE) {
        return tls::serve(run, stream, first, origin, place).await;
    }
    let whole = timeout(run.patience.head, async {
        while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
            if stream.read_buf(&mut first).await.ok().filter(|count| *count > 0).is_none() {
                return false;
            }
        }
        true
    });
    if whole.await != Ok(true) {
        return;
    }
    let spoken = if first.starts_with(PREFACE) { Spoken::Http2 } else { Spoken::Http1 };
    talk(run, stream, first.freeze(), origin, spoken, None, place).await;
}

/// Answers the requests of a stream whose other end is known.
pub(crate) async fn talk<S>(
    run: Arc<Run>,
    stream: S,
    first: Bytes,
    origin: Origin,
    spoken: Spoken,
    sender: Option<Sender>,
    place: Place,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (activity, place) = (Activity::begin(), Arc::new(place));
    let mut exchanges =
        Exchanges { run, origin, spoken, sender: Mutex::new(sender), activity, gate: None, place };
    match spoken {
        Spoken::Http1 => {
            let (vetted, gate) = Vetted::new(stream, &first, Arc::clone(&exchanges.activity));
            exchanges.gate = Some(gate);
            serve::http1(vetted, Arc::new(exchanges)).await;
        }
        Spoken::Http2 => serve::http2(Prefixed::new(first, stream), Arc::new(exchanges)).await,
    }
}
