//! A cgroup of a run's own, where one was delegated: the kernel then keeps limits of the whole tree by itself. See
//! `docs/design/limits.md`.

mod found;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sandlock_policy::{Denied, Limits};

/// A cgroup that the command enters before it is executed, and nobody else: cgroups(7). It is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    directory: PathBuf,
    entrance: OwnedFd,
    /// The limits that it keeps.
    limits: Limits,
    made_by: u32,
    _above: Arc<Above>,
}

impl Cgroup {
    /// One that keeps what it can of `limits`. None where none was delegated, or where the command could leave it again: by
    /// writing into the cgroup file system, below `writable`.
    pub(crate) fn make(limits: &Limits, writable: &[PathBuf]) -> Option<Cgroup> {
        if wanted(limits).is_empty() {
            return None;
        }
        let mounts = found::mounts(&fs::read_to_string("/proc/self/mountinfo").ok()?);
        let in_reach = |mount: &found::Mount| {
            let reaches = |place: &PathBuf| place.starts_with(&mount.at) || mount.at.starts_with(place);
            writable.iter().any(reaches)
        };
        if mounts.iter().any(in_reach) {
            return None;
        }
        let own = found::own(&mounts, &fs::read_to_string("/proc/self/cgroup").ok()?)?;
        let above = Above::of(&own, limits)?;
        let limits = above.kept(limits);
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let directory = above.directory.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&directory).ok()?;
        let prepared = prepare(&directory, &limits);
        if prepared.is_err() {
            let _ = fs::remove_dir(&directory);
        }
        Some(Cgroup {
            entrance: prepared.ok()?,
            directory,
            limits,
            made_by: std::process::id(),
            _above: above,
        })
    }

    /// Where a process that writes `0` enters: `cgroup.procs`.
    pub(crate) fn entrance(&self) -> BorrowedFd<'_> {
        self.entrance.as_fd()
    }

    /// Of the limits of a run, those that the kernel keeps here.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The limit of memory, in bytes, if all were killed since more was needed.
    pub(crate) fn ran_out_of_memory(&self) -> Option<u64> {
        self.limits
            .memory
            .filter(|_| self.has_counted("memory.events", "oom_kill"))
            .map(|limit| limit.bytes())
    }

    /// What the kernel refused by itself: it counts that, and tells nobody.
    pub(crate) fn refused(&self) -> Option<Denied> {
        let limit = self.limits.processes.filter(|_| self.has_counted("pids.events", "max"))?;
        Some(Denied::Processes { limit })
    }

    fn has_counted(&self, file: &str, event: &str) -> bool {
        let events = fs::read_to_string(self.directory.join(file)).unwrap_or_default();
        events
            .lines()
            .filter_map(|line| line.split_once(' '))
            .any(|(name, count)| name == event && count != "0")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A forked supervisor has a copy.
        if self.made_by != std::process::id() {
            return;
        }
        // Nobody is in it any more, unless the supervisor was killed.
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
        remove(&self.directory);
    }
}

/// The limits that `all` has and `kept` has not.
pub(crate) fn left(all: &Limits, kept: Option<&Limits>) -> Limits {
    let mut left = all.clone();
    if let Some(kept) = kept {
        left.memory = left.memory.filter(|_| kept.memory.is_none());
        left.processes = left.processes.filter(|_| kept.processes.is_none());
        left.processor_time = left.processor_time.filter(|_| kept.processor_time.is_none());
    }
    left
}

fn prepare(directory: &Path, limits: &Limits) -> io::Result<OwnedFd> {
    if let Some(memory) = limits.memory {
        fs::write(directory.join("memory.max"), memory.bytes().to_string())?;
        // All of them, so that no half of a program is left.
        fs::write(directory.join("memory.oom.group"), "1")?;
        match fs::write(directory.join("memory.swap.max"), "0") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // Where the kernel does not account for swap.
            _ => {}
        }
    }
    if let Some(processes) = limits.processes {
        fs::write(directory.join("pids.max"), processes.to_string())?;
    }
    if let Some(share) = limits.processor_time {
        let quota = u64::from(share) * PERIOD_US / 100;
        fs::write(directory.join("cpu.max"), format!("{quota} {PERIOD_US}"))?;
    }
    OpenOptions::new().write(true).open(directory.join("cgroup.procs")).map(OwnedFd::from)
}

