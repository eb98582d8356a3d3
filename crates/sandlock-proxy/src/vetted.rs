//! A connection of which only vetted requests are read.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use sandlock_policy::Malformed;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::activity::Activity;
use crate::read_by::{ReadBy, Reading};
use crate::vetter::Vetter;

/// What the reader of a connection and those who answer its requests share.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    vetter: Vetter,
    /// Who reads, and waits for an answer.
    reader: Option<Waker>,
}

impl Gate {
    /// How the request for an upgrade was answered, behind which nothing is read.
    pub(crate) fn answered(&self, upgraded: bool) {
        let mut inner = self.lock();
        inner.vetter.answered(upgraded);
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }

    /// What was wrong with the last request.
    pub(crate) fn malformed(&self) -> Option<Malformed> {
        self.lock().vetter.malformed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection of which only vetted requests are read.
pub(crate) type Vetted<S> = ReadBy<Vetting, S>;

/// How one is read.
#[derive(Debug)]
pub(crate) struct Vetting {
    gate: Arc<Gate>,
    activity: Arc<Activity>,
}

impl<S> Vetted<S> {
    /// With what was read of it before.
    pub(crate) fn new(stream: S, before: &[u8], activity: Arc<Activity>) -> (Vetted<S>, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        if let Some(room) = gate.lock().vetter.room() {
            room.extend_from_slice(before);
        }
        (ReadBy { reading: Vetting { gate: Arc::clone(&gate), activity }, stream }, gate)
    }
}

impl<S: AsyncRead + Unpin> Reading<S> for Vetting {
    fn poll_read(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.gate.lock();
        loop {
            match inner.vetter.vetted() {
                Ok([]) => {}
                Ok(vetted) => {
                    let count = vetted.len().min(buffer.remaining());
                    buffer.put_slice(&vetted[..count]);
                    inner.vetter.took(count);
                    return Poll::Ready(Ok(()));
                }
                Err(malformed) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, malformed)));
                }
            }
            self.activity.in_head(inner.vetter.is_in_head());
            if inner.vetter.is_held() {
                inner.reader = Some(context.waker().clone());
            }
            // After a malformed request this is not an end, which would be taken for that of its program: it is answered.
            let Some(room) = inner.vetter.room() else {
                return Poll::Pending;
            };
            let reading = pin!(stream.read_buf(room));
            if ready!(reading.poll(context))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
