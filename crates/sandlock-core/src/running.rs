//! The launcher's side of a run: signals are passed on, names kept, denials collected, the end awaited.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use sandlock_names::Happening;
use sandlock_policy::Denied;
use sandlock_supervisor::message::{Ending, Link, NotStarted, Order, Report, Step};
use sandlock_sys::Errno;
use sandlock_sys::signal::{self, Mask, SignalFd};

use crate::cgroup::Cgroup;
use crate::control::{self, Wish};
use crate::decision::Listening;
use crate::http::Proxied;
use crate::journal::{Journal, What};
use crate::names::Names;
use crate::rules::Changes;
use crate::{LaunchError, Log, Plan, RunRules};

/// A run that was launched.
#[derive(Debug)]
pub struct Running {
    pub(crate) plan: Plan,
    pub(crate) link: Link,
    pub(crate) supervisor: i32,
    pub(crate) mask: Mask,
    /// Children that this process had before, which are none of the run's business.
    pub(crate) others: Vec<i32>,
    pub(crate) services: Services,
    pub(crate) control: control::Server,
    pub(crate) journal: Journal,
    pub(crate) log: Option<Log>,
    /// Whether every process was ordered to stop.
    pub(crate) paused: bool,
    /// When a command that has started is to be found, and its process id.
    pub(crate) begins: Option<(Instant, i32)>,
}

/// What surrounds a run in the launcher.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) names: Names,
    pub(crate) proxied: Proxied,
    /// `None` when they cannot change.
    pub(crate) rules: Option<RunRules>,
    /// Who is asked. Dropped when the run is over.
    pub(crate) listening: Option<Listening>,
}

impl Drop for Running {
    /// Reaps the supervisor, which ends as soon as it has told the end of the run. One that hangs in the kernel is left to it.
    fn drop(&mut self) {
        let Some(pid) = Pid::from_raw(self.supervisor) else {
            return;
        };
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) {
            let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&LONGEST_END));
        }
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
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
    /// A name could not be asked for again: what it stood for before is still what is allowed.
    NotRefreshed {
        /// The name.
        name: String,
        /// Why.
        why: String,
    },
    /// A request was allowed, and its server could not be reached, or is not whom it should be.
    UpstreamFailed {
        /// The host, as the request named it.
        host: String,
        /// Why.
        why: String,
    },
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
    /// Names that could not be asked for again, and why the last time.
    pub not_refreshed: BTreeMap<String, String>,
    /// Hosts of allowed requests that did not do their part, and why the last time.
    pub upstream_failed: BTreeMap<String, String>,
}

impl Running {
    /// The network rules, in runs where they may change.
    #[must_use]
    pub fn rules(&self) -> Option<&RunRules> {
        self.services.rules.as_ref()
    }

    /// What the names in the rules stand for, as far as it is known by now.
    #[must_use]
    pub fn names(&self) -> &sandlock_policy::Resolved {
        self.services.names.known()
    }

    /// Waits for the end of the command and of its whole tree, and calls `tell` at each event.
    ///
    /// # Errors
    ///
    /// When the command could not be started, or its supervisor died.
    pub fn wait(&mut self, mut tell: impl FnMut(&Event)) -> Result<Outcome, LaunchError> {
        let mut told = Told::default();
        let watched = self.watch(&mut told, &mut tell);
        self.services.listening = None;
        self.services.rules.iter().for_each(RunRules::end);
        // Before the end is told: nothing is asked for a run that is over.
        for happening in self.services.names.end() {
            self.happening(happening, &mut told, &mut tell);
        }
        let (happened, untold) = self.services.proxied.end();
        happened.into_iter().for_each(|event| self.event(event, &mut told, &mut tell));
        told.more_denials += untold;
        let watched = watched.map(|(ending, timed_out)| (self.by_the_limit(ending), timed_out));
        if let Some(refused) = self.plan.cgroup.as_ref().and_then(Cgroup::refused) {
            self.event(Event::Denied(refused), &mut told, &mut tell);
        }
        if let Ok((ending, _)) = watched {
            // Those that are only counted were not told.
            if told.untold + untold > 0 {
                self.note(|_| What::Dropped { count: told.untold + untold });
            }
            let journal = &self.journal;
            let told_of = |count| journal.entry(What::Dropped { count }).line();
            self.log.iter_mut().for_each(|log| log.wait_for_room(told_of));
            self.note(|_| What::Ended { ending });
        }
        let result = watched.map(|(ending, timed_out)| told.outcome(ending, timed_out));
        if result.is_err() {
            // The supervisor is gone or going: what it adopted falls to this process, and ends here.
            self.link.finish_sending();
            sandlock_supervisor::end_adopted(&self.others);
        }
        self.control.end();
        if let Some(temporary) = self.plan.temporary.take() {
            temporary.remove();
        }
        self.plan.cgroup = None;
        signal::restore(&self.mask);
        result
    }

