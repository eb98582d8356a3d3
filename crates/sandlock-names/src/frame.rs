//! Messages over TCP: each after its length in two bytes (RFC 1035, 4.2.2).

use std::io::{self, ErrorKind};

use tokio::net::TcpStream;

/// What a message can be at most, with its length.
const LARGEST: usize = 2 + 65535;
const PIECE: usize = 4096;

/// What has come over a connection and was not taken yet: never more than one message and what came with it.
#[derive(Default)]
pub(crate) struct Frames {
    buffer: Vec<u8>,
    taken: usize,
}

impl Frames {
    /// The next message; `None` when the other end has closed.
    ///
    /// # Errors
    /// The kernel's; `UnexpectedEof` when the connection ends within a message.
    pub(crate) async fn next(&mut self, stream: &TcpStream) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            let mut piece = [0; PIECE];
            // Room is left, since a message that fills the buffer is whole.
            let room = PIECE.min(LARGEST - self.buffer.len());
            match stream.try_read(&mut piece[..room]) {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => stream.readable().await?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let rest = &self.buffer[self.taken..];
        let message = rest
            .split_first_chunk()
            .and_then(|(length, rest)| rest.get(..usize::from(u16::from_be_bytes(*length))));
        match message {
            Some(message) => {
                self.taken += 2 + message.len();
                Some(message.to_vec())
            }
            None => {
                self.buffer.drain(..self.taken);
                self.taken = 0;
                None
            }
        }
    }
}

/// Sends a message, waiting for room.
///
/// # Errors
/// The kernel's; `InvalidInput` when it is too long for one.
pub(crate) async fn send(stream: &TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    let whole = [&length.to_be_bytes()[..], message].concat();
    let mut rest = &whole[..];
    while !rest.is_empty() {
        match stream.try_write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bytes: &[u8]) -> Frames {
        Frames { buffer: bytes.to_vec(), taken: 0 }
    }

    #[test]
    fn messages_are_taken_one_by_one_and_a_rest_is_kept() {
        let mut frames = frames(&[0, 1, 7, 0, 0, 0, 2, 8, 9, 0, 3, 1]);
        assert_eq!(frames.take(), Some(vec![7]));
        assert_eq!(frames.take(), Some(vec![]));
        assert_eq!(frames.take(), Some(vec![8, 9]));
        assert_eq!((frames.take(), &frames.buffer[..]), (None, &[0, 3, 1][..]));
    }

    #[test]
    fn the_longest_message_fits_and_nothing_besides() {
        let mut whole = frames(&[&[0xff, 0xff][..], &[1; 65535]].concat());
        assert_eq!(whole.buffer.len(), LARGEST);
        assert_eq!(whole.take().map(|message| message.len()), Some(65535));
        let mut short = frames(&[&[0xff, 0xff][..], &[1; 65534]].concat());
        assert!(short.take().is_none() && short.buffer.len() < LARGEST);
    }
}
