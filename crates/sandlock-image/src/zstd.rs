//! Zstandard, as layers have it: frames one after another, and some that hold no content between them, where tools keep an
//! index (`zstd:chunked`).

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The content of all frames.
pub(crate) struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
}

impl<R: BufRead> Frames<R> {
    /// Those of a source that ends with them.
    pub(crate) fn new(source: R) -> Self {
        Frames { source, decoder: FrameDecoder::new() }
    }

    /// Begins the next frame that has content, unless there is none.
    fn next(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = io::copy(&mut (&mut self.source).take(length.into()), &mut io::sink())?;
                    if skipped < length.into() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                begun => return begun.map(|()| true).map_err(broken),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !into.is_empty() && self.decoder.can_collect() == 0 {
            if !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(broken)?;
            } else if !self.next()? {
                return Ok(0);
            }
        }
        self.decoder.read(into)
    }
}

fn broken(error: FrameDecoderError) -> io::Error {
    io::Error::other(error.to_string())
}
