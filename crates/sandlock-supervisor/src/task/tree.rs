//! The tree of processes below the supervisor: who is in it, and how it ends.

use std::collections::{HashMap, HashSet};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, WaitOptions, wait, waitpid};
use sandlock_sys::landlock::SignalScope;
use sandlock_sys::signal;

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
    let this = std::process::id() as i32;
    let Some(mut group) = status_field(target, "Tgid:") else {
        return Place::Nowhere;
    };
    while group != this {
        match status_field(group, "PPid:") {
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

/// A process of the sandbox and its parents, up to the child of this process. `None` for one outside.
pub(crate) fn lineage(process: i32) -> Option<Vec<i32>> {
    let this = std::process::id() as i32;
    let mut lineage = vec![process];
    let mut parents = Vec::new();
    loop {
        let child = *lineage.last()?;
        let parent = status_field(child, "PPid:")?;
        parents.push((child, parent));
        match parent {
            _ if parent == this => break,
            _ if parent > 1 => lineage.push(parent),
            _ => return None,
        }
    }
    // A number may have been given to somebody else in between. Whoever has the same parent as before has had it all
    // along; asked from the top down, so that each was the same while the one above was looked at.
    let still = parents.iter().rev().all(|&(child, parent)| status_field(child, "PPid:") == Some(parent));
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

fn status_field(pid: i32, name: &str) -> Option<i32> {
    field(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?, name)
}

fn field(status: &str, name: &str) -> Option<i32> {
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// Ends every process below this one and waits until they are gone: at one stroke with the proof that signals
/// stay inside, else one by one until none is left. Gives up after a while on one that the kernel cannot end.
pub(crate) fn end(scope: Option<&SignalScope>) {
    let limit = Instant::now() + LONGEST_END;
    while Instant::now() < limit {
        match scope {
            Some(proof) => signal::kill_all_in_scope(proof),
            None => descendants().into_iter().for_each(|pid| signal::send(pid, SIGKILL)),
        }
        if reap_all() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// For a launcher whose supervisor died: ends what it adopted of the run's tree, one by one until none is left.
/// Its other children, which `spared` names, and what is below them are left alone.
pub fn end_adopted(spared: &[i32]) {
    let limit = Instant::now() + LONGEST_END;
    while Instant::now() < limit {
        let found = below_except(std::process::id() as i32, spared);
        if found.is_empty() {
            return;
        }
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
    // Kernels without CONFIG_PROC_CHILDREN do not have the file.
    if let Ok(list) = std::fs::read_to_string("/proc/thread-self/children") {
        return list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    }
    let this = std::process::id() as i32;
    below_except(this, &[]).into_iter().filter(|pid| status_field(*pid, "PPid:") == Some(this)).collect()
}

/// Reaps what has ended. True when there is no child any more.
fn reap_all() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

/// All processes below this one, parents before their children.
pub(crate) fn descendants() -> Vec<i32> {
    below_except(std::process::id() as i32, &[])
}

fn below_except(root: i32, spared: &[i32]) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids {
        if let Some(parent) = status_field(pid, "PPid:") {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            if parent == root && spared.contains(&child) {
                continue;
            }
            found.push(child);
            next.push(child);
        }
    }
    found
}

/// The inodes of the sockets that the processes below this one have open.
pub(crate) fn sockets() -> HashSet<u64> {
    let mut found = HashSet::new();
    for pid in descendants() {
        let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(target) = std::fs::read_link(entry.path()) else {
                continue;
            };
            let inode = target.to_str().and_then(|target| target.strip_prefix("socket:["));
            found.extend(inode.and_then(|inode| inode.strip_suffix(']')?.parse::<u64>().ok()));
        }
    }
    found
}

/// The status of a child that ended or stopped, without waiting.
pub(crate) fn next_change() -> Option<(Pid, rustix::process::WaitStatus)> {
    wait(WaitOptions::NOHANG | WaitOptions::UNTRACED).ok().flatten()
}

const SIGKILL: i32 = 9;
const PAUSE: Duration = Duration::from_micros(200);
const LONGEST_END: Duration = Duration::from_secs(5);
