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
    /// What the next answer waits for, and its `id`. Nothing is read meanwhile.
    awaits: Option<(Awaited, Option<Value>)>,
    /// Whether it is told what happens, and how much of that it could not be told.
    reads_along: bool,
    dropped: u64,
    state: State,
}

/// What an answer waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Awaited {
    /// The supervisor goes by the rules of this number.
    Rules(u64),
    /// The supervisor has followed the order of this number, to stop the run or not.
    Paused(u64, bool),
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Reply {
    Now(Answer),
    /// It is answered, and what happens is told from here on.
    ReadAlong,
    When(Awaited),
    /// It is answered when the run is over.
    AtTheEnd,
    /// It is an error, after which nobody is listened to.
    Refused(String),
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
        Visitor {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            waits: Vec::new(),
            awaits: None,
            reads_along: false,
            dropped: 0,
            state,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn watch(&self) -> (BorrowedFd<'_>, PollFlags) {
        let wanted = match self.state {
            _ if !self.output.is_empty() => PollFlags::OUT,
            State::Open if self.awaits.is_none() => PollFlags::IN,
            _ => PollFlags::empty(),
        };
        (self.stream.as_fd(), wanted)
    }

    /// Whether it is to be told what happens.
    pub(super) fn reads_along(&self) -> bool {
        self.reads_along
    }

    /// Tells what happened, if there is room. `told_of` is the line that says how much there was none for.
    pub(super) fn tell(&mut self, line: &[u8], told_of: impl FnOnce(u64) -> Vec<u8>) {
        if !self.reads_along {
            return;
        }
        if self.output.len() > MOST_UNREAD {
            self.dropped += 1;
            return;
        }
        self.tell_of_dropped(told_of);
        self.output.extend(line);
    }

    /// Says what it was not told, as soon as it reads again.
    pub(super) fn tell_of_dropped(&mut self, told_of: impl FnOnce(u64) -> Vec<u8>) {
        if self.dropped > 0 && self.output.len() <= MOST_UNREAD {
            self.output.extend(told_of(std::mem::take(&mut self.dropped)));
        }
    }

    /// Gives the answer that waited, if what it waited for has come: `is_there` says so. Whether it was given.
    fn answer_awaited(&mut self, is_there: impl Fn(Awaited) -> bool) -> bool {
        let Some((awaited, id)) = self.awaits.take_if(|(awaited, _)| is_there(*awaited)) else {
            return false;
        };
        let answer = match awaited {
            Awaited::Rules(_) => Answer::Changed,
            Awaited::Paused(_, true) => Answer::Paused,
            Awaited::Paused(_, false) => Answer::Resumed,
        };
        self.say(&answer, id.as_ref());
        true
    }

    /// Writes, reads and answers as far as it goes.
    pub(super) fn proceed(
        &mut self,
        ready: PollFlags,
        is_there: impl Fn(Awaited) -> bool,
        mut answer: impl FnMut(Request) -> Reply,
    ) {
        if !self.answer_awaited(is_there) && ready.is_empty() {
            return;
        }
        if ready.intersects(PollFlags::HUP | PollFlags::ERR)
            && (self.state == State::Finished || self.awaits.is_some())
        {
            self.state = State::Gone;
            return;
        }
        self.flush();
        if self.output.is_empty() && self.state == State::Open && self.awaits.is_none() {
            self.read();
        }
        while self.output.is_empty()
            && self.awaits.is_none()
            && self.state != State::Gone
            && let Some(end) = self.input.iter().position(|byte| *byte == b'\n')
        {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match protocol::read(&line[..end]) {
                Ok((request, id)) => match answer(request) {
                    Reply::Now(answer) => self.say(&answer, id.as_ref()),
                    Reply::ReadAlong => {
                        self.reads_along = true;
                        self.say(&Answer::Events, id.as_ref());
                    }
                    Reply::When(awaited) => self.awaits = Some((awaited, id)),
                    Reply::AtTheEnd => self.waits.push(id),
                    Reply::Refused(error) => self.refuse(error),
                },
                Err(error) => self.refuse(error),
            }
            self.flush();
        }
        if self.input.len() > LONGEST_LINE {
            self.refuse(format!("a line is longer than {LONGEST_LINE} bytes"));
            self.flush();
        }
        let is_owed = !self.waits.is_empty() || self.awaits.is_some() || self.reads_along;
        if self.state == State::Finished && self.output.is_empty() && !is_owed {
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
        self.reads_along = false;
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
/// Of what happened that is kept for one who does not read.
const MOST_UNREAD: usize = 256 << 10;

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
            visitor.proceed(
                ready,
                |_| true,
                |request| match request {
                    Request::Kill => Reply::AtTheEnd,
                    Request::Pause => Reply::When(Awaited::Paused(1, true)),
                    Request::Allow { .. } => Reply::Refused("no".to_owned()),
                    _ => Reply::Now(Answer::Ports { ports: Vec::new() }),
                },
            );
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
        let (said, state) = told(format!("{{\"version\":1,\"request\":\"pause\"}}\n{ports}").as_bytes());
        assert_eq!((said.lines().count(), state), (2, State::Gone));
        assert!(said.lines().next().unwrap().contains("\"paused\""), "{said}");
        let allow = "{\"version\":1,\"request\":\"allow\",\"rule\":\"a.test:1\"}\n";
        let (said, state) = told(format!("{allow}{ports}").as_bytes());
        assert_eq!((said.lines().count(), state), (1, State::Gone));
    }

    #[test]
    fn who_does_not_read_is_told_later_how_much_was_dropped() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut visitor = Visitor::new(server);
        visitor.reads_along = true;
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let dropped = |count: u64| format!("dropped {count}\n").into_bytes();
        for _ in 0..1000 {
            visitor.tell(&line, dropped);
        }
        assert!(visitor.output.len() <= MOST_UNREAD + line.len(), "{}", visitor.output.len());
        client.set_nonblocking(true).unwrap();
        let mut said = Vec::new();
        while !visitor.output.is_empty() {
            visitor.proceed(PollFlags::OUT, |_| false, |_| Reply::AtTheEnd);
            visitor.tell_of_dropped(dropped);
            let _ = client.read_to_end(&mut said);
        }
        let said = String::from_utf8(said).unwrap();
        let told = said.lines().filter(|line| line.starts_with('x')).count();
        let last: usize = said.lines().last().unwrap().strip_prefix("dropped ").unwrap().parse().unwrap();
        assert_eq!(told + last, 1000);
    }
}
