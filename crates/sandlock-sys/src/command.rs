//! Starting the command: everything prepared beforehand, a few system calls between clone and exec.

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;

use crate::landlock::Ruleset;
use crate::listener::{Listener, last_errno};
use crate::seccomp::{self, Instruction};
use crate::signal::Mask;

/// All that the new process needs, made before it exists.
#[derive(Debug)]
pub struct Command<'a> {
    /// The program, as a path.
    pub program: CString,
    /// Its arguments, the first being its name.
    pub arguments: Vec<CString>,
    /// Its environment, `NAME=value`.
    pub environment: Vec<CString>,
    /// The directory that it starts in; that of the caller if none.
    pub directory: Option<CString>,
    /// The domain that it enters, nested in the caller's.
    pub ruleset: &'a Ruleset,
    /// The filter.
    pub filter: &'a [Instruction],
    /// Whether to ask for `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
    pub wait_killable: bool,
    /// The signal mask that it starts with.
    pub mask: Mask,
    /// What the execution of the command carries in registers that the kernel does not look at: see [`ExecKey`].
    pub exec_key: Option<ExecKey>,
    /// The limit on open descriptors that it starts with (soft, hard), if the caller changed its own.
    pub open_files: Option<(u64, u64)>,
    /// The limit on the length of files that it starts with, if not the caller's.
    pub file_size: Option<u64>,
    /// The processors that it starts on, if not the caller's.
    pub processors: Option<CpuSet>,
    /// `cgroup.procs` of the cgroup that it enters first, open for writing.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// Random words by which a filter that traps executions lets the command's own through: nobody could answer it, since
/// whoever started the command sleeps until it has executed. They are in the fourth to sixth argument of `execve`, which
/// has three. The program never sees them: exec clears the registers and the memory that they came from.
pub type ExecKey = [u32; 3];

/// A command that was started.
#[derive(Debug)]
pub struct Started {
    /// Its process id; it is a child of the caller.
    pub pid: i32,
    /// Where its trapped calls arrive.
    pub listener: Listener,
}

