//! Processes, threads, signals, limits.

use sandlock_filter::{Action, Clause, TableError, Test};
use sandlock_sys::Errno;
use syscalls::Sysno;

use super::{Binding, Needs, Rows, fail};
use crate::call::Handler;
use crate::decision;
use crate::task::{inner, landlock, others, processes, processors, signals, trees};

pub(super) fn rows(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    rows.allow(
        "the caller itself",
        &[
            Sysno::getpid,
            Sysno::gettid,
            Sysno::getppid,
            Sysno::getuid,
            Sysno::geteuid,
            Sysno::getgid,
            Sysno::getegid,
            Sysno::getgroups,
            Sysno::getresuid,
            Sysno::getresgid,
            Sysno::getpgid,
            Sysno::getsid,
            Sysno::setuid,
            Sysno::setgid,
            Sysno::setreuid,
            Sysno::setregid,
            Sysno::setresuid,
            Sysno::setresgid,
            Sysno::setfsuid,
            Sysno::setfsgid,
            Sysno::setgroups,
            Sysno::capget,
            Sysno::capset,
            Sysno::setpgid,
            Sysno::setsid,
            Sysno::exit,
            Sysno::exit_group,
            Sysno::wait4,
            Sysno::waitid,
            Sysno::set_tid_address,
            Sysno::set_robust_list,
            Sysno::personality,
            Sysno::rseq,
            Sysno::futex,
            Sysno::futex_waitv,
            Sysno::futex_wait,
            Sysno::futex_wake,
            Sysno::futex_requeue,
            Sysno::sched_yield,
            Sysno::restart_syscall,
            Sysno::seccomp,
            Sysno::landlock_add_rule,
            Sysno::lsm_get_self_attr,
            Sysno::lsm_list_modules,
            Sysno::getrlimit,
            Sysno::setrlimit,
            Sysno::getrusage,
            Sysno::times,
            Sysno::getcpu,
        ],
    )?;
    #[cfg(target_arch = "x86_64")]
    rows.allow(
        "the caller itself",
        &[
            Sysno::getpgrp,
            Sysno::pause,
            Sysno::arch_prctl,
            Sysno::set_thread_area,
            Sysno::get_thread_area,
            Sysno::uretprobe,
        ],
    )?;
    rows.allow(
        "looks at a process without changing it",
        &[
            Sysno::getpriority,
            Sysno::sched_getparam,
            Sysno::sched_getscheduler,
            Sysno::sched_getattr,
            Sysno::sched_getaffinity,
            Sysno::sched_get_priority_max,
            Sysno::sched_get_priority_min,
            Sysno::sched_rr_get_interval,
            Sysno::ioprio_get,
            Sysno::pidfd_open,
        ],
    )?;
    rows.allow(
        "the caller's own signals",
        &[
            Sysno::rt_sigaction,
            Sysno::rt_sigprocmask,
            Sysno::rt_sigreturn,
            Sysno::rt_sigpending,
            Sysno::rt_sigtimedwait,
            Sysno::rt_sigsuspend,
            Sysno::sigaltstack,
        ],
    )?;
    execs(rows, needs)?;
    inner_landlock(rows, needs)?;
    namespaces(rows, needs)?;
    prctl(rows, needs)?;
    sending_signals(rows, needs)?;
    aimed_at_others(rows, needs)?;
    rows.by_registers(
        Sysno::get_robust_list,
        vec![Clause::when([Test::eq(0, 0)], Action::Allow)],
        fail(Errno::PERM),
        "tells addresses in another process",
    )?;
    rows.refuse(
        Errno::PERM,
        "looks into other processes",
        &[Sysno::ptrace, Sysno::kcmp, Sysno::pidfd_getfd, Sysno::perf_event_open],
    )
}

fn execs(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    let Some([first, second, third]) = needs.exec_key() else {
        return rows.allow("Landlock decides what may be executed", &[Sysno::execve, Sysno::execveat]);
    };
    const WHY: &str = "somebody is asked about it, and then Landlock decides";
    let the_commands_own = [Test::eq(3, first), Test::eq(4, second), Test::eq(5, third)];
    let own = vec![Clause::when(the_commands_own, Action::Allow)];
    if needs.trees.is_some() {
        const WHY: &str =
            "remembered, since rules are for what a program executes, and then Landlock decides";
        rows.trap_unless(Sysno::execve, own, Action::Trap, trees::execve, WHY)?;
        return rows.trap(Sysno::execveat, trees::execveat, WHY);
    }
    rows.trap_unless(Sysno::execve, own, Action::Trap, decision::execve, WHY)?;
    rows.trap(Sysno::execveat, decision::execveat, WHY)
}

