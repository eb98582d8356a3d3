//! An upstream with TLS that speaks both HTTP/1.1 and HTTP/2, and clients of it.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Lab;

/// A server that answers with the head of each request, and the length of its body.
pub struct TlsUpstream {
    pub address: SocketAddr,
    pub came: Arc<Mutex<Vec<String>>>,
    /// Its authority, in PEM.
    pub roots: PathBuf,
    _directory: tempfile::TempDir,
}

impl TlsUpstream {
    /// To be called within a runtime.
    pub async fn start(names: &[&str], protocols: &[&str]) -> TlsUpstream {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let roots = directory.path().join("roots.pem");
        std::fs::write(&roots, authority.pem()).unwrap();

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config =
            config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], private).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let came: Arc<Mutex<Vec<String>>> = Arc::default();
        let all = Arc::clone(&came);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, all) = (acceptor.clone(), Arc::clone(&all));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, all).await;
                    }
                });
            }
        });
        TlsUpstream { address, came, roots, _directory: directory }
    }
}

async fn serve(stream: tokio_rustls::server::TlsStream<TcpStream>, all: Arc<Mutex<Vec<String>>>) {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: Request<Incoming>| {
        let all = Arc::clone(&all);
        async move {
            let (head, body) = request.into_parts();
            let length = body.collect().await.map_or(0, |body| body.to_bytes().len());
            let text = format!("{} {} {:?} {:?} {length}", head.method, head.uri, head.version, head.headers);
            all.lock().unwrap().push(text.clone());
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
        }
    });
    let io = TokioIo::new(stream);
    if is_h2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}

/// A program's connection with TLS, which trusts `roots`.
pub async fn connect(
    lab: &Lab,
    to: SocketAddr,
    name: &str,
    roots: &[u8],
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(roots).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(store).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = lab.connect(to);
    stream.set_nonblocking(true).unwrap();
    let stream = TcpStream::from_std(stream).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The status of an answer, and its body.
pub async fn ask<S>(stream: S, is_h2: bool, requests: &[(&str, &str, &str)]) -> Vec<(u16, String)>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let mut answers = Vec::new();
    if is_h2 {
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(io).await.unwrap();
        tokio::spawn(connection);
        for (method, url, body) in requests {
            let request =
                Request::builder().method(*method).uri(*url).body(Full::new(Bytes::from((*body).to_owned())));
            answers.push(read(sender.send_request(request.unwrap()).await).await);
        }
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        for (method, url, body) in requests {
            let uri: hyper::Uri = url.parse().unwrap();
            let request = Request::builder().method(*method).uri(uri.path_and_query().unwrap().as_str());
            let request = request.header("host", uri.authority().unwrap().as_str());
            sender.ready().await.unwrap();
            let answer =
                sender.send_request(request.body(Full::new(Bytes::from((*body).to_owned()))).unwrap()).await;
            answers.push(read(answer).await);
        }
    }
    answers
}

async fn read(answer: hyper::Result<Response<Incoming>>) -> (u16, String) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return (0, format!("{error:?}")),
    };
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}
