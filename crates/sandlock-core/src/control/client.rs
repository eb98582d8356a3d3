//! Who asks a run and tells it things.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sandlock_sys::peer;
use sandlock_sys::process_stat::{ProcessStat, start_time};

use super::protocol;
use super::{Answer, ControlError, Directory, Record, Request};

/// A connection to a run.
#[derive(Debug)]
pub struct Client {
    record: Record,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to a run. One that was stopped is continued, if the process that launched it does nothing else.
    ///
    /// # Errors
    ///
    /// When there is no such run, or it does not let itself be connected to.
    pub fn connect(directory: &Directory, name: &str) -> Result<Client, ControlError> {
        let record = directory.run(name)?;
        let stream = directory.connect(name)?;
        let unreachable = |source| ControlError::Unreachable { name: name.to_owned(), source };
        stream.set_nonblocking(false).map_err(unreachable)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(unreachable)?;
        let listener = peer::of(stream.as_fd()).map_err(|errno| unreachable(errno.into()))?;
        if record.of_a_command {
            continue_it(listener.pid, record.start_time);
        } else if ProcessStat::of(listener.pid).is_some_and(|stat| stat.state == 'T') {
            return Err(ControlError::Stopped { name: name.to_owned(), pid: listener.pid });
        }
        Ok(Client { record, stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// When there is none, or it is an error.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, ControlError> {
        let name = self.record.name.clone();
        let no_answer = |_| ControlError::NoAnswer { name: name.clone() };
        self.stream.get_mut().write_all(&protocol::asked(request)).map_err(no_answer)?;
        let mut line = Vec::new();
        (&mut self.stream).take(LONGEST_ANSWER).read_until(b'\n', &mut line).map_err(no_answer)?;
        match serde_json::from_slice(&line) {
            Ok(Answer::Error { error }) => Err(ControlError::Refused { name, why: error }),
            Ok(answer) => Ok(answer),
            Err(_) => Err(ControlError::NoAnswer { name }),
        }
    }

    /// Asks for something that has no answer but that it was done.
    ///
    /// # Errors
    ///
    /// When it is not said to be done.
    pub fn tell(&mut self, request: &Request) -> Result<(), ControlError> {
        match self.ask(request)? {
            Answer::Changed | Answer::Paused | Answer::Resumed | Answer::Killed => Ok(()),
            _ => Err(ControlError::NoAnswer { name: self.record.name.clone() }),
        }
    }

    /// Reads along: what happens in the run from now on, as lines of JSON, until it is over.
    ///
    /// # Errors
    ///
    /// When the run does not tell.
    pub fn events(mut self) -> Result<impl Iterator<Item = String>, ControlError> {
        match self.ask(&Request::Events)? {
            Answer::Events => {}
            _ => return Err(ControlError::NoAnswer { name: self.record.name }),
        }
        let name = self.record.name;
        let patient = self.stream.get_ref().set_read_timeout(None);
        patient.map_err(|source| ControlError::Unreachable { name, source })?;
        let mut stream = self.stream;
        Ok(std::iter::from_fn(move || {
            let mut line = Vec::new();
            (&mut stream).take(LONGEST_ANSWER).read_until(b'\n', &mut line).ok()?;
            (line.pop() == Some(b'\n')).then(|| String::from_utf8_lossy(&line).into_owned())
        }))
    }

    /// Ends the run, and waits until nothing of it is left.
    ///
    /// # Errors
    ///
    /// When it does not say so.
    pub fn kill(&mut self) -> Result<(), ControlError> {
        self.tell(&Request::Kill)
    }
}

/// By a handle, and only if it is the process that the record is of: another one can have its number by now. Who listens is
/// the kernel's word; the record may be somebody's invention.
fn continue_it(pid: i32, started: u64) {
    let Some(pid) = Pid::from_raw(pid).filter(|pid| pid.as_raw_nonzero().get() > 1) else {
        return;
    };
    if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
        && start_time(pid.as_raw_nonzero().get()) == Some(started)
    {
        let _ = pidfd_send_signal(handle, Signal::CONT);
    }
}

/// A run that is asked to end has a second for it, and its tree a moment.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: u64 = 32 << 20;