/// The cgroup that the launcher was started in, as far as it was delegated. A cgroup with processes of its own cannot have
/// others below it that are limited, so the launcher moves into one below, and back when nobody needs that any more.
#[derive(Debug)]
struct Above {
    directory: PathBuf,
    /// Where the launcher is meanwhile; none in the root of the hierarchy, which may have both.
    beside: Option<PathBuf>,
    /// The controllers that can be used below.
    controllers: Vec<&'static str>,
    /// Those of them that could not be before.
    switched_on: Vec<&'static str>,
    made_by: u32,
}

impl Above {
    fn of(own: &Path, limits: &Limits) -> Option<Arc<Above>> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(above) = known.upgrade().filter(|above| above.made_by == std::process::id()) {
            return Some(above);
        }
        let above = Arc::new(Above::new(own, limits)?);
        *known = Arc::downgrade(&above);
        Some(above)
    }

    fn new(own: &Path, limits: &Limits) -> Option<Above> {
        let offered = words(&own.join("cgroup.controllers"))?;
        let mut controllers = wanted(limits);
        controllers.retain(|name| offered.iter().any(|one| one == name));
        if controllers.is_empty() {
            return None;
        }
        // Only the root of the hierarchy has no type.
        let is_root = !own.join("cgroup.type").exists();
        // Others who are there were not started for this run, and stay where they are: then it is not ours to divide.
        let own_number = std::process::id().to_string();
        if !is_root && words(&own.join("cgroup.procs"))? != [own_number] {
            return None;
        }
        sweep(own);
        let on = words(&own.join("cgroup.subtree_control"))?;
        let switched_on: Vec<_> =
            controllers.iter().copied().filter(|name| !on.iter().any(|one| one == name)).collect();
        let mut above = Above {
            directory: own.to_owned(),
            beside: None,
            controllers,
            switched_on: Vec::new(),
            made_by: std::process::id(),
        };
        if !is_root {
            let beside = own.join(format!("{PREFIX}{}", std::process::id()));
            fs::create_dir(&beside).ok()?;
            let entered = fs::write(beside.join("cgroup.procs"), "0");
            above.beside = Some(beside);
            entered.ok()?;
        }
        above.switch('+', &switched_on).ok()?;
        above.switched_on = switched_on;
        Some(above)
    }

    fn switch(&self, sign: char, controllers: &[&str]) -> io::Result<()> {
        let words: Vec<_> = controllers.iter().map(|name| format!("{sign}{name}")).collect();
        match words.is_empty() {
            true => Ok(()),
            false => fs::write(self.directory.join("cgroup.subtree_control"), words.join(" ")),
        }
    }

    fn kept(&self, limits: &Limits) -> Limits {
        let has = |name: &str| self.controllers.contains(&name);
        Limits {
            memory: limits.memory.filter(|_| has("memory")),
            processes: limits.processes.filter(|_| has("pids")),
            processor_time: limits.processor_time.filter(|_| has("cpu")),
            ..Limits::default()
        }
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        if self.made_by != std::process::id() {
            return;
        }
        // As it was: what fails leaves a directory that whoever delegated the cgroup removes with it.
        let _ = self.switch('-', &self.switched_on);
        if let Some(beside) = &self.beside {
            let _ = fs::write(self.directory.join("cgroup.procs"), "0");
            remove(beside);
        }
    }
}

/// A cgroup can be removed when the last of its processes is gone, which may be a moment after it was waited for.
fn remove(directory: &Path) {
    for _ in 0..20 {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(1));
            }
            _ => return,
        }
    }
}

/// Removes what launchers left that were killed. One that is in use is not empty, or its launcher is there.
fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        if number.is_some_and(|number: u32| !Path::new(&format!("/proc/{number}")).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn words(file: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.split_whitespace().map(str::to_owned).collect())
}

