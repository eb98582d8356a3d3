//! The body of an answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::activity::UnderWay;

/// The body of an answer: streamed from the upstream, or a few words of our own.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// The request is under way until it ends.
    Streamed(Incoming, #[allow(dead_code)] UnderWay),
    Own(Option<Bytes>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            AnswerBody::Streamed(body, _) => Pin::new(body).poll_frame(context),
            AnswerBody::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Streamed(body, _) => body.is_end_stream(),
            AnswerBody::Own(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Streamed(body, _) => body.size_hint(),
            AnswerBody::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}
