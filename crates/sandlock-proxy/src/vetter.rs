//! Follows the requests of an HTTP/1.1 connection, one head and one body after the other, and lets nothing through that
//! was not looked at. Pure: bytes in, bytes out.

use bytes::{Buf, BytesMut};
use sandlock_policy::Malformed;

use crate::chunks::Chunks;
use crate::head::{Framing, check_beginning, find_end, read};
use crate::limits::READ_AHEAD;

/// A method that no rule and no person uses: a request with it is answered with 400, whoever wrote it.
pub(crate) const MALFORMED: &str = "sandlock-malformed";
/// Stands in for a malformed request, so that its answer comes after the answers to what was before it.
const STAND_IN: &[u8] = b"sandlock-malformed / HTTP/1.1\r\nHost: malformed\r\nConnection: close\r\n\r\n";

#[derive(Debug, Default)]
pub(crate) struct Vetter {
    /// What came, and was not taken.
    pending: BytesMut,
    /// So many bytes of `pending` may be taken.
    ready: usize,
    /// So many bytes of a head were looked at.
    scanned: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a head, or in one.
    #[default]
    Head,
    Body(u64),
    Chunked(Chunks),
    /// Behind the head of a request for an upgrade: what comes depends on the answer.
    Held,
    /// After an upgrade: anything goes.
    Open,
    /// Nothing goes any more.
    Ended(Malformed),
}

impl Vetter {
    /// Where to put what comes; `None` while there is enough, and when nothing is read any more.
    pub(crate) fn room(&mut self) -> Option<&mut BytesMut> {
        match self.state {
            State::Ended(_) => None,
            _ if self.pending.len() >= READ_AHEAD => None,
            _ => {
                self.pending.reserve(READ_AHEAD - self.pending.len());
                Some(&mut self.pending)
            }
        }
    }

    /// What may be taken now. An error is a body that broke off.
    pub(crate) fn vetted(&mut self) -> Result<&[u8], Malformed> {
        while self.ready == 0 && !self.pending.is_empty() {
            if !self.step()? {
                break;
            }
        }
        Ok(&self.pending[..self.ready])
    }

    /// So many of the vetted bytes were taken.
    pub(crate) fn took(&mut self, count: usize) {
        self.pending.advance(count);
        self.ready -= count;
    }

    /// How the request for an upgrade was answered.
    pub(crate) fn answered(&mut self, upgraded: bool) {
        if self.state == State::Held {
            self.state = if upgraded { State::Open } else { State::Head };
        }
    }

    /// Whether it waits for that.
    pub(crate) fn is_held(&self) -> bool {
        self.state == State::Held
    }

    /// Whether part of a head has come.
    pub(crate) fn is_in_head(&self) -> bool {
        self.state == State::Head && self.ready == 0 && !self.pending.is_empty()
    }

    /// What was wrong.
    pub(crate) fn malformed(&self) -> Option<Malformed> {
        match self.state {
            State::Ended(malformed) => Some(malformed),
            _ => None,
        }
    }

    /// Looks at what is pending; whether that went any further.
    fn step(&mut self) -> Result<bool, Malformed> {
        match &mut self.state {
            State::Head => return Ok(self.head()),
            State::Body(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(self.pending.len());
                *left -= here as u64;
                self.ready = here;
                if *left == 0 {
                    self.state = State::Head;
                }
            }
            State::Chunked(chunks) => match chunks.take(&self.pending) {
                Ok(0) => return Ok(false),
                Ok(good) => {
                    self.ready = good;
                    if *chunks == Chunks::Ended {
                        self.state = State::Head;
                    }
                }
                Err(malformed) => {
                    self.state = State::Ended(malformed);
                    self.pending.clear();
                    return Err(malformed);
                }
            },
            State::Open => self.ready = self.pending.len(),
            State::Held | State::Ended(_) => return Ok(false),
        }
        Ok(true)
    }