    fn watch(&mut self, told: &mut Told, tell: Tell<'_>) -> Result<(Ending, bool), LaunchError> {
        let signals = SignalFd::new(&PASSED_ON).map_err(|errno| LaunchError::Launcher(errno.into()))?;
        let mut patience = Patience::new(self.plan.timeout, self.plan.grace);
        loop {
            if let Some((_, pid)) = self.begins.take_if(|(at, _)| *at <= Instant::now()) {
                self.begin(pid);
            }
            let woken = self.sleep(&signals, self.left(&patience));
            self.order_rules();
            if woken.signalled {
                self.pass_on(&signals);
            }
            if woken.news {
                for happening in self.services.names.take_news() {
                    self.happening(happening, told, tell);
                }
                // Before the supervisor, and so before the program: what it may connect to is known to be of its name.
                self.services.proxied.know(self.services.names.known());
                self.control.know(self.services.names.known());
            }
            self.look_after_control(&woken.control, &mut patience);
            if woken.judged {
                for event in self.services.proxied.take_news() {
                    self.event(event, told, tell);
                }
            }
            self.services.names.send_orders(&self.link);
            if woken.told {
                match self.link.try_receive::<Report>() {
                    Ok(Some(Report::Started(pid))) => {
                        let pid = self.known_outside_as(pid);
                        tell(&Event::Started(pid));
                        // Many commands are over before anybody could look for them.
                        let known = self.log.is_some() || self.control.name().is_some();
                        let after = if known { Duration::ZERO } else { BEFORE_IT_IS_FOUND };
                        self.begins = Some((Instant::now() + after, pid));
                    }
                    Ok(Some(Report::Denied { denied, who })) => {
                        self.note(|run| run.journal.denied(&denied, who, run.services.names.known()));
                        told.denied(denied, tell);
                    }
                    Ok(Some(Report::Enforced(serial))) => self.services.names.enforced(serial),
                    Ok(Some(Report::RulesEnforced(serial))) => {
                        self.services.rules.iter().for_each(|rules| rules.enforced(serial));
                        self.control.rules_enforced();
                    }
                    Ok(Some(Report::Paused(serial))) => match self.control.paused(serial) {
                        Some(true) => self.note(|_| What::Paused),
                        Some(false) => self.note(|_| What::Resumed),
                        None => {}
                    },
                    Ok(Some(Report::Asking(client))) => self.services.names.announced(client),
                    Ok(Some(Report::Redirected { from, to })) => self.services.proxied.announced(from, to),
                    Ok(Some(Report::Ports(ports))) => self.control.know_ports(ports),
                    Ok(Some(Report::Stopped)) => signal::stop_this_process(),
                    Ok(Some(Report::NotStarted(why))) => return Err(self.not_started(&why)),
                    Ok(Some(Report::NotPrepared(why))) => {
                        return Err(LaunchError::Root(Box::new(crate::root::error_of(&why))));
                    }
                    Ok(Some(Report::Ended { ending, unreported })) => {
                        told.more_denials += unreported;
                        told.untold += unreported;
                        return Ok((ending, patience.ran_out()));
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Ok(None) | Err(_) => return Err(LaunchError::SupervisorDied),
                }
            }
            match patience.due() {
                // What was stopped is not let go on for that.
                Some(Due::Ask) if self.paused => self.link.finish_sending(),
                Some(Due::Ask) => drop(self.link.try_send(&Order::Signal(SIGTERM))),
                Some(Due::Cut) => self.link.finish_sending(),
                None => {}
            }
        }
    }

    /// The kernel kills for want of memory as others do, and tells by a counter.
    fn by_the_limit(&self, ending: Ending) -> Ending {
        let ran_out = self.plan.cgroup.as_ref().and_then(Cgroup::ran_out_of_memory);
        ran_out.map_or(ending, |limit| Ending::OutOfMemory { limit })
    }

    /// The command runs: from here on it can be found.
    fn begin(&mut self, pid: i32) {
        let (names, adjustable) = (self.services.names.known(), self.services.rules.is_some());
        self.control.begin(pid, &self.plan.command, &self.plan.policy, names, adjustable);
        let words = || self.plan.command.iter().map(|word| word.to_string_lossy().into_owned());
        self.journal.name = match self.control.name() {
            Some(name) => name.to_owned(),
            None => words().next().unwrap_or_default(),
        };
        let command = words().collect();
        self.note(|_| What::Started { pid, command });
    }

    /// Does what is asked at the control socket.
    fn look_after_control(&mut self, ready: &[PollFlags], patience: &mut Patience) {
        let journal = &self.journal;
        let told_of = |count| journal.entry(What::Dropped { count }).line();
        let rules = self.services.rules.as_ref();
        for wish in self.control.proceed(ready, self.supervisor, rules, told_of) {
            match wish {
                Wish::End => patience.end_now(),
                Wish::Pause { serial, stop } => {
                    self.paused = stop;
                    self.services.names.send_later(Order::Pause { serial, stop });
                }
                Wish::Tell => self.services.names.send_later(Order::TellCallers),
            }
        }
    }

    /// Tells those who read along, if there are any.
    fn note(&mut self, what: impl FnOnce(&Running) -> What) {
        if self.control.has_readers() || self.log.is_some() {
            let line = self.journal.entry(what(self)).line();
            let journal = &self.journal;
            let told_of = |count| journal.entry(What::Dropped { count }).line();
            self.control.tell(&line, told_of);
            self.log.iter_mut().for_each(|log| log.write(&line, told_of));
        }
    }

    fn happening(&mut self, happening: Happening, told: &mut Told, tell: Tell<'_>) {
        if let Some(event) = Event::of(happening) {
            self.event(event, told, tell);
        }
    }

    fn event(&mut self, event: Event, told: &mut Told, tell: Tell<'_>) {
        let names = self.services.names.known();
        let what = match &event {
            Event::Denied(denied) => Some(self.journal.denied(denied, None, names)),
            event => What::of(event),
        };
        if let Some(what) = what {
            self.note(|_| what);
        }
        told.event(event, tell);
    }

    fn left(&self, patience: &Patience) -> Option<Duration> {
        let passes = self.services.rules.as_ref().and_then(RunRules::next_end);
        let passes = passes.map(|at| at.saturating_duration_since(Instant::now()));
        let begins = self.begins.map(|(at, _)| at.saturating_duration_since(Instant::now()));
        patience.left().into_iter().chain(self.control.left()).chain(passes).chain(begins).min()
    }

    /// Orders the rules that changed, or passed.
    fn order_rules(&mut self) {
        if let Some(order) = self.services.rules.as_ref().and_then(RunRules::order) {
            if let Order::Rules { rules, .. } = &order {
                let network = self.plan.network.with_rules(rules.clone());
                self.services.names.set_rules(network.all_rules());
                let changes = Changes::between(&self.journal.rules, rules);
                self.journal.rules = Arc::new(rules.clone());
                self.control.know_changes(&changes);
                for (verdict, rule) in changes.iter() {
                    self.note(|_| What::Rule { verdict: verdict.to_owned(), rule: rule.to_string() });
                }
            }
            self.services.names.send_later(order);
        }
    }

    /// Sleeps until the supervisor or the names tell something, a signal came, or the time is up.
    fn sleep(&self, signals: &SignalFd, left: Option<Duration>) -> Woken {
        let left = left
            .map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
        let room = if self.services.names.wants_to_send() { PollFlags::OUT } else { PollFlags::empty() };
        let rules = self.services.rules.as_ref().map_or(signals.as_fd(), RunRules::bell);
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.link.as_fd(), PollFlags::IN | room),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.services.names.bell(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.services.proxied.bell(), PollFlags::IN),
            PollFd::from_borrowed_fd(rules, PollFlags::IN),
        ];
        fds.extend(self.control.watches().map(|(fd, wanted)| PollFd::from_borrowed_fd(fd, wanted)));
        if poll(&mut fds, left.as_ref()).is_err() {
            return Woken::default();
        }
        let ready: Vec<_> = fds.iter().map(PollFd::revents).collect();
        let [link, signals, names, proxied, _, ref control @ ..] = ready[..] else {
            return Woken::default();
        };
        Woken {
            control: control.to_vec(),
            told: !(link - PollFlags::OUT).is_empty(),
            signalled: !signals.is_empty(),
            news: !names.is_empty(),
            judged: !proxied.is_empty(),
        }
    }

    /// A signal that a process sent to the launcher is meant for the command. One of the terminal went to the whole
    /// foreground group, so that the command has it already.
    /// SIGHUP of a process is the log's, if there is a file to be opened anew.
    fn pass_on(&mut self, signals: &SignalFd) {
        while let Some(received) = signals.next() {
            if received.from_a_process
                && received.number == SIGHUP
                && let Some(log) = self.log.as_mut().filter(|log| log.is_a_file())
            {
                log.reopen();
            } else if received.from_a_process {
                let _ = self.link.try_send(&Order::Signal(received.number));
            }
        }
    }

    /// The number that a process of the run has for the launcher.
    fn known_outside_as(&self, pid: i32) -> i32 {
        let apart = self.plan.root.as_ref().is_some_and(|root| root.namespaces.processes);
        Some(pid).filter(|_| !apart).or_else(|| crate::root::outside(self.supervisor, pid)).unwrap_or(pid)
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

type Tell<'a> = &'a mut dyn FnMut(&Event);

/// Why the launcher woke up.
#[derive(Default)]
struct Woken {
    told: bool,
    signalled: bool,
    news: bool,
    judged: bool,
    /// What became of the control socket, and of each who is connected to it.
    control: Vec<PollFlags>,
}

/// What a run has told so far, counted.
#[derive(Default)]
struct Told {
    denials: BTreeMap<Denied, u64>,
    more_denials: u64,
    /// Those among them that were not told, but counted by others.
    untold: u64,
    not_refreshed: BTreeMap<String, String>,
    upstream_failed: BTreeMap<String, String>,
}

impl Event {
    /// What a happening is to who waits for the run; `None` for one that this program does not know.
    pub(crate) fn of(happening: Happening) -> Option<Event> {
        match happening {
            Happening::Refused(denied) => Some(Event::Denied(denied)),
            Happening::NotRefreshed { name, why } => Some(Event::NotRefreshed { name, why }),
            _ => None,
        }
    }
}

impl Told {
    fn denied(&mut self, denied: Denied, tell: Tell<'_>) {
        tell(&Event::Denied(denied.clone()));
        if self.denials.len() < MOST_DENIALS || self.denials.contains_key(&denied) {
            *self.denials.entry(denied).or_insert(0) += 1;
        } else {
            self.more_denials += 1;
        }
    }

    fn event(&mut self, event: Event, tell: Tell<'_>) {
        match &event {
            Event::Denied(denied) => return self.denied(denied.clone(), tell),
            Event::NotRefreshed { name, why } => {
                self.not_refreshed.insert(name.clone(), why.clone());
            }
            // A program chooses what hosts it names.
            Event::UpstreamFailed { host, why } if self.upstream_failed.len() < MOST_FAILED => {
                self.upstream_failed.insert(host.clone(), why.clone());
            }
            _ => {}
        }
        tell(&event);
    }

    fn outcome(self, ending: Ending, timed_out: bool) -> Outcome {
        let Told { denials, more_denials, untold: _, not_refreshed, upstream_failed } = self;
        Outcome { ending, timed_out, denials, more_denials, not_refreshed, upstream_failed }
    }
}

/// The time that a command has: when it is up it is asked to end, and a little later it is ended.
struct Patience {
    ask_at: Option<Instant>,
    grace: Duration,
    cut_at: Option<Instant>,
    ran_out: bool,
    /// Somebody asked for the end.
    ended: bool,
}

enum Due {
    Ask,
    Cut,
}

impl Patience {
    fn new(limit: Option<Duration>, grace: Option<Duration>) -> Self {
        Patience {
            ask_at: limit.and_then(|limit| Instant::now().checked_add(limit)),
            grace: grace.unwrap_or(GRACE),
            cut_at: None,
            ran_out: false,
            ended: false,
        }
    }

    /// As if the time were up.
    fn end_now(&mut self) {
        if self.cut_at.is_none() {
            self.ended = true;
            self.ask_at = Some(Instant::now());
        }
    }

    fn left(&self) -> Option<Duration> {
        self.ask_at.or(self.cut_at).map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn due(&mut self) -> Option<Due> {
        let now = Instant::now();
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask_at = None;
            self.cut_at = now.checked_add(self.grace);
            self.ran_out = !self.ended;
            return Some(Due::Ask);
        }
        self.cut_at.take_if(|at| *at <= now).map(|_| Due::Cut)
    }

    fn ran_out(&self) -> bool {
        self.ran_out
    }
}

const LONGEST_END: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
const GRACE: Duration = Duration::from_secs(1);
const BEFORE_IT_IS_FOUND: Duration = Duration::from_millis(5);
const MOST_DENIALS: usize = 1000;
const MOST_FAILED: usize = 100;
const SIGHUP: i32 = 1;
const SIGTERM: i32 = 15;
/// HUP, INT, QUIT, USR1, USR2, TERM, CONT, TSTP, TTIN, TTOU. The last three are blocked so that the launcher stops
/// only when the command did.
const PASSED_ON: [i32; 10] = [1, 2, 3, 10, 12, 15, 18, 20, 21, 22];
