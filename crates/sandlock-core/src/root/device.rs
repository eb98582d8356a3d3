//! The devices of a root: those that have no memory and no owner, and terminals of the run's own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sandlock_policy::base::{TERMINAL_DEVICES, WRITE_DEVICES};
use sandlock_sys::Errno;
use sandlock_sys::namespace::{Restrictions, Tree};

use super::point::{self, Kind, Missing};

/// Copies of the machine's devices, each by its path, taken while the machine's root is the root.
///
/// # Errors
///
/// That of `open_tree(2)`. A machine without one of them leaves it out.
pub(super) fn copies() -> Result<Vec<(&'static str, Tree)>, Errno> {
    let mut copies = Vec::new();
    for path in WRITE_DEVICES.iter().chain(TERMINAL_DEVICES) {
        let Ok(device) = rustix::fs::open(*path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
            continue;
        };
        let copy = Tree::copy_of(device.as_fd())?;
        // Devices that are there stay devices.
        copy.restrict(Restrictions { no_execution: true, ..Restrictions::default() })?;
        copies.push((*path, copy));
    }
    Ok(copies)
}

/// Mounts `/dev`.
///
/// # Errors
///
/// That of the step that failed.
pub(super) fn mount(root: BorrowedFd<'_>, copies: &[(&'static str, Tree)]) -> Result<(), Errno> {
    let at = point::open(root, Path::new("/dev"), Kind::Directory, Missing::IsMade)?;
    let options = [("mode", "755".to_owned()), ("size", "1m".to_owned())];
    let devices = Tree::new(c"tmpfs", &options)?;
    devices.attach(at.as_fd())?;
    let inside = devices.as_fd();
    for (path, copy) in copies {
        let name = path.trim_start_matches("/dev/");
        copy.attach(file(inside, name)?.as_fd())?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, inside, name)?;
    }
    terminals(inside)?;
    let shared = Tree::new(c"tmpfs", &[("mode", "1777".to_owned())])?;
    shared.restrict(Restrictions { no_devices: true, ..Restrictions::default() })?;
    shared.attach(directory(inside, "shm")?.as_fd())
}

/// An instance of the run's own: the terminals of the machine are not in it.
fn terminals(inside: BorrowedFd<'_>) -> Result<(), Errno> {
    let options = [("mode", "620".to_owned()), ("ptmxmode", "666".to_owned())];
    let terminals = Tree::new(c"devpts", &options)?;
    terminals.restrict(Restrictions { no_execution: true, ..Restrictions::default() })?;
    terminals.attach(directory(inside, "pts")?.as_fd())
}

fn file(inside: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(inside, name, flags, Mode::from_raw_mode(0o444)).map(drop)?;
    rustix::fs::openat(inside, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn directory(inside: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(inside, name, Mode::from_raw_mode(0o755))?;
    rustix::fs::openat(inside, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
