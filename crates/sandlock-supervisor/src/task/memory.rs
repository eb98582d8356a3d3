//! How much memory the sandbox uses, by the kernel's own accounts of its processes, measured again and again.
//!
//! Counted are pages that nobody could take away from the program: its own, those of memory that it shares, page tables,
//! what of it is swapped, and files in memory. Not the page cache of files, which the kernel takes back by itself.
//!
//! Most looks are cheap: sums that count shared pages once for each who has them, and so are never too low. Only when
//! such a sum is too high are pages shared out among who has them, which takes the kernel a walk.

use std::collections::HashSet;
use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::census::Census;
use super::limits::Lasting;
use super::tree::parent_of;

/// Told when the limit is passed: which, and the bell that says so.
pub(crate) struct Passed {
    pub(crate) limit: Arc<OnceLock<u64>>,
    pub(crate) bell: OwnedFd,
}

/// Measures until the limit is passed.
pub(crate) struct Meter {
    limit: u64,
    /// How many bytes may come in a second.
    fastest: u64,
    census: Census,
    lasting: Lasting,
}

/// What is counted by itself, and not with who has it mapped: the inodes that `/proc` shows of it.
#[derive(Default)]
struct Elsewhere {
    files: HashSet<u64>,
    segments: HashSet<u64>,
}

/// What one process has, in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Use {
    own: u64,
    shared: u64,
    /// What tells one space of memory from another.
    virtual_size: u64,
}

impl Meter {
    pub(crate) fn new(limit: u64, lasting: Lasting) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |number| number.get() as u64);
        Meter { limit, fastest: processors * FASTEST, census: Census::new(), lasting }
    }

    /// Looks on and on. Returns when it has told that the limit is passed.
    pub(crate) fn watch(mut self, passed: &Passed) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let pause = match self.look() {
                Some(used) if used > self.limit => Duration::ZERO,
                Some(used) => {
                    failures = 0;
                    let headroom = self.limit - used;
                    Duration::from_secs_f64(headroom as f64 / self.fastest as f64)
                }
                None => {
                    failures += 1;
                    SHORTEST
                }
            };
            // Nobody knows any more: that is as good as too much.
            if pause.is_zero() || failures > MOST_FAILURES {
                _ = passed.limit.set(self.limit);
                let _ = rustix::io::write(passed.bell.as_fd(), &1u64.to_ne_bytes());
                return;
            }
            // Looking may take a tenth of a processor, no more.
            std::thread::sleep(pause.clamp(SHORTEST, LONGEST).max(began.elapsed() * 9).min(LONGEST));
        }
    }

    /// The bytes that are in use, at most; more than the limit only if they certainly are. `None` when that could not be
    /// told.
    fn look(&mut self) -> Option<u64> {
        let used = self.at_most()?;
        if used <= self.limit {
            return Some(used);
        }
        // Processes come and go while they are looked at, and pages with them: what counts is what is so twice.
        let first = self.exactly()?;
        if first <= self.limit {
            return Some(first);
        }
        std::thread::sleep(SHORTEST);
        self.exactly()
    }

    /// Pages that several processes have are counted for each.
    fn at_most(&mut self) -> Option<u64> {
        let inside = self.census.inside().ok()?;
        let lasting = self.lasting.files.bytes(|_| {}) + self.lasting.segments.bytes(|_| {})?;
        Some(inside.into_iter().filter_map(used_by).map(|used| used.own + used.shared).sum::<u64>() + lasting)
    }

    fn exactly(&mut self) -> Option<u64> {
        let inside = self.census.inside().ok()?;
        let mut elsewhere = Elsewhere::default();
        let lasting = self.lasting.files.bytes(|inode| _ = elsewhere.files.insert(inode))
            + self.lasting.segments.bytes(|id| _ = elsewhere.segments.insert(id))?;
        let borrowers = borrowers(&inside);
        let own = inside.into_iter().filter(|pid| !borrowers.contains(pid));
        Some(own.map(|pid| shared_out(pid, &elsewhere)).sum::<u64>() + lasting)
    }
}

/// What a process uses, by its status. `None` for one that is gone or has no memory any more.
fn used_by(pid: i32) -> Option<Use> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut used = Use::default();
    for line in status.lines() {
        match line.split_once(':') {
            Some(("RssAnon" | "VmSwap" | "VmPTE", value)) => used.own += kilobytes(value),
            Some(("RssShmem", value)) => used.shared += kilobytes(value),
            Some(("VmSize", value)) => used.virtual_size = kilobytes(value),
            _ => {}
        }
    }
    (used != Use::default()).then_some(used)
}

/// What a process has of its pages when those that several have are shared out among them, without what is counted
/// elsewhere.
fn shared_out(pid: i32, elsewhere: &Elsewhere) -> u64 {
    let Some(used) = used_by(pid) else {
        return 0;
    };
    let Ok(maps) = std::fs::File::open(format!("/proc/{pid}/smaps")) else {
        return used.own + used.shared;
    };
    let mut bytes = page_tables(pid);
    let mut counted = Counted::Anonymous;
    for line in std::io::BufReader::with_capacity(1 << 16, maps).split(b'\n') {
        let Ok(line) = line else {
            // It cannot be looked into, or is gone by now.
            return used_by(pid).map_or(0, |used| used.own + used.shared);
        };
        let line = String::from_utf8_lossy(&line);
        match line.split_once(':') {
            Some((name, value)) if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
                bytes += match (name, counted) {
                    ("Pss", Counted::Shared) | ("SwapPss", Counted::Anonymous | Counted::Shared) => {
                        kilobytes(value)
                    }
                    ("Pss", Counted::Anonymous) => kilobytes(value),
                    // The program's own pages of a file that it has mapped: changed, and nobody else's.
                    ("Anonymous" | "Swap", Counted::File | Counted::Nothing) => kilobytes(value),
                    _ => 0,
                };
            }
            _ => counted = Counted::of(&line, elsewhere),
        }
    }
    bytes
}

