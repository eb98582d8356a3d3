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

use super::visitor::{Awaited, Reply, State, Visitor};
use crate::RunRules;
use crate::rules::Changes;

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
    /// The number of the last order to stop or to go on, what it was, and the last that was followed.
    pauses: u64,
    stops: bool,
    followed: u64,
    /// Whether something came that an answer may wait for.
    look_again: bool,
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
    /// Order to stop the run, or to let it go on, by this number.
    Pause { serial: u64, stop: bool },
    /// Somebody reads along from now on.
    Tell,
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
        Ok(Server {
            wanted: control,
            found,
            visitors: Vec::new(),
            write_at: None,
            pauses: 0,
            stops: false,
            followed: 0,
            look_again: false,
        })
    }

    /// The command has started. A run that cannot be found goes on all the same.
    pub(crate) fn begin(
        &mut self,
        pid: i32,
        command: &[OsString],
        policy: &Policy,
        names: &Resolved,
        adjustable: bool,
    ) {
        let Some(control) = self.wanted.take() else {
            return;
        };
        if self.found.is_none() {
            self.found = Found::somehow(&control, command, policy);
        }
        if let Some(found) = &mut self.found {
            found.record.of_a_command = control.of_a_command;
            found.record.command_pid = pid;
            found.record.adjustable = adjustable;
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

    /// The name that the run has.
    pub(crate) fn name(&self) -> Option<&str> {
        self.found.as_ref().map(|found| found.record.name.as_str())
    }

    /// How the network rules were changed.
    pub(crate) fn know_changes(&mut self, changes: &Changes) {
        if let Some(found) = &mut self.found
            && let Some(policy) = &mut found.record.policy
        {
            changes.apply(&mut policy.network);
            self.write_at.get_or_insert_with(|| Instant::now() + SOON);
        }
    }

    /// The supervisor goes by more rules: some answer may wait for that.
    pub(crate) fn rules_enforced(&mut self) {
        self.look_again = true;
    }

    /// The supervisor has followed the order of this number, and so those before. Says whether the run is stopped now, if
    /// that was the last.
    pub(crate) fn paused(&mut self, serial: u64) -> Option<bool> {
        self.followed = serial;
        self.look_again = true;
        if serial != self.pauses {
            return None;
        }
        if let Some(found) = &mut self.found {
            found.record.paused = self.stops;
            self.write_at.get_or_insert_with(|| Instant::now() + SOON);
        }
        Some(self.stops)
    }

    /// Whether somebody wants to be told what happens.
    pub(crate) fn has_readers(&self) -> bool {
        self.visitors.iter().any(Visitor::reads_along)
    }

    /// Tells everybody who reads along. `told_of` makes the line that says how much somebody was not told.
    pub(crate) fn tell(&mut self, line: &[u8], told_of: impl Fn(u64) -> Vec<u8>) {
        self.visitors.iter_mut().for_each(|visitor| visitor.tell(line, &told_of));
    }

    /// For how long there is nothing to do.
    pub(crate) fn left(&self) -> Option<Duration> {
        if self.look_again {
            return Some(Duration::ZERO);
        }
        self.write_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// What to poll, and for what.
    pub(crate) fn watches(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listener = self.found.iter().map(|found| (found.listener.as_fd(), PollFlags::IN));
        listener.chain(self.visitors.iter().map(Visitor::watch))
    }

    /// Does what can be done. `ready` is what became of the [`Server::watches`]; `supervisor` acts for the programs inside;
    /// `rules` are there if they may change.
    pub(crate) fn proceed(
        &mut self,
        ready: &[PollFlags],
        supervisor: i32,
        rules: Option<&RunRules>,
        told_of: impl Fn(u64) -> Vec<u8>,
    ) -> Vec<Wish> {
        let mut wishes = Vec::new();
        self.look_again = false;
        let Some(found) = self.found.as_mut() else {
            return wishes;
        };
        if self.write_at.take_if(|at| *at <= Instant::now()).is_some() {
            let _ = found.directory.write(&found.record);
        }
        let Some((arrived, ready)) = ready.split_first() else {
            return wishes;
        };
        let followed = self.followed;
        let is_there = |awaited| match awaited {
            Awaited::Rules(serial) => rules.is_none_or(|rules| rules.is_enforced(serial)),
            Awaited::Paused(serial, _) => followed >= serial,
        };
        let mut desk = Desk { record: &found.record, rules, pauses: &mut self.pauses, wishes: &mut wishes };
        for (visitor, ready) in self.visitors.iter_mut().zip(ready) {
            visitor.proceed(*ready, is_there, |request| desk.answer(request));
            visitor.tell_of_dropped(&told_of);
        }
        for wish in &wishes {
            if let Wish::Pause { stop, .. } = wish {
                self.stops = *stop;
            }
        }
        self.visitors.retain(|visitor| visitor.state() != State::Gone);
        if !arrived.is_empty() {
            self.admit(supervisor);
        }
        wishes
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

/// What answers are made of.
struct Desk<'a> {
    record: &'a Record,
    rules: Option<&'a RunRules>,
    pauses: &'a mut u64,
    wishes: &'a mut Vec<Wish>,
}

impl Desk<'_> {
    fn answer(&mut self, request: Request) -> Reply {
        match request {
            Request::Policy => Reply::Now(Answer::Policy { run: Box::new(self.record.clone()) }),
            Request::Ports => Reply::Now(Answer::Ports { ports: self.record.ports.clone() }),
            Request::Events => {
                self.wishes.push(Wish::Tell);
                Reply::ReadAlong
            }
            Request::Allow { rule } => self.change(|rules| rules.allow_soon(rule)),
            Request::Deny { rule, cut } => self.change(|rules| rules.deny_soon(rule, cut)),
            Request::Pause => self.pause(true),
            Request::Resume => self.pause(false),
            Request::Kill => {
                self.wishes.push(Wish::End);
                Reply::AtTheEnd
            }
        }
    }

    fn change(&self, change: impl FnOnce(&RunRules) -> u64) -> Reply {
        match self.rules {
            None => {
                Reply::Refused("its rules cannot change: that takes sandlock run --adjustable".to_owned())
            }
            Some(rules) if rules.current().iter().count() >= MOST_RULES => {
                Reply::Refused(format!("it has {MOST_RULES} rules already"))
            }
            Some(rules) => Reply::When(Awaited::Rules(change(rules))),
        }
    }

    fn pause(&mut self, stop: bool) -> Reply {
        *self.pauses += 1;
        self.wishes.push(Wish::Pause { serial: *self.pauses, stop });
        Reply::When(Awaited::Paused(*self.pauses, stop))
    }
}

/// How long changes are gathered.
const SOON: Duration = Duration::from_millis(100);
const MOST_VISITORS: usize = 16;
/// All of them are one message to the supervisor.
const MOST_RULES: usize = 1000;
