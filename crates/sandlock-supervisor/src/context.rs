//! What handlers work with: the policy, the listener, and the callers' descriptors.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use sandlock_policy::{Allowed, BindPolicy, Denied, Destination, NetworkPolicy, Protocol, Tree};
use sandlock_sys::interrupt::Interrupter;
use sandlock_sys::listener::Listener;
use sandlock_sys::pidfd::TaskFd;
use sandlock_sys::{ChildFd, Errno, Tid};

use crate::call::{Call, Failure};
use crate::decision::Desk;
use crate::fs::holes::Holes;
use crate::fs::served::ServedFile;
use crate::fs::{place, proc};
use crate::message::Link;
use crate::net::connections::Connections;
use crate::net::made::{Found, Made};
use crate::net::port_space::SharedPorts;
use crate::table::Needs;
use crate::task::inner::InnerDomains;
use crate::task::limits::Limited;
use crate::task::shared_memory::Segments;
use crate::task::trees::{self, Trees};

/// What is true of the whole run, whichever thread handles a call.
pub struct Run {
    /// Who may go where, now: names change what they stand for while others look.
    pub network: Arc<ArcSwap<NetworkPolicy>>,
    /// Who may bind what.
    pub bind: Arc<BindPolicy>,
    /// The directories and files that the command may write, by their real paths.
    pub writable: Vec<PathBuf>,
    /// Files that are served, besides those about names.
    pub(crate) served: Vec<ServedFile>,
    /// What this kernel and policy made of the table.
    pub needs: Needs,
    /// What is denied in places that are granted.
    pub(crate) holes: Holes,
    /// What is counted and shared out.
    pub(crate) limits: Limited,
    pub(crate) listener: Arc<Listener>,
    /// Where no descriptor of a caller can be taken.
    pub(crate) made: Option<Arc<Made>>,
    /// `None` when its ports are the machine's.
    pub(crate) ports: Option<Arc<SharedPorts>>,
    /// The command's process.
    pub(crate) command: i32,
    pub(crate) inner_domains: InnerDomains,
    pub(crate) segments: Mutex<Segments>,
    pub(crate) link: Arc<Link>,
    /// In runs whose rules may change.
    pub(crate) connections: Option<Arc<Connections>>,
    /// In runs where somebody is asked.
    pub(crate) desk: Option<Arc<Desk>>,
    /// In runs with rules for trees of processes.
    pub(crate) trees: Option<Mutex<Trees>>,
}

/// What every handler is given: the run, and what belongs to the thread that handles the call.
pub struct Context<'a> {
    pub(crate) run: &'a Run,
    /// Keeps a blocking call from blocking this thread.
    pub interrupter: &'a Interrupter,
    proc_root: OnceCell<Option<proc::Root>>,
    /// When a call last used up the long patience.
    hung_at: Cell<Option<Instant>>,
    /// What the call of this moment was found to be about, of the sockets that were made.
    pub(crate) found: Found,
    groups: RefCell<HashMap<Tid, i32>>,
    tasks: RefCell<HashMap<Tid, TaskFd>>,
}

impl Deref for Context<'_> {
    type Target = Run;

    fn deref(&self) -> &Run {
        self.run
    }
}

impl<'a> Context<'a> {
    pub(crate) fn new(run: &'a Run, interrupter: &'a Interrupter) -> Self {
        Context {
            run,
            interrupter,
            proc_root: OnceCell::new(),
            hung_at: Cell::default(),
            found: Cell::default(),
            groups: RefCell::default(),
            tasks: RefCell::default(),
        }
    }

    /// Takes the open file behind a descriptor of the caller. What the caller does to its table afterwards
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// EBADF when there is none; EPERM when the caller cannot be looked into.
    pub fn pin(&self, call: &Call, fd: ChildFd) -> Result<OwnedFd, Failure> {
        if let Some(made) = &self.made {
            return made.find(&self.found, call.tid, fd);
        }
        let mut tasks = self.tasks.borrow_mut();
        if let Some(task) = tasks.get(&call.tid) {
            match task.descriptor(fd) {
                // The number was given to another thread since: the handle proves it by finding nobody.
                Err(Errno::SRCH) => {
                    self.groups.borrow_mut().remove(&call.tid);
                    tasks.remove(&call.tid)
                }
                result => return Ok(result?),
            };
        }
        let opened =
            if self.needs.thread_handles { TaskFd::open(call.tid) } else { TaskFd::open_group_of(call.tid) };
        let task = match opened {
            Err(Errno::SRCH) => return Err(Failure::Gone),
            opened => opened?,
        };
        let pinned = match task.descriptor(fd) {
            Err(Errno::SRCH) => return Err(Failure::Gone),
            result => result?,
        };
        // A handle of the whole group says nothing of a thread whose number was given to another group since.
        if self.needs.thread_handles {
            if tasks.len() >= MOST_HANDLES {
                tasks.clear();
                self.groups.borrow_mut().clear();
            }
            tasks.insert(call.tid, task);
        }
        Ok(pinned)
    }

