//! Connections to where programs wanted to go.

use std::collections::HashMap;
use std::error::Error;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore, version};
use sandlock_policy::HttpName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::UpstreamProxy;
use crate::limits::{
    MOST_BUFFER, MOST_HEAD, MOST_LOCAL_RESETS, MOST_PENDING_RESETS, MOST_TO_SEND, Patience, UPSTREAM_WINDOWS,
};
use crate::origin::Origin;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("no connection to {0}: {1}")]
    Connect(std::net::SocketAddr, std::io::Error),
    #[error("no connection to {0} in time")]
    TimeOut(std::net::SocketAddr),
    #[error("no TLS with {0}: {1}")]
    Tls(String, std::io::Error),
    #[error("{0} does not speak HTTP/2")]
    Protocol(String),
    #[error("{}", words(.0))]
    Http(hyper::Error),
}

impl Failure {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Failure::TimeOut(_) => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

/// With what it is because of, which alone says much.
fn words(error: &hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// How a connection is spoken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Spoken {
    Http1,
    Http2,
}

/// What may be spoken on a connection with TLS; nothing is said about it when it is neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Protocols {
    http1: bool,
    http2: bool,
}

impl Protocols {
    /// Those of what a client offers that are known here.
    pub(crate) fn offered(names: &[Vec<u8>]) -> Protocols {
        let offers = |name: &[u8]| names.iter().any(|own| own == name);
        Protocols { http1: offers(b"http/1.1"), http2: offers(b"h2") }
    }

    pub(crate) fn only(spoken: Spoken) -> Protocols {
        Protocols { http1: spoken == Spoken::Http1, http2: spoken == Spoken::Http2 }
    }

    /// The one that is preferred comes first.
    pub(crate) fn names(self) -> Vec<Vec<u8>> {
        let names = [(self.http2, &b"h2"[..]), (self.http1, b"http/1.1")];
        names.into_iter().filter(|(is, _)| *is).map(|(_, name)| name.to_vec()).collect()
    }
}

/// How connections are made.
pub(crate) struct Upstreams {
    patience: Patience,
    provider: Arc<CryptoProvider>,
    /// Through what they are made.
    proxy: Option<UpstreamProxy>,
    /// Whom upstreams may prove themselves by.
    roots: Arc<RootCertStore>,
    /// What TLS to upstreams is made with.
    configs: Mutex<HashMap<Protocols, Arc<ClientConfig>>>,
}

impl Upstreams {
    pub(crate) fn new(
        patience: Patience,
        provider: Arc<CryptoProvider>,
        proxy: Option<UpstreamProxy>,
        roots: RootCertStore,
    ) -> Upstreams {
        Upstreams { patience, provider, proxy, roots: Arc::new(roots), configs: Mutex::default() }
    }

    /// A connection on which requests can be sent, and what is spoken on it: in the clear the one of the protocols.
    pub(crate) async fn connect(
        &self,
        origin: &Origin,
        protocols: Protocols,
    ) -> Result<(Sender, Spoken), Failure> {
        match timeout(self.patience.connect, self.connect_patiently(origin, protocols)).await {
            Ok(connected) => connected,
            Err(_) => Err(Failure::TimeOut(origin.to)),
        }
    }

    /// A connection as it is.
    pub(crate) async fn reach_in_time(
        &self,
        origin: &Origin,
        host: Option<&HttpName>,
    ) -> Result<TcpStream, Failure> {
        match timeout(self.patience.connect, self.reach(origin, host)).await {
            Ok(reached) => reached.map_err(|error| Failure::Connect(origin.to, error)),
            Err(_) => Err(Failure::TimeOut(origin.to)),
        }
    }

