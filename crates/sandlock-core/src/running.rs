//! The launcher's side of a run: signals are passed on, denials collected, the end awaited.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, waitpid};
use sandlock_policy::Denied;
use sandlock_supervisor::message::{Ending, Link, NotStarted, Order, Report, Step};
use sandlock_sys::Errno;
use sandlock_sys::signal::{self, Mask, SignalFd};

use crate::{LaunchError, Plan};

/// A run that was launched.
#[derive(Debug)]
pub struct Running {
    plan: Plan,
    link: Link,
    supervisor: i32,
    mask: Mask,
    /// Children that this process had before, which are none of the run's business.
    others: Vec<i32>,
}

impl Drop for Running {
    /// Reaps the supervisor, which ends as soon as it has told the end of the run. A caller that exits right away
    /// need not wait for that.
    fn drop(&mut self) {
        let _ = Pid::from_raw(self.supervisor).map(|pid| waitpid(Some(pid), WaitOptions::empty()));
    }
}

/// Something that happened while the command ran.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The command was executed; its process id.
    Started(i32),
    /// The policy refused something.
    Denied(Denied),
}

/// How a run went.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// How the command ended.
    pub ending: Ending,
    /// Whether it was ended for having run too long.
    pub timed_out: bool,
    /// What was refused, and how often.
    pub denials: BTreeMap<Denied, u64>,
    /// Denials beyond those: of too many different things, or faster than they could be told.
    pub more_denials: u64,
}

impl Running {
    pub(crate) fn new(plan: Plan, link: Link, supervisor: i32, mask: Mask, others: Vec<i32>) -> Self {
        Running { plan, link, supervisor, mask, others }
    }

    /// What the names in the rules resolved to.
    #[must_use]
    pub fn names(&self) -> &sandlock_policy::Resolved {
        self.plan.names()
    }

    /// Waits for the end of the command and of its whole tree, and calls `tell` at each event.
    ///
    /// # Errors
    ///
    /// When the command could not be started, or its supervisor died.
    pub fn wait(&mut self, mut tell: impl FnMut(&Event)) -> Result<Outcome, LaunchError> {
        let result = self.watch(&mut tell);
        if result.is_err() {
            // The supervisor is gone or going: what it adopted falls to this process, and ends here.
            self.link.finish_sending();
            sandlock_supervisor::end_adopted(&self.others);
        }
        if let Some(temporary) = self.plan.temporary.take() {
            temporary.remove();
        }
        signal::restore(&self.mask);
        result
    }

    fn watch(&self, tell: &mut dyn FnMut(&Event)) -> Result<Outcome, LaunchError> {
        let signals = SignalFd::new(&PASSED_ON).map_err(|errno| LaunchError::Launcher(errno.into()))?;
        let mut patience = Patience::new(self.plan.timeout);
        let mut denials = BTreeMap::new();
        let mut more_denials = 0;
        loop {
            let (told, signalled) = sleep(&self.link, &signals, patience.left());
            if signalled {
                self.pass_on(&signals);
            }
            if told {
                match self.link.try_receive::<Report>() {
                    Ok(Some(Report::Started(pid))) => tell(&Event::Started(pid)),
                    Ok(Some(Report::Denied(denied))) => {
                        tell(&Event::Denied(denied.clone()));
                        if denials.len() < MOST_DENIALS || denials.contains_key(&denied) {
                            *denials.entry(denied).or_insert(0) += 1;
                        } else {
                            more_denials += 1;
                        }
                    }
                    Ok(Some(Report::Enforced(_) | Report::Asking(_))) => {}
                    Ok(Some(Report::Stopped)) => signal::stop_this_process(),
                    Ok(Some(Report::NotStarted(why))) => return Err(self.not_started(&why)),
                    Ok(Some(Report::Ended { ending, unreported })) => {
                        more_denials += unreported;
                        return Ok(Outcome { ending, timed_out: patience.ran_out(), denials, more_denials });
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Ok(None) | Err(_) => return Err(LaunchError::SupervisorDied),
                }
            }
            match patience.due() {
                Some(Due::Ask) => drop(self.link.try_send(&Order::Signal(SIGTERM))),
                Some(Due::Cut) => self.link.finish_sending(),
                None => {}
            }
        }
    }

    /// A signal that a process sent to the launcher is meant for the command. One of the terminal went to the whole
    /// foreground group, so that the command has it already.
    fn pass_on(&self, signals: &SignalFd) {
        while let Some(received) = signals.next() {
            if received.from_a_process {
                let _ = self.link.try_send(&Order::Signal(received.number));
            }
        }
    }

    fn not_started(&self, why: &NotStarted) -> LaunchError {
        let source = io::Error::from_raw_os_error(why.errno);
        match why.step {
            Step::Exec => {
                LaunchError::Exec { command: self.plan.command.first().cloned().unwrap_or_default(), source }
            }
            step => LaunchError::Step { step, source },
        }
    }
}

/// Sleeps until the supervisor tells something, a signal came, or the time is up.
fn sleep(link: &Link, signals: &SignalFd, left: Option<Duration>) -> (bool, bool) {
    let left =
        left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
    let mut fds = [
        PollFd::from_borrowed_fd(link.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
    ];
    match poll(&mut fds, left.as_ref()) {
        Ok(_) => (!fds[0].revents().is_empty(), !fds[1].revents().is_empty()),
        Err(_) => (false, false),
    }
}

/// The time that a command has: when it is up it is asked to end, and a little later it is ended.
struct Patience {
    ask_at: Option<Instant>,
    cut_at: Option<Instant>,
    ran_out: bool,
}

enum Due {
    Ask,
    Cut,
}

impl Patience {
    fn new(limit: Option<Duration>) -> Self {
        Patience {
            ask_at: limit.and_then(|limit| Instant::now().checked_add(limit)),
            cut_at: None,
            ran_out: false,
        }
    }

    fn left(&self) -> Option<Duration> {
        self.ask_at.or(self.cut_at).map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn due(&mut self) -> Option<Due> {
        let now = Instant::now();
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask_at = None;
            self.cut_at = Some(now + GRACE);
            self.ran_out = true;
            return Some(Due::Ask);
        }
        self.cut_at.take_if(|at| *at <= now).map(|_| Due::Cut)
    }

    fn ran_out(&self) -> bool {
        self.ran_out
    }
}

const GRACE: Duration = Duration::from_secs(1);
const MOST_DENIALS: usize = 1000;
const SIGTERM: i32 = 15;
/// HUP, INT, QUIT, USR1, USR2, TERM, CONT, TSTP, TTIN, TTOU. The last three are blocked so that the launcher stops
/// only when the command did.
const PASSED_ON: [i32; 10] = [1, 2, 3, 10, 12, 15, 18, 20, 21, 22];