/// The controllers that limits ask for.
fn wanted(limits: &Limits) -> Vec<&'static str> {
    let each = [
        ("memory", limits.memory.is_some()),
        ("pids", limits.processes.is_some()),
        ("cpu", limits.processor_time.is_some()),
    ];
    each.into_iter().filter_map(|(name, wanted)| wanted.then_some(name)).collect()
}

/// The kernel's own: a share is given anew so often.
const PERIOD_US: u64 = 100_000;

const PREFIX: &str = "sandlock-";

static RUNS: AtomicU32 = AtomicU32::new(0);

/// What this process has made of the cgroup that it is in.
static KNOWN: Mutex<Weak<Above>> = Mutex::new(Weak::new());

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as the kernel would have them; they only remember what was written.
    fn delegated(controllers: &str, processes: &str) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("cgroup.type", "domain"),
            ("cgroup.controllers", controllers),
            ("cgroup.procs", processes),
            ("cgroup.subtree_control", ""),
        ] {
            fs::write(place.path().join(name), format!("{content}\n")).unwrap();
        }
        place
    }

    fn limits() -> Limits {
        Limits {
            memory: Some("1M".parse().unwrap()),
            processes: Some(7),
            processor_time: Some(250),
            open_files: Some(9),
            ..Limits::default()
        }
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_launcher_makes_room_for_others_and_returns() {
        let place = delegated("cpu memory pids", &std::process::id().to_string());
        let above = Above::new(place.path(), &limits()).unwrap();
        let beside = above.beside.clone().unwrap();
        assert_eq!(read(&beside.join("cgroup.procs")), "0");
        assert_eq!(read(&place.path().join("cgroup.subtree_control")), "+memory +pids +cpu");
        let kept = above.kept(&limits());
        assert_eq!(left(&limits(), Some(&kept)), Limits { open_files: Some(9), ..Limits::default() });
        fs::remove_file(beside.join("cgroup.procs")).unwrap();
        drop(above);
        assert_eq!(read(&place.path().join("cgroup.subtree_control")), "-memory -pids -cpu");
        assert_eq!(read(&place.path().join("cgroup.procs")), "0");
        assert!(!beside.exists());
    }

    #[test]
    fn what_is_not_delegated_is_left_alone() {
        let own = std::process::id().to_string();
        for (controllers, processes) in [
            ("", own.clone()),
            ("io", own.clone()),
            ("memory pids", format!("{own}\n0")),
            ("pids", "1".into()),
        ] {
            let place = delegated(controllers, &processes);
            assert!(Above::new(place.path(), &limits()).is_none(), "{controllers} {processes}");
            assert_eq!(fs::read_dir(place.path()).unwrap().count(), 4);
        }
        let place = delegated("pids", &own);
        let kept = Above::new(place.path(), &limits()).unwrap().kept(&limits());
        assert_eq!(kept, Limits { processes: Some(7), ..Limits::default() });
    }

    #[test]
    fn what_is_kept_is_written_down_before_anybody_enters() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("cgroup.procs"), "").unwrap();
        let entrance = prepare(place.path(), &limits()).unwrap();
        rustix::io::write(&entrance, b"0").unwrap();
        for (file, content) in [
            ("memory.max", "1048576"),
            ("memory.oom.group", "1"),
            ("memory.swap.max", "0"),
            ("pids.max", "7"),
            ("cpu.max", "250000 100000"),
            ("cgroup.procs", "0"),
        ] {
            assert_eq!(read(&place.path().join(file)), content, "{file}");
        }
        assert!(prepare(&place.path().join("none"), &limits()).is_err());
    }

    #[test]
    fn only_what_launchers_left_is_swept() {
        let place = tempfile::tempdir().unwrap();
        let own = std::process::id();
        let names = [format!("{PREFIX}{own}-0"), format!("{PREFIX}4194304-0"), "other-4194304".to_owned()];
        names.iter().for_each(|name| fs::create_dir(place.path().join(name)).unwrap());
        sweep(place.path());
        assert_eq!(names.map(|name| place.path().join(name).exists()), [true, false, true]);
    }
}
