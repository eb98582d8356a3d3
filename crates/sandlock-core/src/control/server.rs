//! The run's side of its control socket. It has no thread: the launcher's main loop, which all that is asked concerns,
//! looks after it between other things, and nothing here ever waits.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use sandlock_policy::{Policy, Resolved};
use sandlock_supervisor::message::PortMapping;
use sandlock_sys::{Errno, peer};

use super::visitor::{State, Visitor};
use super::{Answer, Control, ControlError, Directory, Record, Request, name};

/// A run's name, its record, and who is connected to it.
#[derive(Debug)]
pub(crate) struct Server {
    /// What is wanted, until the command has started.
    wanted: Option<Control>,
    found: Option<Found>,
    visitors: Vec<Visitor>,
    /// When the record is to be written again.
    write_at: Option<Instant>,
}

/// Where the run is found.
#[derive(Debug)]
struct Found {
    directory: Directory,
    listener: UnixListener,
    record: Record,
}

/// What the main loop is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// End the run.
    End,
}

impl Server {
    /// Takes a name that the run must have. One that it may have is taken when the command has started, which does not
    /// wait for it.
    ///
    /// # Errors
    ///
    /// When the name is no good, taken, or there is no place for it.
    pub(crate) fn prepare(
        control: Option<Control>,
        command: &[OsString],
        policy: &Policy,
    ) -> Result<Server, ControlError> {
        let found = match &control {
            Some(control @ Control { name: Some(name), .. }) => {
                Some(Found::named(name::check(name)?, control, command, policy)?)
            }
            _ => None,
        };
        Ok(Server { wanted: control, found, visitors: Vec::new(), write_at: None })
    }

    /// The command has started. A run that cannot be found goes on all the same.
    pub(crate) fn begin(&mut self, pid: i32, command: &[OsString], policy: &Policy, names: &Resolved) {
        let Some(control) = self.wanted.take() else {
            return;
        };
        if self.found.is_none() {
            self.found = Found::somehow(&control, command, policy);
        }
        if let Some(found) = &mut self.found {
            found.record.of_a_command = control.of_a_command;
            found.record.command_pid = pid;
            found.record.know(names);
            let _ = found.directory.write(&found.record);
        }
    }

    /// What names stand for now. The record is written again a little later, with what else changes until then.
    pub(crate) fn know(&mut self, names: &Resolved) {
        if let Some(found) = &mut self.found
            && found.record.know(names)
        {
            self.write_at.get_or_insert_with(|| Instant::now() + SOON);
        }
    }

    /// Which ports there are now, of a run with a port space of its own.
    pub(crate) fn know_ports(&mut self, ports: Vec<PortMapping>) {
        if let Some(found) = &mut self.found
            && found.record.ports != ports
        {
            found.record.ports = ports;
            self.write_at.get_or_insert_with(|| Instant::now() + SOON);
        }
    }

    /// For how long there is nothing to do.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.write_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// What to poll, and for what.
    pub(crate) fn watches(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listener = self.found.iter().map(|found| (found.listener.as_fd(), PollFlags::IN));
        listener.chain(self.visitors.iter().map(Visitor::watch))
    }

    /// Does what can be done. `ready` is what became of the [`Server::watches`]; `supervisor` acts for the programs inside.
    pub(crate) fn proceed(&mut self, ready: &[PollFlags], supervisor: i32) -> Option<Wish> {
        let found = self.found.as_mut()?;
        if self.write_at.take_if(|at| *at <= Instant::now()).is_some() {
            let _ = found.directory.write(&found.record);
        }
        let (arrived, ready) = ready.split_first()?;
        let mut wish = None;
        for (visitor, ready) in self.visitors.iter_mut().zip(ready) {
            visitor.proceed(*ready, |request| answer(request, &found.record, &mut wish));
        }
        self.visitors.retain(|visitor| visitor.state() != State::Gone);
        if !arrived.is_empty() {
            self.admit(supervisor);
        }
        wish
    }

    fn admit(&mut self, supervisor: i32) {
        while let Some(Ok((stream, _))) = self.found.as_ref().map(|found| found.listener.accept()) {
            let user = rustix::process::geteuid().as_raw();
            let is_welcome = peer::of(stream.as_fd())
                .is_ok_and(|peer| peer.user == user && peer.pid != supervisor && peer.pid != 0);
            let visitor = Visitor::new(stream);
            if !is_welcome {
                visitor.turn_away("this run is somebody else's");
            } else if self.visitors.len() >= MOST_VISITORS {
                visitor.turn_away("too many are connected to this run");
            } else {
                self.visitors.push(visitor);
            }
        }
    }

    /// The run is over, and nothing of it is left: it is found no more, and who waits for that is told.
    pub(crate) fn end(&mut self) {
        if let Some(found) = self.found.take() {
            found.directory.release(&found.record.name);
        }
        self.visitors.drain(..).for_each(|visitor| visitor.run_is_over());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Found {
    fn named(
        name: &str,
        control: &Control,
        command: &[OsString],
        policy: &Policy,
    ) -> Result<Found, ControlError> {
        let directory = Directory::open(control.runtime_directory.as_deref())?;
        let name = name.to_owned();
        match directory.claim(&name) {
            Ok(listener) => Ok(Found { directory, listener, record: Record::new(name, command, policy) }),
            Err(Errno::EXIST) => Err(ControlError::Taken { name }),
            Err(errno) => Err(ControlError::Unreachable { name, source: errno.into() }),
        }
    }

    /// Under the best name that is free.
    fn somehow(control: &Control, command: &[OsString], policy: &Policy) -> Option<Found> {
        let directory = Directory::open(control.runtime_directory.as_deref()).ok()?;
        for name in name::of_command(command.first().map(OsString::as_os_str)) {
            match directory.claim(&name) {
                Ok(listener) => {
                    let record = Record::new(name, command, policy);
                    return Some(Found { directory, listener, record });
                }
                Err(Errno::EXIST) => {}
                Err(_) => return None,
            }
        }
        None
    }
}

/// `None` is answered when the run is over.
fn answer(request: Request, record: &Record, wish: &mut Option<Wish>) -> Option<Answer> {
    match request {
        Request::Policy => Some(Answer::Policy { run: Box::new(record.clone()) }),
        Request::Ports => Some(Answer::Ports { ports: record.ports.clone() }),
        Request::Kill => {
            *wish = Some(Wish::End);
            None
        }
    }
}

/// How long changes are gathered.
const SOON: Duration = Duration::from_millis(100);
const MOST_VISITORS: usize = 16;
