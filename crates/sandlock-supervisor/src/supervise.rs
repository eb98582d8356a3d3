//! The supervisor's life: confine itself, start the command, keep it company, end the tree.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit};
use sandlock_filter::Table;
use sandlock_policy::{BindPolicy, Destination, Limits, NetworkPolicy, Publish};
use sandlock_sys::command::{self, Command, StartError};
use sandlock_sys::landlock::{Ruleset, SignalScope};
use sandlock_sys::signal::{self, SignalFd};
use sandlock_sys::{Errno, privileges, process};

use crate::call::Handler;
use crate::context::Run;
use crate::decision::{Decisions, Desk};
use crate::fs::holes::Holes;
use crate::fs::mounted::Mounted;
use crate::fs::served::ServedFile;
use crate::message::{Ending, Link, NotStarted, Order, Report, Step};
use crate::net::connections::Connections;
use crate::net::port_space::SharedPorts;
use crate::receive::{Events, Receiving, STACK, Source, take};
use crate::table::Needs;
use crate::task::inner::InnerDomains;
use crate::task::limits::{Lasting, Limited};
use crate::task::memory::{Meter, Passed};
use crate::task::pause::Paused;
use crate::task::tree;
use crate::task::trees::{TreeRoot, Trees};
use crate::waiting::{ToWaiting, timespec};
use crate::watch::Watch;

/// All that a supervisor needs, prepared by the launcher before it forks.
pub struct Supervisor<'a> {
    /// The launcher's process id: a process outside of the sandbox.
    pub launcher: i32,
    /// The domain that it lives in itself.
    pub own_ruleset: &'a Ruleset,
    /// Descriptors that the command is to inherit, beyond the standard ones.
    pub inherited: Vec<OwnedFd>,
    /// The command, ready to be started.
    pub command: Command<'a>,
    /// The table that the command's filter was compiled from.
    pub table: Table<Handler>,
    /// What that table was made for.
    pub needs: Needs,
    /// Who may go where.
    pub network: NetworkPolicy,
    /// Who may bind what.
    pub bind: BindPolicy,
    /// Ports of its own port space that are the machine's.
    pub published: Vec<Publish>,
    /// The real paths that the command may write.
    pub writable: Vec<PathBuf>,
    /// Files of the run's own, besides those about names.
    pub served: Vec<ServedFile>,
    /// Whom calls are asked about, and which.
    pub decisions: Option<Decisions>,
    /// Files that are there by a mount, and change.
    pub mounted: Mounted,
    /// Whether the launcher wants to know who was refused something.
    pub tell_callers: bool,
    /// Whether the network rules may change.
    pub adjustable: bool,
    /// What is denied in places that are granted.
    pub holes: Holes,
    /// What the run may use up.
    pub limits: Limits,
    /// Whether the run goes on until all of its tree has ended, not only the command.
    pub keep_background: bool,
    /// Programs whose descendants have network rules of their own, in the order of those rules.
    pub roots: Vec<TreeRoot>,
}

/// Lives as the supervisor, in a process that was forked for it, and ends that process. `link` is its end of the pair.
pub fn supervise(link: Link, supervisor: Supervisor<'_>) -> ! {
    // What a panic prints would go to the program's standard error, under the program's name.
    std::panic::set_hook(Box::new(|_| {}));
    let link = Arc::new(link);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(supervisor, &link)));
    match ended {
        Ok(Ok(())) => process::exit_now(0),
        Ok(Err(failed)) => {
            let _ = link.send(&Report::NotStarted(failed));
        }
        Err(_) => {}
    }
    process::exit_now(1)
}