    fn head(&mut self) -> bool {
        // An empty line before a request is passed over (RFC 9112, 2.2), and not passed on.
        if self.scanned == 0 && self.pending.starts_with(b"\r\n") {
            self.pending.advance(2);
            return true;
        }
        if *self.pending == b"\r"[..] {
            return false;
        }
        let read = match find_end(&self.pending, self.scanned) {
            Ok(None) => match check_beginning(&self.pending) {
                Ok(()) => {
                    self.scanned = self.pending.len();
                    return false;
                }
                Err(malformed) => Err(malformed),
            },
            Ok(Some(end)) => read(&self.pending[..end]).map(|framing| (end, framing)),
            Err(malformed) => Err(malformed),
        };
        self.scanned = 0;
        match read {
            Ok((end, framing)) => {
                self.ready = end;
                self.state = match framing {
                    Framing::Length(0) => State::Head,
                    Framing::Length(length) => State::Body(length),
                    Framing::Chunked => State::Chunked(Chunks::default()),
                    Framing::Upgrade => State::Held,
                };
            }
            Err(malformed) => {
                self.state = State::Ended(malformed);
                self.pending.clear();
                self.pending.extend_from_slice(STAND_IN);
                self.ready = STAND_IN.len();
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes out when `bytes` come in pieces of `size`, and whether it broke off.
    fn through(bytes: &[u8], size: usize) -> (Vec<u8>, bool) {
        let (mut vetter, mut out) = (Vetter::default(), Vec::new());
        for piece in bytes.chunks(size) {
            match vetter.room() {
                Some(room) => room.extend_from_slice(piece),
                None => break,
            }
            loop {
                match vetter.vetted() {
                    Ok([]) => break,
                    Ok(vetted) => {
                        let count = vetted.len();
                        out.extend_from_slice(vetted);
                        vetter.took(count);
                    }
                    Err(_) => return (out, true),
                }
            }
        }
        (out, false)
    }

    const GOOD: &[u8] =
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nG\nT /\
        PUT /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab\n\r\n0\r\nX: y\r\n\r\n\
        GET / HTTP/1.0\r\n\r\n";

    #[test]
    fn good_requests_go_through_however_they_are_cut() {
        for size in 1..GOOD.len() {
            assert_eq!(through(GOOD, size), (GOOD.to_vec(), false), "{size}");
        }
    }

    #[test]
    fn a_bad_one_becomes_a_stand_in_and_is_the_last() {
        let bad = [GOOD, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", GOOD].concat();
        for size in 1..bad.len() {
            assert_eq!(through(&bad, size), ([GOOD, STAND_IN].concat(), false), "{size}");
        }
        let broken =
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabGET / HTTP/1.1\r\n";
        assert!(through(broken, 7).1);
    }

    #[test]
    fn what_follows_an_upgrade_waits_for_the_answer() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        for upgraded in [true, false] {
            let mut vetter = Vetter::default();
            vetter.room().unwrap().extend_from_slice(head);
            vetter.room().unwrap().extend_from_slice(b"\x81\x00\n\n");
            assert_eq!(vetter.vetted().unwrap(), head);
            vetter.took(head.len());
            assert!(vetter.is_held());
            assert_eq!(vetter.vetted().unwrap(), b"");
            vetter.answered(upgraded);
            let next = vetter.vetted().unwrap();
            assert_eq!(next, if upgraded { b"\x81\x00\n\n" } else { STAND_IN });
        }
    }

    proptest! {
        #[test]
        fn how_bytes_are_cut_changes_nothing(bytes in "(GET|POST|[ -~]{0,3}) /[ -~]{0,5} HTTP/1.[01]\r\n(Host: a\r\n|Content-Length: [0-9]{1,2}\r\n|Transfer-Encoding: chunked\r\n|[\r\n:a]{0,5}){0,4}\r\n[0-9\r\n]{0,30}", size in 1..40_usize) {
            let whole = through(bytes.as_bytes(), usize::MAX);
            prop_assert_eq!(through(bytes.as_bytes(), size), whole);
        }
    }
}