/// The step that failed, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No process could be made.
    #[error("no new process could be made")]
    Clone(#[source] Errno),
    /// The working directory.
    #[error("the working directory cannot be entered")]
    Directory(#[source] Errno),
    /// The cgroup, a limit, the signal mask or the parent's death signal.
    #[error("the process's limits and signals cannot be set")]
    Attributes(#[source] Errno),
    /// `landlock_restrict_self`.
    #[error("the Landlock domain cannot be entered")]
    Landlock(#[source] Errno),
    /// `seccomp`.
    #[error("the seccomp filter cannot be installed")]
    Filter(#[source] Errno),
    /// `execve`.
    #[error("the command cannot be executed")]
    Exec(#[source] Errno),
}

/// Starts the command and returns when it has been executed, or could not be. The caller must have no_new_privs.
///
/// The new process shares the caller's memory and descriptors until it executes, which is why the listener needs
/// no transport: it appears in the caller's table, and exec gives the process a table of its own without it.
///
/// # Errors
///
/// The step that failed; the process is gone then and has been waited for.
pub fn start(command: &Command<'_>) -> Result<Started, StartError> {
    let script =
        Pointers::of(&[c"/bin/sh", command.program.as_c_str()], command.arguments.get(1..).unwrap_or(&[]));
    let arguments = Pointers::of(&[], &command.arguments);
    let environment = Pointers::of(&[], &command.environment);
    let shared = Shared {
        command,
        arguments: &arguments,
        script: &script,
        environment: &environment,
        // SAFETY: takes nothing.
        parent: unsafe { libc::getpid() },
        listener: AtomicI32::new(-1),
        failed_step: AtomicI32::new(STEP_NONE),
        failed_errno: AtomicI32::new(0),
    };
    let mut stack = Vec::<u128>::with_capacity(STACK_BYTES / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    // CLONE_VFORK: the caller sleeps until the process has executed or ended, so `shared` and `stack` outlive it.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: `top` is the 16-byte aligned end of a stack that outlives the child, see above; `child` only makes
    // system calls on prepared memory and never returns.
    let pid = unsafe { libc::clone(child, top.cast(), flags, (&raw const shared).cast_mut().cast()) };
    if pid < 0 {
        return Err(StartError::Clone(last_errno()));
    }
    let listener = shared.listener.load(Ordering::Acquire);
    // SAFETY: the number is that of the descriptor which seccomp(2) made in the table that we share with the
    // child; the child never closes it, and nothing else knows of it.
    let listener = (listener >= 0).then(|| Listener::new(unsafe { OwnedFd::from_raw_fd(listener) }));
    let step = shared.failed_step.load(Ordering::Acquire);
    // Zero while nothing failed, which is no errno.
    let errno = match shared.failed_errno.load(Ordering::Acquire) {
        0 => Errno::INTR,
        errno => Errno::from_raw_os_error(errno),
    };
    let error = match step {
        STEP_NONE => match listener {
            Some(listener) => return Ok(Started { pid, listener }),
            // Killed between clone and exec.
            None => StartError::Clone(errno),
        },
        STEP_DIRECTORY => StartError::Directory(errno),
        STEP_ATTRIBUTES => StartError::Attributes(errno),
        STEP_LANDLOCK => StartError::Landlock(errno),
        STEP_FILTER => StartError::Filter(errno),
        _ => StartError::Exec(errno),
    };
    // SAFETY: the child of our own that just exited; no status is asked for.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    Err(error)
}

/// Confines the calling process itself and executes the command in its place. Returns only on failure. For
/// policies that need no supervisor: nobody listens, a call that the filter traps fails with ENOSYS.
pub fn execute_in_place(command: &Command<'_>) -> StartError {
    let script =
        Pointers::of(&[c"/bin/sh", command.program.as_c_str()], command.arguments.get(1..).unwrap_or(&[]));
    let arguments = Pointers::of(&[], &command.arguments);
    let environment = Pointers::of(&[], &command.environment);
    if let Some(directory) = &command.directory
        && let Err(errno) = rustix::process::chdir(directory.as_c_str())
    {
        return StartError::Directory(errno);
    }
    if let Err(errno) = restore_attributes(command) {
        return StartError::Attributes(errno);
    }
    if let Err(errno) = command.ruleset.restrict_self() {
        return StartError::Landlock(errno);
    }
    if let Err(errno) = seccomp::install(command.filter) {
        return StartError::Filter(errno);
    }
    StartError::Exec(execute(command, &arguments, &script, &environment))
}

/// What the new process and its parent both see until exec.
struct Shared<'a> {
    command: &'a Command<'a>,
    arguments: &'a Pointers<'a>,
    script: &'a Pointers<'a>,
    environment: &'a Pointers<'a>,
    parent: i32,
    listener: AtomicI32,
    failed_step: AtomicI32,
    failed_errno: AtomicI32,
}

/// Runs in the new process, on its own stack but in its parent's memory: system calls only, no allocation.
extern "C" fn child(shared: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `start` passed a pointer to a live `Shared`, which it keeps until this process executed or ended.
    let shared = unsafe { &*shared.cast::<Shared<'_>>() };
    let (step, errno) = become_the_command(shared);
    shared.failed_errno.store(errno.raw_os_error(), Ordering::Release);
    shared.failed_step.store(step, Ordering::Release);
    // SAFETY: _exit(2) has no precondition. Returning would run libc's exit in the parent's memory.
    unsafe { libc::_exit(127) }
}

fn become_the_command(shared: &Shared<'_>) -> (i32, Errno) {
    let command = shared.command;
    // The kernel kills the command should its supervisor die; if it died before this line, there is no more parent.
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return (STEP_ATTRIBUTES, last_errno());
    }
    // SAFETY: takes nothing.
    if unsafe { libc::getppid() } != shared.parent {
        return (STEP_ATTRIBUTES, Errno::SRCH);
    }
    if let Some(directory) = &command.directory {
        // SAFETY: a NUL-terminated string that outlives the call.
        if unsafe { libc::chdir(directory.as_ptr()) } != 0 {
            return (STEP_DIRECTORY, last_errno());
        }
    }
    if let Err(errno) = restore_attributes(command) {
        return (STEP_ATTRIBUTES, errno);
    }
    if let Err(errno) = command.ruleset.restrict_self() {
        return (STEP_LANDLOCK, errno);
    }
    match seccomp::install_with_listener(command.filter, command.wait_killable) {
        Ok(listener) => shared.listener.store(listener, Ordering::Release),
        Err(errno) => return (STEP_FILTER, errno),
    }
    (STEP_EXEC, execute(command, shared.arguments, shared.script, shared.environment))
}

fn restore_attributes(command: &Command<'_>) -> Result<(), Errno> {
    if let Some(entrance) = command.cgroup {
        // Whoever writes, with all its threads: cgroups(7).
        rustix::io::write(entrance, b"0")?;
    }
    if let Some((soft, hard)) = command.open_files {
        limit(Resource::Nofile, soft, hard)?;
    }
    if let Some(longest) = command.file_size {
        limit(Resource::Fsize, longest, longest)?;
    }
    if let Some(processors) = &command.processors {
        rustix::thread::sched_setaffinity(None, processors)?;
    }
    // Rust's runtime ignores SIGPIPE, and exec would hand that on.
    // SAFETY: SIG_DFL is a valid disposition; the handlers of this process are its own.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: the mask was filled by the kernel; the old one is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const command.mask.0, std::ptr::null_mut()) } != 0 {
        return Err(last_errno());
    }
    Ok(())
}

fn limit(resource: Resource, soft: u64, hard: u64) -> Result<(), Errno> {
    rustix::process::setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })
}

/// Executes, as `execvp(3)` does with a file that has no `#!` line: by the shell. Returns only on failure.
fn execute(
    command: &Command<'_>,
    arguments: &Pointers<'_>,
    script: &Pointers<'_>,
    environment: &Pointers<'_>,
) -> Errno {
    let program = command.program.as_ptr();
    let errno = execve(program, arguments.as_ptr(), environment.as_ptr(), command.exec_key);
    if errno == Errno::NOEXEC {
        return execve(c"/bin/sh".as_ptr(), script.as_ptr(), environment.as_ptr(), command.exec_key);
    }
    errno
}

/// All pointers are to live strings and null-terminated arrays of such: `execute` has no others.
fn execve(
    path: *const libc::c_char,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    key: Option<ExecKey>,
) -> Errno {
    let [first, second, third] = key.unwrap_or_default();
    // SAFETY: a NUL-terminated path and two null-terminated arrays of such strings, see above; the kernel does not look
    // at what follows.
    unsafe { libc::syscall(libc::SYS_execve, path, arguments, environment, first, second, third) };
    last_errno()
}

/// A null-terminated array of pointers to strings that it borrows.
struct Pointers<'a> {
    pointers: Vec<*const libc::c_char>,
    _strings: std::marker::PhantomData<&'a CStr>,
}

impl<'a> Pointers<'a> {
    fn of(first: &[&'a CStr], then: &'a [CString]) -> Self {
        let pointers = first
            .iter()
            .map(|string| string.as_ptr())
            .chain(then.iter().map(|string| string.as_ptr()))
            .chain([std::ptr::null()])
            .collect();
        Pointers { pointers, _strings: std::marker::PhantomData }
    }

    fn as_ptr(&self) -> *const *const libc::c_char {
        self.pointers.as_ptr()
    }
}

const STACK_BYTES: usize = 64 * 1024;

const STEP_NONE: i32 = 0;
const STEP_DIRECTORY: i32 = 1;
const STEP_ATTRIBUTES: i32 = 2;
const STEP_LANDLOCK: i32 = 3;
const STEP_FILTER: i32 = 4;
const STEP_EXEC: i32 = 5;