fn run(supervisor: Supervisor<'_>, link: &Arc<Link>) -> Result<(), NotStarted> {
    let Supervisor {
        launcher,
        own_ruleset,
        inherited,
        mut command,
        table,
        needs,
        network,
        bind,
        published,
        writable,
        served,
        decisions,
        mounted,
        tell_callers,
        adjustable,
        holes,
        limits,
        keep_background,
        roots,
    } = supervisor;
    // As they are before anything was executed.
    let program = Path::new(OsStr::from_bytes(command.program.as_bytes())).to_owned();
    let trees = needs.trees.map(|_| Trees::new(roots, &program));
    let signals = take_signals().map_err(at(Step::Supervisor))?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let scope = confine(own_ruleset, launcher)?;
    let open_files = raise_open_files();
    command.open_files = command.open_files.or(open_files);

    let unreported = Arc::new(AtomicU64::new(0));
    let bell = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(at(Step::Supervisor));
    let (bell, waiting) = (bell()?, bell()?);
    let tell_callers = Arc::new(AtomicBool::new(tell_callers));
    let events = Events {
        link: Arc::clone(link),
        unreported: Arc::clone(&unreported),
        tell_callers: Arc::clone(&tell_callers),
    };
    let network = Arc::new(ArcSwap::from_pointee(network));
    let connections = adjustable.then(Arc::<Connections>::default);
    let desk = decisions.map(|decisions| {
        let connections = connections.clone().unwrap_or_default();
        Desk::new(decisions, Arc::clone(&network), events.clone(), connections).map(Arc::new)
    });
    let desk = desk.transpose().map_err(at(Step::Supervisor))?;
    let lasting = limits.memory.map(|_| Lasting::default());
    let limited = Limited::new(&limits, lasting.clone());
    let over_memory = Arc::new(OnceLock::new());
    let another = |bell: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(bell, 0).map_err(at(Step::Supervisor));
    let passed = Passed { limit: Arc::clone(&over_memory), bell: another(&bell)? };
    let ring = another(&bell)?;

    let keep: Vec<_> = inherited.iter().map(AsFd::as_fd).collect();
    process::close_on_exec_except(&keep).map_err(at(Step::Supervisor))?;
    let started = command::start(&command).map_err(not_started)?;
    drop(inherited);
    // The command's input and output are its own: who reads or writes the other end waits for it alone.
    if let Ok(nothing) = nothing {
        release_standard_descriptors(&nothing);
    }
    let listener = Arc::new(started.listener);
    let takers = if needs.counts_processes { TAKERS } else { 0 };
    let (taken, calls) = mpsc::channel();
    let to_waiting = ToWaiting::new(waiting, Arc::clone(&listener), desk.clone());
    let receiving = Arc::new(Receiving {
        run: Run {
            network: Arc::clone(&network),
            bind: Arc::new(bind),
            ports: needs.port_space.then(|| Arc::new(SharedPorts::new(&published))),
            writable,
            served,
            needs,
            holes,
            limits: limited,
            listener: Arc::clone(&listener),
            made: (!needs.takes_descriptors).then(Arc::default),
            command: started.pid,
            inner_domains: InnerDomains::default(),
            segments: Mutex::default(),
            link: Arc::clone(link),
            connections: connections.clone(),
            desk: desk.clone(),
            trees: trees.map(|trees| Mutex::new(trees.with_command(started.pid))),
        },
        table,
        source: if takers == 0 { Source::Listener } else { Source::Takers(Mutex::new(calls)) },
        events,
        to_waiting,
        bell: ring,
        threads: Arc::default(),
        apart: AtomicBool::new(true),
    });
    // Only now, while the command loads: its calls wait until somebody receives them.
    let spawned = receiving.start();
    let metered = limits.memory.zip(lasting).map_or(Ok(()), |(limit, lasting)| {
        let watch = move || Meter::new(limit.bytes(), lasting).watch(&passed);
        std::thread::Builder::new().stack_size(STACK).spawn(watch).map(drop)
    });
    let taking = (0..takers).try_for_each(|_| {
        let (listener, taken) = (Arc::clone(&listener), taken.clone());
        std::thread::Builder::new().stack_size(STACK).spawn(move || take(&listener, &taken)).map(drop)
    });
    drop(taken);
    if let Err(error) = spawned.and(metered).and(taking) {
        tree::end(scope.as_ref());
        return Err(NotStarted { step: Step::Supervisor, errno: error.raw_os_error().unwrap_or(0) });
    }
    // A launcher that is gone is noticed by the loop.
    let _ = link.send(&Report::Started(started.pid));

    let company = Company {
        link,
        network,
        desk,
        mounted,
        to_confirm: Cell::new(None),
        rules_to_confirm: Cell::new(None),
        pause_to_confirm: Cell::new(None),
        paused: RefCell::new(None),
        scope: scope.as_ref(),
        connections,
        tell_callers,
        signals,
        bell,
        receiving,
        over_memory,
        keep_background,
        ended: OnceCell::new(),
        command: started.pid,
    };
    let ending = company.keep();
    tree::end(scope.as_ref());
    let _ = link.send(&Report::Ended { ending, unreported: unreported.load(Ordering::Relaxed) });
    Ok(())
}

/// Blocks every signal that would end or stop the supervisor: terminals send them to the whole group.
fn take_signals() -> Result<SignalFd, Errno> {
    signal::block(&signal::ALL_THAT_END_OR_STOP)?;
    SignalFd::new(&[signal::CHILD])
}

