//! HTTP/2 by prior knowledge, as calls of gRPC use it: streams both ways, with trailers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test may fail loudly")]

mod lab;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lab::Lab;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A body whose frames somebody sends.
struct Frames(mpsc::Receiver<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

/// Answers each message with itself, and says in trailers how many there were.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: Request<Incoming>| async move {
                assert_eq!(request.headers().get("te").unwrap(), "trailers");
                assert!(!request.headers().contains_key("host"));
                let (sender, frames) = mpsc::channel(1);
                tokio::spawn(async move {
                    let (mut body, mut count) = (request.into_body(), 0);
                    while let Some(Ok(frame)) = body.frame().await {
                        if let Ok(data) = frame.into_data() {
                            count += i32::from(!data.is_empty());
                            sender.send(Frame::data(data)).await.unwrap();
                        }
                    }
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from(count));
                    sender.send(Frame::trailers(trailers)).await.unwrap();
                });
                Ok::<_, Infallible>(Response::new(Frames(frames)))
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn client(lab: &Lab, to: SocketAddr) -> hyper::client::conn::http2::SendRequest<Frames> {
    let stream = lab.connect(to);
    stream.set_nonblocking(true).unwrap();
    let io = TokioIo::new(TcpStream::from_std(stream).unwrap());
    let (sender, connection) =
        hyper::client::conn::http2::Builder::new(TokioExecutor::new()).handshake(io).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn call(url: &str, frames: mpsc::Receiver<Frame<Bytes>>) -> Request<Frames> {
    Request::builder().method("POST").uri(url).header("te", "trailers").body(Frames(frames)).unwrap()
}

#[tokio::test]
async fn messages_go_both_ways_while_a_call_lasts() {
    let to = echo().await;
    let lab = Lab::new(&[&format!("POST a.test:{}/pkg.Service/Echo", to.port())], &[]);
    let mut client = client(&lab, to).await;
    let url = format!("http://a.test:{}/pkg.Service/Echo", to.port());
    let (message, frames) = mpsc::channel(1);
    let mut answer = client.send_request(call(&url, frames)).await.unwrap();
    assert_eq!(answer.status(), 200);
    for text in ["one", "two", "three"] {
        message.send(Frame::data(Bytes::from(text))).await.unwrap();
        let frame = answer.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }
    drop(message);
    let trailers = answer.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "3");
}

#[tokio::test]
async fn each_stream_is_judged_by_itself() {
    let to = echo().await;
    let lab = Lab::new(&[&format!("POST a.test:{}/ok", to.port())], &[]);
    let mut client = client(&lab, to).await;
    for (url, status) in [
        ("http://a.test:PORT/ok", 200),
        ("http://a.test:PORT/no", 403),
        ("http://b.test:PORT/ok", 403),
        ("http://elsewhere.test:PORT/ok", 421),
        ("http://a.test:1/ok", 421),
        ("https://a.test:PORT/ok", 400),
        ("http://x@a.test:PORT/ok", 400),
        ("http://a.test:PORT/ok%2f", 400),
        ("http://a.test:PORT/x/../ok", 200),
    ] {
        let url = url.replace("PORT", &to.port().to_string());
        let (_, frames) = mpsc::channel(1);
        let answer = client.send_request(call(&url, frames)).await.unwrap();
        assert_eq!(answer.status(), status, "{url}");
    }
    let (_, frames) = mpsc::channel(1);
    let url = format!("http://a.test:{}/ok", to.port());
    let mut request = call(&url, frames);
    request.headers_mut().insert("host", HeaderValue::from_static("b.test"));
    assert_eq!(client.send_request(request).await.unwrap().status(), 400);
}

#[tokio::test]
async fn there_are_so_many_requests_and_no_more() {
    let to = echo().await;
    let lab = Lab::new(&[&format!("POST a.test:{}/ok", to.port())], &[]);
    let url = format!("http://a.test:{}/ok", to.port());
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..11 {
        let mut client = client(&lab, to).await;
        for _ in 0..95 {
            let (message, frames) = mpsc::channel(1);
            let answer = client.send_request(call(&url, frames)).await.unwrap();
            match answer.status().as_u16() {
                200 => open.push((message, answer)),
                status => refused += usize::from(status == 503),
            }
        }
    }
    assert_eq!((open.len(), refused), (1024, 11 * 95 - 1024));
    open.clear();
    let mut client = client(&lab, to).await;
    let (_, frames) = mpsc::channel(1);
    let again = client.send_request(call(&url, frames)).await.unwrap();
    assert!(matches!(again.status().as_u16(), 200 | 503));
}
