//! Where a chunked body ends (RFC 9112, 7.1). Pure. It is stricter than the library that decodes the body, so that the two
//! never disagree about where the next head begins.

use sandlock_policy::Malformed;

use crate::head::trailer;
use crate::limits::{MOST_CHUNK_LINE, MOST_FIELDS, MOST_HEAD};

/// How far a chunked body was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Chunks {
    /// Before the line of a chunk.
    #[default]
    Size,
    /// In a chunk, of which so many bytes are to come.
    Data(u64),
    /// Before the end of line after a chunk.
    DataEnd,
    /// In the trailers, so many lines and bytes of which have come.
    Trailers(usize, usize),
    /// Behind all.
    Ended,
}

impl Chunks {
    /// How many of `bytes` are good, as far as it goes without more of them.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            let (step, next) = match *self {
                Chunks::Ended => return Ok(taken),
                Chunks::Size => match line(rest, MOST_CHUNK_LINE)? {
                    Some(line) => (line.len() + 2, size(line)?),
                    None => return Ok(taken),
                },
                Chunks::Data(_) if rest.is_empty() => return Ok(taken),
                Chunks::Data(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let left = left - here as u64;
                    (here, if left == 0 { Chunks::DataEnd } else { Chunks::Data(left) })
                }
                Chunks::DataEnd => match rest {
                    [b'\r', b'\n', ..] => (2, Chunks::Size),
                    [] | [b'\r'] => return Ok(taken),
                    _ => return Err(Malformed::BadBody),
                },
                Chunks::Trailers(count, length) => match line(rest, MOST_HEAD - length)? {
                    Some([]) => (2, Chunks::Ended),
                    Some(line) => {
                        trailer(line)?;
                        if count == MOST_FIELDS {
                            return Err(Malformed::TooLarge);
                        }
                        (line.len() + 2, Chunks::Trailers(count + 1, length + line.len() + 2))
                    }
                    None => return Ok(taken),
                },
            };
            taken += step;
            *self = next;
        }
    }
}

/// The first line, if it has come whole.
fn line(bytes: &[u8], most: usize) -> Result<Option<&[u8]>, Malformed> {
    let within = &bytes[..bytes.len().min(most)];
    match within.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(end) if bytes[end] == b'\n' => Err(Malformed::BadHeader),
        Some(end) => match bytes.get(end + 1) {
            Some(b'\n') => Ok(Some(&bytes[..end])),
            Some(_) => Err(Malformed::BadHeader),
            None => Ok(None),
        },
        None if bytes.len() >= most => Err(Malformed::TooLarge),
        None => Ok(None),
    }
}

/// Hexadecimal digits alone, or with extensions behind a semicolon, which nobody forwards.
fn size(line: &[u8]) -> Result<Chunks, Malformed> {
    let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let (digits, extension) = line.split_at(end);
    let good = (1..=15).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_hexdigit)
        && extension.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t'));
    let digits = if good { std::str::from_utf8(digits).ok() } else { None };
    let size = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(Malformed::BadBody)?;
    Ok(if size == 0 { Chunks::Trailers(0, 0) } else { Chunks::Data(size) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<(usize, Chunks), Malformed> {
        let mut chunks = Chunks::default();
        chunks.take(bytes).map(|taken| (taken, chunks))
    }

    #[test]
    fn a_body_ends_where_it_says() {
        for body in ["0\r\n\r\n", "5\r\nabcde\r\n0\r\n\r\n", "A;x=\"y\"\r\n0123456789\r\n00\r\nX: y\r\n\r\n"]
        {
            let with_more = format!("{body}GET");
            assert_eq!(all(with_more.as_bytes()), Ok((body.len(), Chunks::Ended)));
            // Byte by byte it is the same.
            let (mut chunks, mut pending) = (Chunks::default(), Vec::new());
            for byte in body.bytes() {
                assert_ne!(chunks, Chunks::Ended);
                pending.push(byte);
                let taken = chunks.take(&pending).unwrap();
                pending.drain(..taken);
            }
            assert_eq!((chunks, pending.len()), (Chunks::Ended, 0));
        }
    }

    #[test]
    fn what_two_programs_read_differently_is_refused() {
        for body in [
            "\r\n",
            "5\n",
            "5\rx",
            "+5\r\n",
            "0x5\r\n",
            " 5\r\n",
            "5 \r\n",
            "5,\r\n",
            "1234567890123456\r\n",
            "1\r\nab",
            "1\r\na\n",
            "5;a\nb\r\n",
            "0\r\nContent-Length: 3\r\n\r\n",
            "0\r\nTransfer_Encoding: chunked\r\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nX: y\n\r\n",
        ] {
            assert!(all(body.as_bytes()).is_err(), "{body:?}");
        }
        assert!(all(&[b'1'; MOST_CHUNK_LINE]).is_err());
        assert!(all(format!("0\r\n{}", "X: y\r\n".repeat(MOST_FIELDS + 1)).as_bytes()).is_err());
    }
}
