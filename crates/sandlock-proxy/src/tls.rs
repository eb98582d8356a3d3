//! A connection of a program that speaks TLS.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sandlock_policy::{Denied, HttpName, Malformed};
use sandlock_service::Place;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::Happened;
use crate::certificates::Certificates;
use crate::client_hello::{self, ClientHello};
use crate::connection::talk;
use crate::judge::{Known, judge_name, known};
use crate::origin::Origin;
use crate::prefixed::Prefixed;
use crate::run::Run;
use crate::upstream::{Protocols, Spoken};

/// Why a handshake ends, in the words of TLS (RFC 8446, 6.2).
#[derive(Clone, Copy, Debug)]
enum Alert {
    Access = 49,
    Internal = 80,
    Name = 112,
    Protocol = 120,
}

/// Serves a connection whose first bytes are of a handshake.
pub(crate) async fn serve(
    run: Arc<Run>,
    mut stream: TcpStream,
    mut first: BytesMut,
    origin: Origin,
    place: Place,
) {
    let hello = match timeout(run.patience.head, read_hello(&mut stream, &mut first)).await {
        Ok(Ok(Some(hello))) => hello,
        Ok(Err(why)) => {
            let destination = origin.destination();
            run.tell_refused(Denied::HttpMalformed { destination, why }).await;
            return refuse(stream, Alert::Access).await;
        }
        Ok(Ok(None)) | Err(_) => return,
    };
    let host = hello.name.clone().unwrap_or_else(|| origin.to.ip().into());
    if known(&*run.names, &host, &origin) == Known::Other {
        let (destination, why) = (origin.destination(), Malformed::HostDisagrees);
        run.tell_refused(Denied::HttpMalformed { destination, why }).await;
        return refuse(stream, Alert::Name).await;
    }
    let looked_into =
        run.certificates.as_ref().filter(|_| !run.passthrough.iter().any(|own| own.matches(&host)));
    match looked_into.cloned() {
        Some(certificates) => {
            open(run, certificates, stream, first.freeze(), hello, origin, host, place).await
        }
        None => pass(run, stream, first.freeze(), &hello, origin, &host).await,
    }
}

async fn read_hello(stream: &mut TcpStream, first: &mut BytesMut) -> Result<Option<ClientHello>, Malformed> {
    loop {
        if let Some(hello) = client_hello::read(first)? {
            return Ok(Some(hello));
        }
        if !matches!(stream.read_buf(first).await, Ok(1..)) {
            return Ok(None);
        }
    }
}

/// Not looked into: the name decides. The client's very bytes go to where it wanted.
async fn pass(
    run: Arc<Run>,
    mut stream: TcpStream,
    first: Bytes,
    hello: &ClientHello,
    origin: Origin,
    host: &HttpName,
) {
    // A name that is said aloud while another is meant in secret is nothing to go by.
    let checked = match hello.encrypted {
        true => Err(Denied::TlsName { name: String::new(), port: origin.to.port(), forbidden: false }),
        false => judge_name(&run.rules, &*run.names, &origin, host),
    };
    if let Err(denied) = checked {
        run.tell_refused(denied).await;
        return refuse(stream, Alert::Access).await;
    }
    match run.upstreams.reach_in_time(&origin, None).await {
        Ok(mut upstream) => {
            if upstream.write_all(&first).await.is_ok() {
                let _ = copy_bidirectional(&mut stream, &mut upstream).await;
            }
        }
        Err(failure) => {
            run.tell(Happened::UpstreamFailed { host: host.to_string(), why: failure.to_string() }).await;
            refuse(stream, Alert::Internal).await;
        }
    }
}

/// Looked into: TLS ends here, and begins again.
#[allow(clippy::too_many_arguments)]
async fn open(
    run: Arc<Run>,
    certificates: Arc<Certificates>,
    stream: TcpStream,
    first: Bytes,
    hello: ClientHello,
    origin: Origin,
    host: HttpName,
    place: Place,
) {
    if !certificates.covers(&host) {
        let (name, port) = (host.to_string(), origin.to.port());
        run.tell_refused(Denied::TlsName { name, port, forbidden: false }).await;
        return refuse(stream, Alert::Access).await;
    }
    let offered = Protocols::offered(&hello.protocols);
    if !hello.protocols.is_empty() && offered == Protocols::default() {
        return refuse(stream, Alert::Protocol).await;
    }
    let is_known = known(&*run.names, &host, &origin) == Known::Same;
    let origin = Origin { tls: Some(host.clone()), ..origin };
    // What the program speaks is what the upstream chooses. A name of which nobody knows anything is told to nobody before
    // a request is allowed.
    let ahead = if is_known { run.upstreams.connect(&origin, offered).await.ok() } else { None };
    let chosen = match &ahead {
        Some((_, spoken)) if offered != Protocols::default() => Protocols::only(*spoken),
        _ => offered,
    };
    let Ok(config) = certificates.config(&host, chosen) else {
        return refuse(stream, Alert::Internal).await;
    };
    let accepting = TlsAcceptor::from(config).accept(Prefixed::new(first, stream));
    let Ok(Ok(stream)) = timeout(run.patience.head, accepting).await else {
        return;
    };
    let spoken = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Spoken::Http2,
        _ => Spoken::Http1,
    };
    let sender = ahead.and_then(|(sender, own)| (own == spoken).then_some(sender));
    talk(run, stream, Bytes::new(), origin, spoken, sender, place).await;
}

/// Ends a handshake with a word.
async fn refuse(mut stream: TcpStream, alert: Alert) {
    let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, alert as u8]).await;
    let _ = stream.shutdown().await;
}