/// Gives up everything that the supervisor does not need, in the order in which it becomes impossible.
fn confine(own_ruleset: &Ruleset, launcher: i32) -> Result<Option<SignalScope>, NotStarted> {
    privileges::become_subreaper().map_err(at(Step::Supervisor))?;
    privileges::set_no_new_privileges().map_err(at(Step::Supervisor))?;
    privileges::drop_capabilities().map_err(at(Step::Capabilities))?;
    // Not dumpable: processes of the same user cannot look into it either.
    privileges::set_not_dumpable().map_err(at(Step::Supervisor))?;
    own_ruleset.restrict_self().map_err(at(Step::Landlock))?;
    Ok(own_ruleset.prove_signal_scope(launcher))
}

/// Pinning takes descriptors: as many as are allowed. Returns the limits that the command is to have.
fn raise_open_files() -> Option<(u64, u64)> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current?, limit.maximum?);
    let raised = Rlimit { current: Some(hard), maximum: Some(hard) };
    rustix::process::setrlimit(Resource::Nofile, raised).ok()?;
    Some((soft, hard))
}

fn release_standard_descriptors(nothing: &OwnedFd) {
    // A descriptor that stays is held open a little longer; nothing depends on it.
    let _ = rustix::stdio::dup2_stdin(nothing);
    let _ = rustix::stdio::dup2_stdout(nothing);
    let _ = rustix::stdio::dup2_stderr(nothing);
}

/// What the main thread does while the command runs.
struct Company<'a> {
    link: &'a Link,
    network: Arc<ArcSwap<NetworkPolicy>>,
    mounted: Mounted,
    /// The last order about a name that the launcher has not been told of as enforced; it stands for those before.
    to_confirm: Cell<Option<u64>>,
    /// The same for orders of rules.
    rules_to_confirm: Cell<Option<u64>>,
    /// The same for orders to stop.
    pause_to_confirm: Cell<Option<u64>>,
    /// While every process is stopped.
    paused: RefCell<Option<Paused>>,
    scope: Option<&'a SignalScope>,
    connections: Option<Arc<Connections>>,
    /// Shared with the receiving thread.
    tell_callers: Arc<AtomicBool>,
    /// Where answers come in for calls that are held.
    desk: Option<Arc<Desk>>,
    signals: SignalFd,
    bell: OwnedFd,
    receiving: Arc<Receiving>,
    /// Set by who measures.
    over_memory: Arc<OnceLock<u64>>,
    keep_background: bool,
    /// How the command ended, while the run goes on.
    ended: OnceCell<Ending>,
    command: i32,
}