    /// Takes what a descriptor of the caller leads to: the open file, or where none can be taken a handle of the same inode
    /// (`O_PATH`), with which paths can begin, and metadata be changed.
    ///
    /// # Errors
    ///
    /// As [`Context::pin`].
    pub(crate) fn pin_place(&self, call: &Call, fd: ChildFd) -> Result<OwnedFd, Failure> {
        match self.needs.takes_descriptors {
            true => self.pin(call, fd),
            false => Ok(place::of_descriptor(call.tid, fd)?),
        }
    }

    /// The process that a thread belongs to, asked of the machine by `ask` unless its handle is kept: a handle that finds
    /// its thread proves that the number means what it meant.
    pub(crate) fn group_of(&self, tid: Tid, ask: impl FnOnce() -> Option<i32>) -> Option<i32> {
        let mut groups = self.groups.borrow_mut();
        if let Some(group) = groups.get(&tid) {
            return Some(*group);
        }
        let group = ask()?;
        if self.tasks.borrow().contains_key(&tid) {
            groups.insert(tid, group);
        }
        Some(group)
    }

    /// Makes a call that may block for a moment; then it fails with EINTR.
    ///
    /// On this machine what can be reached answers before a call would block, so the limit is there for what hangs; for
    /// a while after something did, it is a short one. Short limits are dear: they become the processor's next timer,
    /// and in a virtual machine setting that leaves the machine.
    pub(crate) fn briefly<T>(
        &self,
        on_this_machine: bool,
        call: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let wary = || self.hung_at.get().is_some_and(|at| at.elapsed() < WARY);
        if !on_this_machine || wary() {
            return self.interrupter.within(PATIENCE, call);
        }
        let result = self.interrupter.within(LONG_PATIENCE, call);
        if matches!(result, Err(Errno::INTR)) {
            self.hung_at.set(Some(Instant::now()));
        }
        result
    }

    /// The machine's `/proc`.
    pub(crate) fn proc_root(&self) -> Option<&proc::Root> {
        self.proc_root.get_or_init(proc::Root::open).as_ref()
    }

    /// Where traffic goes that is for a socket of the run's own, in its own port space.
    pub(crate) fn own(&self, destination: &Destination) -> Option<Allowed<Destination>> {
        self.ports.as_ref()?.lock().own(destination)
    }

    /// Whose rules the caller has.
    ///
    /// # Errors
    ///
    /// [`Failure::Gone`].
    pub(crate) fn tree_of(&self, call: &Call) -> Result<Tree, Failure> {
        let Some(trees) = &self.trees else {
            return Ok(Tree::Run);
        };
        let tree = trees::of(trees, call.tid).tree();
        // The number meant this caller while it was looked at.
        self.confirm(call)?;
        Ok(tree)
    }

    /// Whether a datagram may be sent, and where it goes then.
    ///
    /// # Errors
    ///
    /// As [`NetworkPolicy::check`].
    pub(crate) fn check_datagram(
        &self,
        tree: Tree,
        destination: Destination,
    ) -> Result<Allowed<Destination>, Denied> {
        if let Some(own) = self.own(&destination) {
            return Ok(own);
        }
        let checked = self.network.load().of(tree).check(destination);
        match (&self.ports, checked) {
            (Some(ports), Err(denied)) => ports.lock().own_unbound(&destination).ok_or(denied),
            (_, checked) => checked,
        }
    }

    /// The run's port that a port of the machine stands for: another one only in a port space of the run's own.
    pub fn virtual_port(&self, protocol: Protocol, real: u16) -> u16 {
        self.ports.as_ref().map_or(real, |ports| ports.lock().virtual_port(protocol, real))
    }

    /// To be asked after the last look at the caller's descriptors and memory, and before anything is done: if
    /// the call still waits, the thread number meant this caller all along.
    ///
    /// # Errors
    ///
    /// [`Failure::Gone`].
    pub fn confirm(&self, call: &Call) -> Result<(), Failure> {
        if self.listener.is_waiting(call.id) { Ok(()) } else { Err(Failure::Gone) }
    }
}

/// Longer than a tick of the kernel's clock (CONFIG_HZ of 250 or more), which is set anyway.
const LONG_PATIENCE: Duration = Duration::from_millis(5);
/// So that calls that hang, however many are made, hold up the others for no more than a twentieth of the time.
const WARY: Duration = Duration::from_millis(100);
/// For what may hang.
pub(crate) const PATIENCE: Duration = Duration::from_micros(100);
/// Handles of threads that are kept: opening one costs more than using it.
const MOST_HANDLES: usize = 256;