/// What a program gives up by a domain of its own must stay given up, and calls on behalf are performed outside of that
/// domain. So it is offered what they do not touch: files, which is Landlock up to version 3.
fn inner_landlock(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    if needs.remembers_domains() {
        rows.trap(
            Sysno::landlock_restrict_self,
            inner::restrict_self,
            "confines the caller further; remembered, so that no file is opened and no name made on its behalf any more",
        )?;
    } else {
        rows.allow("confines the caller further", &[Sysno::landlock_restrict_self])?;
    }
    if !needs.supervised || !needs.landlock_truncate {
        return rows.allow(
            "confines the caller further: files only, or no call is performed on behalf",
            &[Sysno::landlock_create_ruleset],
        );
    }
    rows.trap_unless(
        Sysno::landlock_create_ruleset,
        vec![
            Clause::when([Test::eq(2, 0), Test::eq(1, SIZE_WITH_FILES)], Action::Allow),
            Clause::when([Test::ne(2, 0), Test::ne(2, LANDLOCK_CREATE_RULESET_VERSION)], fail(Errno::INVAL)),
        ],
        Action::Trap,
        landlock::create_ruleset,
        "confines the caller further, in what is not performed on behalf: files. Said to be version 3",
    )
}

impl Needs {
    fn tells_trees(&self) -> bool {
        self.supervised && self.trees.is_some()
    }

    /// Whether files are opened or made on behalf, outside of a domain of the program's own.
    fn remembers_domains(&self) -> bool {
        self.supervised && (self.own_proc || self.holes || self.binding == Binding::Performed)
    }
}

fn namespaces(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    let mut clone = vec![Clause::when([Test::any_bit(0, CLONE_NEW)], fail(Errno::PERM))];
    let mut unshare = vec![Clause::when([Test::any_bit(0, CLONE_NEW | CLONE_NEWTIME)], fail(Errno::PERM))];
    let mut close_range = Vec::new();
    if needs.remembers_domains() {
        // A child whose parent is another's would not be known as its maker's, who may have confined itself.
        clone.push(Clause::when(
            [Test::any_bit(0, CLONE_PARENT), Test::no_bit(0, CLONE_THREAD)],
            fail(Errno::INVAL),
        ));
    }
    if !needs.thread_handles {
        // Descriptors could then be looked up in the wrong table.
        clone.push(Clause::when(
            [Test::any_bit(0, CLONE_THREAD), Test::no_bit(0, CLONE_FILES)],
            fail(Errno::INVAL),
        ));
        unshare.push(Clause::when([Test::any_bit(0, CLONE_FILES)], fail(Errno::PERM)));
        close_range.push(Clause::when([Test::any_bit(2, CLOSE_RANGE_UNSHARE)], fail(Errno::INVAL)));
    }
    making(rows, needs, clone)?;
    rows.by_registers(Sysno::unshare, unshare, Action::Allow, "no new namespaces")?;
    if close_range.is_empty() {
        rows.allow("descriptors", &[Sysno::close_range])?;
    } else {
        rows.by_registers(Sysno::close_range, close_range, Action::Allow, "threads share their descriptors")?;
    }
    rows.refuse(
        Errno::NOSYS,
        "its flags are in memory; the C library falls back to clone",
        &[Sysno::clone3],
    )?;
    rows.refuse(Errno::PERM, "no other namespaces", &[Sysno::setns])
}

/// `clone` has decided on its flags before anybody looks. Who counts looks at whose rules the caller has as well.
fn making(rows: &mut Rows, needs: &Needs, mut clone: Vec<Clause>) -> Result<(), TableError> {
    const WHY: &str = "no new namespaces; threads share their descriptors where needed";
    const WHY_COUNTED: &str = "no new namespaces; processes and threads are counted, and where rules are for what descends from a program, whose child it will be is known";
    if needs.counts_processes && needs.supervised {
        #[cfg(target_arch = "x86_64")]
        for call in [Sysno::fork, Sysno::vfork] {
            rows.trap(call, processes::make, WHY_COUNTED)?;
        }
        return rows.trap_unless(Sysno::clone, clone, Action::Trap, processes::make, WHY_COUNTED);
    }
    if needs.tells_trees() {
        #[cfg(target_arch = "x86_64")]
        for call in [Sysno::fork, Sysno::vfork] {
            rows.trap(call, trees::fork, FORKS)?;
        }
        clone.push(Clause::when([Test::no_bit(0, CLONE_THREAD)], Action::Trap));
        return rows.trap_unless(Sysno::clone, clone, Action::Allow, trees::fork, WHY);
    }
    #[cfg(target_arch = "x86_64")]
    rows.allow("the caller itself", &[Sysno::fork, Sysno::vfork])?;
    rows.by_registers(Sysno::clone, clone, Action::Allow, WHY)
}