impl Company<'_> {
    fn keep(&self) -> Ending {
        let mut watch = Watch::default();
        loop {
            let (children, orders, rang) = self.sleep(watch.next_look());
            if rang {
                let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
                watch.wake();
            }
            if watch.finds_it_hanging(&self.receiving.threads) && self.receiving.start().is_ok() {
                watch.replaced();
            }
            if children && let Some(ending) = self.reap().and_then(|ending| self.left_alone(ending)) {
                return ending;
            }
            if let Some(limit) = self.over_memory.get() {
                return Ending::OutOfMemory { limit: *limit };
            }
            if orders && self.obey().is_err() {
                return Ending::Cut;
            }
            self.confirm();
        }
    }

    /// Tells the launcher which orders about names are enforced, as soon as there is room.
    fn confirm(&self) {
        if let Some(serial) = self.to_confirm.get()
            && self.link.try_send(&Report::Enforced(serial)) != Err(Errno::AGAIN)
        {
            self.to_confirm.set(None);
        }
        if let Some(serial) = self.rules_to_confirm.get()
            && self.link.try_send(&Report::RulesEnforced(serial)) != Err(Errno::AGAIN)
        {
            self.rules_to_confirm.set(None);
        }
        if let Some(serial) = self.pause_to_confirm.get()
            && self.link.try_send(&Report::Paused(serial)) != Err(Errno::AGAIN)
        {
            self.pause_to_confirm.set(None);
        }
    }

    /// Sleeps until something happens, or it is time to look. Says whether a child changed, an order came, the bell rang.
    fn sleep(&self, look: Option<Instant>) -> (bool, bool, bool) {
        let patience = look.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        let confirms = [&self.to_confirm, &self.rules_to_confirm, &self.pause_to_confirm]
            .iter()
            .any(|serial| serial.get().is_some());
        let room = if confirms { PollFlags::OUT } else { PollFlags::empty() };
        let mut fds = [
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.link.as_fd(), PollFlags::IN | room),
            PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN),
        ];
        if poll(&mut fds, patience.as_ref()).is_err() {
            // EINTR. Nothing can be said of the descriptors.
            return (false, false, false);
        }
        let [children, orders, rang] = fds.map(|fd| !fd.revents().is_empty());
        (children, orders, rang)
    }

    /// The end of the run, once the command has ended so: at once, or when nothing of its tree is left.
    fn left_alone(&self, ending: Ending) -> Option<Ending> {
        let ending = *self.ended.get_or_init(|| ending);
        (!self.keep_background || tree::reap_all()).then_some(ending)
    }

    /// Reaps the command and adopted orphans. How the command ended, if it did.
    fn reap(&self) -> Option<Ending> {
        while self.signals.next().is_some() {}
        if let Some(ending) = self.ended.get() {
            return Some(*ending);
        }
        while let Some((pid, status)) = tree::next_change() {
            if pid.as_raw_pid() != self.command {
                continue;
            }
            if let Some(code) = status.exit_status() {
                return Some(Ending::Exited(code));
            }
            if let Some(signal) = status.terminating_signal() {
                return Some(Ending::Signaled(signal));
            }
            // Whoever paused the run did not stop the command alone, and the launcher has more to do.
            if status.stopped() && self.paused.borrow().is_none() {
                let _ = self.link.try_send(&Report::Stopped);
            }
        }
        None
    }

    /// Ends the connections that neither a rule nor somebody who was asked grants any more.
    fn cut(&self) {
        let network = self.network.load();
        let is_approved = |tree, destination: Destination| {
            self.desk.as_ref().is_some_and(|desk| desk.approves(destination))
                && !network.of(tree).forbids(destination)
        };
        let is_granted =
            |tree, destination| network.of(tree).check(destination).is_ok() || is_approved(tree, destination);
        if let Some(connections) = &self.connections {
            self.receiving.threads.settle();
            connections.cut(is_granted);
        }
    }

    /// Signals the command; those that it left behind, when it has ended: its number may be somebody else's by then.
    fn signal(&self, number: i32) {
        match self.ended.get() {
            None => signal::send(self.command, number),
            Some(_) => tree::descendants().into_iter().for_each(|pid| signal::send(pid, number)),
        }
    }

    /// # Errors
    ///
    /// When the launcher has no more to say: the run is to end.
    fn obey(&self) -> Result<(), ()> {
        match self.link.try_receive::<Order>() {
            // A paused run goes on as a whole, when it is told to.
            Ok(Some(Order::Signal(signal::CONTINUE))) if self.paused.borrow().is_some() => {}
            Ok(Some(Order::Signal(number))) => self.signal(number),
            Ok(Some(Order::Pause { serial, stop })) => {
                let mut paused = self.paused.borrow_mut();
                match stop {
                    true => *paused = Some(Paused::stop(self.scope, paused.take())),
                    false => paused.take().into_iter().for_each(Paused::go_on),
                }
                self.pause_to_confirm.set(Some(serial));
            }
            Ok(Some(Order::TellCallers)) => self.tell_callers.store(true, Ordering::Relaxed),
            Ok(Some(Order::Name { serial, state })) => {
                // This thread alone changes it. The other one looks without a lock, and sees the old or the new.
                self.network.store(Arc::new(self.network.load().with(state)));
                self.mounted.rewrite(&self.network.load());
                self.to_confirm.set(Some(serial));
            }
            Ok(Some(Order::Rules { serial, rules, cut })) => {
                self.network.store(Arc::new(self.network.load().with_rules(rules)));
                self.mounted.rewrite(&self.network.load());
                if cut {
                    self.cut();
                }
                self.rules_to_confirm.set(Some(serial));
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(None) | Err(_) => return Err(()),
        }
        Ok(())
    }
}

fn at(step: Step) -> impl Fn(Errno) -> NotStarted {
    move |errno| NotStarted { step, errno: errno.raw_os_error() }
}

fn not_started(error: StartError) -> NotStarted {
    let (step, errno) = match error {
        StartError::Clone(errno) | StartError::Attributes(errno) => (Step::Process, errno),
        StartError::Directory(errno) => (Step::Directory, errno),
        StartError::Landlock(errno) => (Step::Landlock, errno),
        StartError::Filter(errno) => (Step::Filter, errno),
        StartError::Exec(errno) => (Step::Exec, errno),
        _ => (Step::Process, Errno::IO),
    };
    at(step)(errno)
}

/// Where it matters how soon a call is taken: one takes while the other hands over.
const TAKERS: usize = 2;
