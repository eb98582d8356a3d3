//! A `/sys` of a root that has none: what run-times size themselves by, as the base has it, and nothing else. A convenience:
//! what cannot be had is left out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags};
use sandlock_policy::base;
use sandlock_sys::Errno;
use sandlock_sys::namespace::{Restrictions, Tree};

use super::point::{self, Kind, Missing};

pub(super) const PLACE: &str = "/sys";

/// Copies of the machine's, each by its path, taken while the machine's root is the root. They can only be read.
pub(super) fn copies() -> Vec<(&'static Path, Tree)> {
    let copy = |path: &'static Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = Tree::copy_of(rustix::fs::open(path, flags, Mode::empty()).ok()?.as_fd()).ok()?;
        copy.restrict(ONLY_READ).ok()?;
        Some((path, copy))
    };
    base::READ.iter().map(Path::new).filter(|path| path.starts_with(PLACE)).filter_map(copy).collect()
}

/// Mounts `/sys`, if the root has nothing there.
///
/// # Errors
///
/// That of the step that failed, once there is a place for it.
pub(super) fn mount(root: BorrowedFd<'_>, copies: &[(&'static Path, Tree)]) -> Result<(), Errno> {
    // Who may not make one has none.
    let Ok(at) = point::open(root, Path::new(PLACE), Kind::Directory, Missing::IsMade) else {
        return Ok(());
    };
    if copies.is_empty() || !is_empty(&at) {
        return Ok(());
    }
    let tree = Tree::new(c"tmpfs", &[("mode", "755".to_owned()), ("size", "1m".to_owned())])?;
    tree.attach(at.as_fd())?;
    for (path, copy) in copies {
        let below = path.strip_prefix(PLACE).unwrap_or(path);
        copy.attach(made(tree.as_fd(), below)?.as_fd())?;
    }
    tree.restrict(ONLY_READ)
}

fn is_empty(directory: &OwnedFd) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let entries = rustix::fs::openat(directory, ".", flags, Mode::empty()).and_then(rustix::fs::Dir::new);
    let is_own = |name: &std::ffi::CStr| name == c"." || name == c"..";
    entries.is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| is_own(entry.file_name()))))
}

/// A directory below, and those that lead to it.
fn made(inside: BorrowedFd<'_>, below: &Path) -> Result<OwnedFd, Errno> {
    let mut at = rustix::io::fcntl_dupfd_cloexec(inside, 0)?;
    for part in below.components().filter(|part| matches!(part, Component::Normal(_))) {
        match rustix::fs::mkdirat(&at, part.as_os_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        at = rustix::fs::openat(&at, part.as_os_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    }
    Ok(at)
}

const ONLY_READ: Restrictions = Restrictions { read_only: true, no_devices: true, no_execution: true };