fn prctl(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    const WHY: &str =
        "PR_SET_DUMPABLE 0 reports success and does nothing; PR_SCHED_CORE reaches other processes";
    let mut clauses = vec![
        // A process that is not dumpable could not be looked into by its supervisor.
        Clause::when([Test::eq(0, PR_SET_DUMPABLE), Test::eq(1, 0)], fail_with_nothing()),
        Clause::when([Test::eq(0, PR_SCHED_CORE)], fail(Errno::INVAL)),
    ];
    if needs.tells_trees() {
        // By PR_SET_MM_MAP a process writes its auxiliary vector anew, by which its image is known.
        clauses.push(Clause::when([Test::eq(0, PR_SET_MM)], fail(Errno::INVAL)));
    }
    if needs.remembers_domains() {
        // Who adopts orphans is remembered, as they are no longer known by their parents.
        clauses.push(Clause::when([Test::eq(0, PR_SET_CHILD_SUBREAPER)], Action::Trap));
        return rows.trap_unless(Sysno::prctl, clauses, Action::Allow, inner::adopt, WHY);
    }
    rows.by_registers(Sysno::prctl, clauses, Action::Allow, WHY)
}

fn sending_signals(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    // (call, register of the target, whether the target is a descriptor)
    let calls: [(Sysno, Handler); 6] = [
        (Sysno::kill, signals::kill),
        (Sysno::tkill, signals::tkill),
        (Sysno::tgkill, signals::tgkill),
        (Sysno::rt_sigqueueinfo, signals::tkill),
        (Sysno::rt_tgsigqueueinfo, signals::tgkill),
        (Sysno::pidfd_send_signal, signals::pidfd_send_signal),
    ];
    for (call, handler) in calls {
        if needs.scoped {
            rows.allow("Landlock keeps signals inside", &[call])?;
        } else if needs.supervised {
            rows.trap(call, handler, "this kernel's Landlock does not scope signals: targets are looked up")?;
        } else {
            rows.refuse(Errno::PERM, "this kernel's Landlock does not scope signals", &[call])?;
        }
    }
    Ok(())
}

/// Any process of the same user can be reached by these: the target is a register, so a look at it decides.
fn aimed_at_others(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    const WHY: &str = "aimed at another process: only one of the sandbox. 0 is the caller and passes";
    let mut add = |call, own: Vec<Clause>, handler: Handler| {
        if needs.supervised {
            rows.trap_unless(call, own, Action::Trap, handler, WHY)
        } else {
            rows.by_registers(call, own, fail(Errno::PERM), WHY)
        }
    };
    let itself = |arg| vec![Clause::when([Test::eq(arg, 0)], Action::Allow)];
    add(Sysno::prlimit64, itself(0), others::target_in_first_register)?;
    add(Sysno::sched_setparam, itself(0), others::target_in_first_register)?;
    add(Sysno::sched_setscheduler, itself(0), others::target_in_first_register)?;
    add(Sysno::sched_setattr, itself(0), others::target_in_first_register)?;
    if !needs.keeps_processors {
        add(Sysno::sched_setaffinity, itself(0), others::target_in_first_register)?;
    }
    // A group or a user is more than the sandbox: the launcher shares them.
    let single = |process: u32| {
        vec![
            Clause::when([Test::eq(0, process), Test::eq(1, 0)], Action::Allow),
            Clause::when([Test::ne(0, process)], fail(Errno::PERM)),
        ]
    };
    add(Sysno::setpriority, single(PRIO_PROCESS), others::target_in_second_register)?;
    add(Sysno::ioprio_set, single(IOPRIO_WHO_PROCESS), others::target_in_second_register)?;
    match (needs.keeps_processors, needs.supervised) {
        (false, _) => Ok(()),
        (true, true) => rows.trap(
            Sysno::sched_setaffinity,
            processors::set,
            "only among the processors that the run may use",
        ),
        (true, false) => {
            rows.refuse(Errno::PERM, "the run may use some processors only", &[Sysno::sched_setaffinity])
        }
    }
}

/// Reports success and does nothing.
fn fail_with_nothing() -> Action {
    Action::Errno(sandlock_filter::Errno(0))
}

/// The image of whoever makes a process is known by then.
#[cfg(target_arch = "x86_64")]
const FORKS: &str = "whose child it will be is known: rules are for what descends from a program";
/// NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NEW: u32 =
    0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;
/// Part of the exit signal in `clone`, a namespace in `unshare`.
const CLONE_NEWTIME: u32 = 0x80;
const CLONE_FILES: u32 = 0x400;
const CLONE_PARENT: u32 = 0x8000;
const CLONE_THREAD: u32 = 0x1_0000;
const CLOSE_RANGE_UNSHARE: u32 = 2;
/// `struct landlock_ruleset_attr` when it had `handled_access_fs` alone.
const SIZE_WITH_FILES: u32 = 8;
/// Linux 5.13.
const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
const PR_SET_DUMPABLE: u32 = 4;
const PR_SET_MM: u32 = 35;
const PR_SET_CHILD_SUBREAPER: u32 = 36;
const PR_SCHED_CORE: u32 = 62;
const PRIO_PROCESS: u32 = 0;
const IOPRIO_WHO_PROCESS: u32 = 1;
