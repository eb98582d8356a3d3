//! Serves the requests of one connection.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::exchange::Exchanges;
use crate::limits::{
    MOST_BUFFER, MOST_HEAD, MOST_LOCAL_RESETS, MOST_PENDING_RESETS, MOST_STREAMS, MOST_TO_SEND,
    PROGRAM_WINDOWS,
};
use crate::vetted::Vetted;

/// Answers requests of HTTP/1.1 until either side has enough.
pub(crate) async fn http1<S>(stream: Vetted<S>, exchanges: Arc<Exchanges>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (activity, patience) = (Arc::clone(&exchanges.activity), exchanges.run.patience);
    let service = service_fn(move |request: Request<Incoming>| {
        let exchanges = Arc::clone(&exchanges);
        async move { Ok::<_, Infallible>(exchanges.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_BUFFER).header_read_timeout(None).auto_date_header(false);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::select! {
        _ = connection => {}
        () = activity.watch(patience) => {}
    }
}

/// Answers requests of HTTP/2 until either side has enough.
pub(crate) async fn http2<S>(stream: S, exchanges: Arc<Exchanges>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (activity, patience) = (Arc::clone(&exchanges.activity), exchanges.run.patience);
    let service = service_fn(move |request: Request<Incoming>| {
        let exchanges = Arc::clone(&exchanges);
        async move { Ok::<_, Infallible>(exchanges.answer(request).await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEAD as u32)
        .initial_stream_window_size(PROGRAM_WINDOWS.0)
        .initial_connection_window_size(PROGRAM_WINDOWS.1)
        .max_send_buf_size(MOST_TO_SEND)
        .max_pending_accept_reset_streams(MOST_PENDING_RESETS)
        .max_local_error_reset_streams(MOST_LOCAL_RESETS)
        .auto_date_header(false);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = connection => {}
        () = activity.watch(patience) => {}
    }
}
