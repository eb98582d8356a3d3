//! A stream with what was read of it before.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};

use crate::read_by::{ReadBy, Reading};

/// A stream whose first bytes were read already, and come again.
pub(crate) type Prefixed<S> = ReadBy<First, S>;

/// What was read already.
#[derive(Debug)]
pub(crate) struct First(Bytes);

impl<S> Prefixed<S> {
    pub(crate) fn new(first: Bytes, stream: S) -> Prefixed<S> {
        ReadBy { reading: First(first), stream }
    }
}

impl<S: AsyncRead + Unpin> Reading<S> for First {
    fn poll_read(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let First(first) = self;
        if first.is_empty() {
            return Pin::new(stream).poll_read(context, buffer);
        }
        let count = first.len().min(buffer.remaining());
        buffer.put_slice(&first[..count]);
        first.advance(count);
        Poll::Ready(Ok(()))
    }
}
