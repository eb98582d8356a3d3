//! THE table: for every system call, whether it passes, fails with an errno, or is trapped to a handler, and why.
//!
//! The filter is compiled from it, the receiver dispatches on it, `sandlock explain` prints it. A call that is not
//! in it answers ENOSYS, so a newer kernel opens no hole. One file a family; each row says its reason.

mod file;
mod ipc;
mod memory;
mod network;
mod process;
mod system;

use sandlock_filter::{Action, Clause, Row, Rule, Table, TableError};
use sandlock_sys::Errno;
use sandlock_sys::command::ExecKey;
use syscalls::Sysno;

use crate::call::Handler;

/// What the policy and the kernel make of the table: a call that need not be seen is not trapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    /// UDP sockets may be made.
    pub udp: bool,
    /// Ping sockets may be made.
    pub icmp: bool,
    /// Unix datagram sockets may be made.
    pub unix_datagrams: bool,
    /// Where a datagram goes is in memory, and some rule restricts it.
    pub datagrams_checked: bool,
    /// Destinations of `connect` must be seen: false only without a supervisor.
    pub supervised: bool,
    /// Landlock keeps signals and abstract sockets inside (ABI 6).
    pub scoped: bool,
    /// Who decides on `bind`.
    pub binding: Binding,
    /// Somebody is asked about ports, who may grant what no rule does.
    pub binds_asked: bool,
    /// The run has a port space of its own.
    pub port_space: bool,
    /// Every TCP socket may listen.
    pub listening_free: bool,
    /// Landlock decides on truncation (ABI 3).
    pub landlock_truncate: bool,
    /// Files are served to who reads them: those about names, or others of the run's own.
    pub serves: bool,
    /// `/proc` is not the command's to open: that is done on behalf, for what is the sandbox's own.
    pub own_proc: bool,
    /// Somebody is asked about executions, but for the command's own, which has this key.
    pub execs_asked: Option<ExecKey>,
    /// Places that are granted have holes.
    pub holes: bool,
    /// There is a limit on processes and threads.
    pub counts_processes: bool,
    /// There is a limit on the processors that may be used.
    pub keeps_processors: bool,
    /// Files in memory are made so that they cannot be executed.
    pub no_code_in_memory_files: bool,
    /// Files in memory are kept in sight.
    pub watches_memory_files: bool,
    /// Processes are told apart by what they descend from; the command's own execution has this key.
    pub trees: Option<ExecKey>,
    /// Threads with descriptor tables of their own can be told apart (Linux 6.9).
    pub thread_handles: bool,
    /// Nobody around refuses `pidfd_getfd(2)`.
    pub takes_descriptors: bool,
}

impl Needs {
    /// What the command's own execution is known by.
    #[must_use]
    pub fn exec_key(&self) -> Option<ExecKey> {
        self.execs_asked.or(self.trees).filter(|_| self.supervised)
    }

    /// Whether sockets are made on behalf, since a descriptor of a caller cannot be taken.
    pub(crate) fn makes_sockets(&self) -> bool {
        self.supervised && !self.takes_descriptors
    }
}

/// Who decides on `bind`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// There is nothing to refuse but by the file rules: the kernel alone.
    Free,
    /// Landlock, on whatever goes on; the supervisor looks before, so that a refusal can be told.
    Guarded,
    /// The supervisor, which performs the call.
    Performed,
}

/// Builds the table of a run.
///
/// # Errors
///
/// A number twice or a trap without handler: a mistake in this crate, which its tests would show.
pub fn table(needs: &Needs) -> Result<Table<Handler>, TableError> {
    let mut rows = Rows { table: Table::new() };
    file::rows(&mut rows, needs)?;
    ipc::rows(&mut rows, needs)?;
    memory::rows(&mut rows, needs)?;
    network::rows(&mut rows, needs)?;
    process::rows(&mut rows, needs)?;
    system::rows(&mut rows)?;
    Ok(rows.table)
}

/// The table while the families add to it.
struct Rows {
    table: Table<Handler>,
}

impl Rows {
    /// Calls that pass without being looked at.
    fn allow(&mut self, why: &'static str, calls: &[Sysno]) -> Result<(), TableError> {
        calls.iter().try_for_each(|&call| self.add(call, Rule::Always(Action::Allow), None, why))
    }

    /// Calls that fail, whatever their arguments.
    fn refuse(&mut self, errno: Errno, why: &'static str, calls: &[Sysno]) -> Result<(), TableError> {
        calls.iter().try_for_each(|&call| self.add(call, Rule::Always(fail(errno)), None, why))
    }

    /// A call that is decided by its registers.
    fn by_registers(
        &mut self,
        call: Sysno,
        clauses: Vec<Clause>,
        otherwise: Action,
        why: &'static str,
    ) -> Result<(), TableError> {
        self.add(call, Rule::ByArguments { clauses, otherwise }, None, why)
    }

    /// A call that is always trapped.
    fn trap(&mut self, call: Sysno, handler: Handler, why: &'static str) -> Result<(), TableError> {
        self.add(call, Rule::Always(Action::Trap), Some(handler), why)
    }

    /// A call that is trapped unless a register decides it.
    fn trap_unless(
        &mut self,
        call: Sysno,
        clauses: Vec<Clause>,
        otherwise: Action,
        handler: Handler,
        why: &'static str,
    ) -> Result<(), TableError> {
        self.add(call, Rule::ByArguments { clauses, otherwise }, Some(handler), why)
    }

    fn add(
        &mut self,
        call: Sysno,
        rule: Rule,
        handler: Option<Handler>,
        why: &'static str,
    ) -> Result<(), TableError> {
        self.table.insert(Row { number: call as u32, name: call.name(), rule, handler, why })
    }
}

fn fail(errno: Errno) -> Action {
    Action::Errno(sandlock_filter::Errno(errno.raw_os_error() as u16))
}

#[cfg(test)]
mod tests;
