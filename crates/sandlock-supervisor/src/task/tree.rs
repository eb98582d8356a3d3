//! The tree of processes below the supervisor: who is in it, and how it ends.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, wait, waitid, waitpid};
use sandlock_sys::landlock::SignalScope;
use sandlock_sys::signal;

use super::{descendants, sockets};

/// Where a process stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Inside,
    Outside,
    Nowhere,
}

/// Whether a thread or process is a descendant of this one. The supervisor adopts orphans, so every process of
/// the sandbox is; it is not one itself.
pub(crate) fn place_of(target: i32) -> Place {
    let this = this();
    let Some(mut group) = status_field(target, "Tgid:") else {
        return Place::Nowhere;
    };
    while group != this {
        match parent_of(group) {
            Some(parent) if parent == this => return Place::Inside,
            Some(parent) if parent > 1 => group = parent,
            _ => return Place::Outside,
        }
    }
    Place::Outside
}

/// The process that a thread belongs to.
pub(crate) fn group_of(tid: i32) -> Option<i32> {
    status_field(tid, "Tgid:")
}

/// The process that is told of another one's end.
pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    status_field(pid, "PPid:")
}

/// A process of the sandbox and its parents, up to the child of this process. `None` for one outside.
pub(crate) fn lineage(process: i32) -> Option<Vec<i32>> {
    let this = this();
    let mut lineage = vec![process];
    let mut parents = Vec::new();
    loop {
        let child = *lineage.last()?;
        let parent = parent_of(child)?;
        parents.push((child, parent));
        match parent {
            _ if parent == this => break,
            _ if parent > 1 => lineage.push(parent),
            _ => return None,
        }
    }
    // A number may have been given to somebody else in between. Whoever has the same parent as before has had it all
    // along; asked from the top down, so that each was the same while the one above was looked at.
    let still = parents.iter().rev().all(|&(child, parent)| parent_of(child) == Some(parent));
    still.then_some(lineage)
}

/// Whether an open directory of `/proc` is that of a process or thread of the sandbox.
pub(crate) fn holds_directory(directory: BorrowedFd<'_>) -> bool {
    let Some(group) = group_in(directory) else {
        return false;
    };
    // It stays that process's: if it can be read afterwards, the number was its own meanwhile.
    lineage(group).is_some() && group_in(directory) == Some(group)
}

fn group_in(directory: BorrowedFd<'_>) -> Option<i32> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let status = rustix::fs::openat(directory, "status", flags, Mode::empty()).ok()?;
    field(&std::io::read_to_string(std::fs::File::from(status)).ok()?, "Tgid:")
}

/// The process group of a process.
pub(crate) fn process_group_of(pid: i32) -> Option<i32> {
    rustix::process::getpgid(Pid::from_raw(pid)).ok().map(Pid::as_raw_pid)
}

fn this() -> i32 {
    std::process::id() as i32
}

fn status_field(pid: i32, name: &str) -> Option<i32> {
    field(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?, name)
}

fn field(status: &str, name: &str) -> Option<i32> {
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// Ends every process below this one and waits until they are gone: at one stroke with the proof that signals
/// stay inside, else one by one until none is left. Gives up after a while on one that the kernel cannot end.
///
/// That none is left the kernel says, to whom every orphan's adoption is known: one that a look leaves out is met in the
/// next, and quick looks run after a program that forks better than thorough ones.
pub(crate) fn end(scope: Option<&SignalScope>) {
    let limit = Instant::now() + LONGEST_END;
    // Most commands leave nobody behind, and a signal to everybody is tried on each process of the machine.
    while !reap_all() && Instant::now() < limit {
        match scope {
            Some(proof) => signal::kill_all_in_scope(proof),
            None => descendants::look(this(), &[]).into_iter().for_each(|pid| signal::send(pid, SIGKILL)),
        }
        std::thread::sleep(PAUSE);
    }
}

/// For a launcher whose supervisor died: ends what it adopted of the run's tree, one by one until none is left.
/// Its other children, which `spared` names, and what is below them are left alone.
///
/// It has other children, so that the kernel does not say when none of these is left. Two looks at every process of the
/// machine have to.
pub fn end_adopted(spared: &[i32]) {
    let limit = Instant::now() + LONGEST_END;
    let mut nobody = 0;
    while Instant::now() < limit && nobody < 2 {
        let mut found = descendants::look(this(), spared);
        if found.is_empty() {
            found = descendants::scan(this(), spared);
        }
        nobody = if found.is_empty() { nobody + 1 } else { 0 };
        for pid in found {
            signal::send(pid, SIGKILL);
            // One that is no child of this process is its parent's to reap, or will be adopted.
            let _ = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The processes that this one, which has one thread, is the parent of.
#[must_use]
pub fn children() -> Vec<i32> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if let Err(Errno::CHILD) = waitid(WaitId::All, look | WaitIdOptions::from_bits_retain(WALL)) {
        return Vec::new();
    }
    descendants::of_this_thread().unwrap_or_else(|| {
        let is_child = |pid: &i32| parent_of(*pid) == Some(this());
        descendants::scan(this(), &[]).into_iter().filter(is_child).collect()
    })
}

/// Reaps what has ended. True when there is no child any more, and so nobody below this process: orphans are its children
/// before their parent's end can be waited for (`exit_notify` in `kernel/exit.c`).
pub(crate) fn reap_all() -> bool {
    loop {
        match wait(WaitOptions::NOHANG | WaitOptions::from_bits_retain(WALL)) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

/// All processes below this one, parents before their children. One that comes or goes meanwhile may be left out, and no
/// other: nothing may be let through because somebody is not in it.
pub(crate) fn descendants() -> Vec<i32> {
    descendants::settled(this())
}

/// The inodes of the sockets that the processes below this one have open.
pub(crate) fn sockets() -> HashSet<u64> {
    let mut found = HashSet::new();
    each_socket(|_, _, inode| {
        found.insert(inode);
    });
    found
}

/// Calls `see` with each socket that a process below this one has open: the thread whose table it is in, its number there,
/// its inode.
pub(crate) fn each_socket(mut see: impl FnMut(i32, i32, u64)) {
    descendants().into_iter().for_each(|process| sockets::each_of(process, &mut see));
}

/// The status of a child that ended or stopped, without waiting.
pub(crate) fn next_change() -> Option<(Pid, rustix::process::WaitStatus)> {
    wait(WaitOptions::NOHANG | WaitOptions::UNTRACED).ok().flatten()
}

/// `__WALL`: children whatever signal tells of their end.
const WALL: u32 = 0x4000_0000;
const SIGKILL: i32 = 9;
const PAUSE: Duration = Duration::from_micros(200);
const LONGEST_END: Duration = Duration::from_secs(5);
