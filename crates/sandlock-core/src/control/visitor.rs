//! Somebody who is connected to a control socket. What is held of them is bounded: one line in, and answers are made only
//! when those before were taken.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;
use serde_json::Value;

use super::protocol::{self, Answer, Request};

/// Somebody who is connected.
#[derive(Debug)]
pub(super) struct Visitor {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Who is answered when the run is over: the `id`s.
    waits: Vec<Option<Value>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Asks.
    Open,
    /// Asks nothing more, and is to have the answers.
    Finished,
    /// Neither.
    Gone,
}

impl Visitor {
    pub(super) fn new(stream: UnixStream) -> Visitor {
        let state = if stream.set_nonblocking(true).is_ok() { State::Open } else { State::Gone };
        Visitor { stream, input: Vec::new(), output: Vec::new(), waits: Vec::new(), state }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn watch(&self) -> (BorrowedFd<'_>, PollFlags) {
        let wanted = match self.state {
            _ if !self.output.is_empty() => PollFlags::OUT,
            State::Open => PollFlags::IN,
            _ => PollFlags::empty(),
        };
        (self.stream.as_fd(), wanted)
    }

    /// Writes, reads and answers as far as it goes.
    pub(super) fn proceed(&mut self, ready: PollFlags, mut answer: impl FnMut(Request) -> Option<Answer>) {
        if ready.is_empty() {
            return;
        }
        if ready.intersects(PollFlags::HUP | PollFlags::ERR) && self.state == State::Finished {
            self.state = State::Gone;
            return;
        }
        self.flush();
        if self.output.is_empty() && self.state == State::Open {
            self.read();
        }
        while self.output.is_empty()
            && self.state != State::Gone
            && let Some(end) = self.input.iter().position(|byte| *byte == b'\n')
        {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match protocol::read(&line[..end]) {
                Ok((request, id)) => match answer(request) {
                    Some(answer) => self.say(&answer, id.as_ref()),
                    None => self.waits.push(id),
                },
                Err(error) => self.refuse(error),
            }
            self.flush();
        }
        if self.input.len() > LONGEST_LINE {
            self.refuse(format!("a line is longer than {LONGEST_LINE} bytes"));
            self.flush();
        }
        if self.state == State::Finished && self.output.is_empty() && self.waits.is_empty() {
            self.state = State::Gone;
        }
    }

    /// Says why not, and goes.
    pub(super) fn turn_away(mut self, why: &str) {
        self.refuse(why.to_owned());
        self.flush();
    }

    /// The last word.
    pub(super) fn run_is_over(mut self) {
        for id in std::mem::take(&mut self.waits) {
            self.say(&Answer::Killed, id.as_ref());
        }
        self.flush();
    }

    /// Whoever does not keep to the protocol is told so, and is not listened to any more.
    fn refuse(&mut self, error: String) {
        self.say(&Answer::Error { error }, None);
        self.input.clear();
        if self.state == State::Open {
            self.state = State::Finished;
        }
    }

    fn say(&mut self, answer: &Answer, id: Option<&Value>) {
        self.output.extend(protocol::written(answer, id));
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        // A flood is read a piece at a time: the main loop has other things to do.
        match self.stream.read(&mut bytes) {
            Ok(0) => self.state = State::Finished,
            Ok(count) => self.input.extend(&bytes[..count]),
            Err(error) if is_for_later(&error) => {}
            Err(_) => self.state = State::Gone,
        }
    }

    fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) if count > 0 => drop(self.output.drain(..count)),
                Err(error) if is_for_later(&error) => return,
                _ => {
                    self.output.clear();
                    self.state = State::Gone;
                }
            }
        }
    }
}

fn is_for_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

const LONGEST_LINE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered to this, in one go, and the state afterwards.
    fn told(text: &[u8]) -> (String, State) {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut visitor = Visitor::new(server);
        client.set_nonblocking(true).unwrap();
        let mut said = String::new();
        let (mut rest, mut closed) = (text, false);
        for _ in 0..1000 {
            match rest.is_empty() {
                false => {
                    let count = client.write(rest).unwrap_or(0);
                    rest = &rest[count..];
                }
                true if !closed => {
                    client.shutdown(std::net::Shutdown::Write).unwrap();
                    closed = true;
                }
                true => {}
            }
            let ready = if visitor.watch().1.is_empty() { PollFlags::empty() } else { visitor.watch().1 };
            visitor.proceed(ready, |request| match request {
                Request::Kill => None,
                _ => Some(Answer::Ports { ports: Vec::new() }),
            });
            let _ = client.read_to_string(&mut said);
        }
        (said, visitor.state())
    }

    #[test]
    fn requests_are_answered_in_order_and_what_is_none_is_the_last() {
        let ports = "{\"version\":1,\"request\":\"ports\"}\n";
        let (said, state) = told(ports.repeat(3).as_bytes());
        assert_eq!((said.lines().count(), state), (3, State::Gone));
        let (said, state) = told(format!("{ports}nonsense\n{ports}").as_bytes());
        assert_eq!((said.lines().count(), state), (2, State::Gone));
        assert!(said.lines().nth(1).unwrap().contains("\"error\""), "{said}");
        let (said, state) = told(&vec![b'x'; LONGEST_LINE * 3]);
        assert!(said.contains("longer than") && state == State::Gone, "{said}");
        let (said, state) = told(b"{\"version\":1,\"request\":\"kill\"}\n");
        assert_eq!((said.as_str(), state), ("", State::Finished));
    }
}