    async fn connect_patiently(
        &self,
        origin: &Origin,
        protocols: Protocols,
    ) -> Result<(Sender, Spoken), Failure> {
        let stream = self.reach(origin, origin.tls.as_ref()).await;
        let stream = stream.map_err(|error| Failure::Connect(origin.to, error))?;
        let Some(host) = &origin.tls else {
            let spoken = if protocols.http2 { Spoken::Http2 } else { Spoken::Http1 };
            return Ok((Sender::on(stream, spoken).await?, spoken));
        };
        let failed = |error| Failure::Tls(host.to_string(), error);
        let name = server_name(host).map_err(|error| failed(std::io::Error::other(error)))?;
        let config = self.config(protocols).map_err(|error| failed(std::io::Error::other(error)))?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(failed)?;
        let spoken = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Spoken::Http2,
            _ if protocols == Protocols::only(Spoken::Http2) => {
                return Err(Failure::Protocol(host.to_string()));
            }
            _ => Spoken::Http1,
        };
        Ok((Sender::on(stream, spoken).await?, spoken))
    }

    fn config(&self, protocols: Protocols) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(&protocols) {
            return Ok(Arc::clone(config));
        }
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
        let mut config = builder.with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth();
        config.alpn_protocols = protocols.names();
        let config = Arc::new(config);
        configs.insert(protocols, Arc::clone(&config));
        Ok(config)
    }

    /// A connection to the very address that the program wanted.
    async fn reach(&self, origin: &Origin, host: Option<&HttpName>) -> std::io::Result<TcpStream> {
        if let Some(proxy) = self.proxy.as_ref().filter(|_| !origin.to.ip().is_loopback()) {
            return proxy.connect(origin.to, host).await;
        }
        let stream = TcpStream::connect(origin.to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Sends requests on one connection.
#[derive(Debug)]
pub(crate) enum Sender {
    Http1(http1::SendRequest<Incoming>),
    Http2(http2::SendRequest<Incoming>),
}

impl Sender {
    async fn on<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        stream: S,
        spoken: Spoken,
    ) -> Result<Sender, Failure> {
        let io = TokioIo::new(stream);
        match spoken {
            Spoken::Http1 => {
                let mut builder = http1::Builder::new();
                let (sender, connection) =
                    builder.max_buf_size(MOST_BUFFER).handshake(io).await.map_err(Failure::Http)?;
                tokio::spawn(connection.with_upgrades());
                Ok(Sender::Http1(sender))
            }
            Spoken::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .initial_stream_window_size(UPSTREAM_WINDOWS.0)
                    .initial_connection_window_size(UPSTREAM_WINDOWS.1)
                    .max_header_list_size(MOST_HEAD as u32)
                    .max_send_buf_size(MOST_TO_SEND)
                    .max_pending_accept_reset_streams(MOST_PENDING_RESETS)
                    .max_local_error_reset_streams(MOST_LOCAL_RESETS);
                let (sender, connection) = builder.handshake(io).await.map_err(Failure::Http)?;
                tokio::spawn(connection);
                Ok(Sender::Http2(sender))
            }
        }
    }

    /// Another one on the same connection, where that is possible.
    pub(crate) fn another(&self) -> Option<Sender> {
        match self {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(Sender::Http2(sender.clone())),
        }
    }

    pub(crate) async fn is_ready(&mut self) -> bool {
        match self {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// The answer; or the failure, with the request if nothing of it was sent.
    pub(crate) async fn send(
        &mut self,
        request: Request<Incoming>,
    ) -> Result<Response<Incoming>, (Failure, Option<Box<Request<Incoming>>>)> {
        let sent = match self {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut error: TrySendError<Request<Incoming>>| {
            let unsent = error.take_message().map(Box::new);
            (Failure::Http(error.into_error()), unsent)
        })
    }
}

fn server_name(host: &HttpName) -> Result<ServerName<'static>, InvalidDnsNameError> {
    match host {
        HttpName::Name(name) => ServerName::try_from(name.clone()),
        HttpName::Address(address) => Ok(ServerName::from(IpAddr::clone(address))),
    }
}