fn page_tables(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmPTE:")).map_or(0, kilobytes)
}

/// What of a mapping is memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Counted {
    Anonymous,
    /// Shared memory of no directory.
    Shared,
    /// A file of a file system, whose pages are its cache.
    File,
    /// A file in memory or a segment, which is counted as such.
    Nothing,
}

impl Counted {
    /// `address perms offset dev inode path`.
    fn of(line: &str, elsewhere: &Elsewhere) -> Self {
        let mut words = line.split_ascii_whitespace().skip(4);
        let inode = words.next().and_then(|inode| inode.parse::<u64>().ok()).unwrap_or(0);
        let path = words.next().unwrap_or("");
        match inode {
            0 => Counted::Anonymous,
            inode if path.starts_with("/memfd:") && elsewhere.files.contains(&inode) => Counted::Nothing,
            inode if path.starts_with("/SYSV") && elsewhere.segments.contains(&inode) => Counted::Nothing,
            _ if ["/memfd:", "/dev/zero", "/dev/shm/", "/SYSV"]
                .iter()
                .any(|start| path.starts_with(start)) =>
            {
                Counted::Shared
            }
            _ => Counted::File,
        }
    }
}

/// Processes that for now have their parent's memory instead of their own: between `vfork` and exec. For each thread that
/// waits in such a call, the one child that has just what its parent has.
fn borrowers(inside: &[i32]) -> HashSet<i32> {
    let mut found = HashSet::new();
    for &pid in inside {
        let Some(parent) = parent_of(pid).filter(|parent| inside.contains(parent)) else {
            continue;
        };
        let lent = used_by(pid);
        if lent.is_some() && lent == used_by(parent) && vforks(parent) > count_of(&found, parent) {
            found.insert(pid);
        }
    }
    found
}

fn count_of(found: &HashSet<i32>, parent: i32) -> usize {
    found.iter().filter(|pid| parent_of(**pid) == Some(parent)).count()
}

/// How many threads of a process wait for a child that has their memory.
fn vforks(pid: i32) -> usize {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter(|thread| {
            let call = std::fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
            let mut words = call.split_ascii_whitespace();
            let number = words.next().and_then(|word| word.parse::<u32>().ok());
            let first = words.next().and_then(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
            match number {
                #[cfg(target_arch = "x86_64")]
                Some(number) if number == syscalls::Sysno::vfork as u32 => true,
                Some(number) if number == syscalls::Sysno::clone as u32 => {
                    first.is_some_and(|flags| flags & LENDS == LENDS)
                }
                _ => false,
            }
        })
        .count()
}

/// `   1234 kB`.
fn kilobytes(value: &str) -> u64 {
    let number = value.trim().split(' ').next().and_then(|number| number.parse::<u64>().ok());
    number.unwrap_or(0).saturating_mul(1024)
}

/// CLONE_VM and CLONE_VFORK.
const LENDS: u64 = 0x4100;
/// Of one processor, in a second: faster than the kernel clears pages.
const FASTEST: u64 = 4 << 30;
const SHORTEST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(100);
const MOST_FAILURES: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_told_apart() {
        let elsewhere = Elsewhere { files: HashSet::from([77]), segments: HashSet::from([78]) };
        for (line, counted) in [
            ("7f0-7f1 rw-p 00000000 00:00 0 ", Counted::Anonymous),
            ("7f0-7f1 rw-p 00000000 00:00 0          [heap]", Counted::Anonymous),
            ("7f0-7f1 r-xp 00000000 fe:00 123        /usr/bin/x y", Counted::File),
            ("7f0-7f1 rw-s 00000000 00:01 77         /memfd:a: b (deleted)", Counted::Nothing),
            ("7f0-7f1 rw-s 00000000 00:01 78         /memfd:a (deleted)", Counted::Shared),
            ("7f0-7f1 rw-s 00000000 00:01 78         /SYSV00000000 (deleted)", Counted::Nothing),
            ("7f0-7f1 rw-s 00000000 00:01 77         /SYSV00000000 (deleted)", Counted::Shared),
            ("7f0-7f1 rw-s 00000000 00:01 79         /dev/zero (deleted)", Counted::Shared),
        ] {
            assert_eq!(Counted::of(line, &elsewhere), counted, "{line}");
        }
    }

    #[test]
    fn memory_is_seen_where_it_is() {
        let this = std::process::id() as i32;
        let before = shared_out(this, &Elsewhere::default());
        let mut memory = vec![0u8; 64 << 20];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        let after = shared_out(this, &Elsewhere::default());
        assert!(after >= before + (60 << 20) && after < before + (90 << 20), "{before} {after}");
        let cheap = used_by(this).unwrap();
        assert!(cheap.own + cheap.shared + (4 << 20) >= after, "{cheap:?} {after}");
        assert!(!memory.is_empty());
    }

    #[test]
    fn kilobytes_are_read() {
        assert_eq!(kilobytes("     1234 kB"), 1234 * 1024);
        assert_eq!(kilobytes(" garbage"), 0);
    }
}
