//! Where something is to be mounted: found in the root without leaving it, and made where it is missing.

use std::ffi::{CString, OsStr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use sandlock_sys::Errno;

/// What is mounted there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Directory,
    File,
}

/// What becomes of a place that is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Missing {
    IsMade,
    IsAnError,
}

/// Opens a place of the root, whose links lead nowhere but into the root. What is missing may be made: directories, and
/// the file if it is to be one.
///
/// # Errors
///
/// That of `openat2(2)`, `mkdir(2)` or `open(2)`; ENOTDIR or EISDIR for what is there and is the other kind.
pub(super) fn open(
    root: BorrowedFd<'_>,
    path: &Path,
    kind: Kind,
    missing: Missing,
) -> Result<OwnedFd, Errno> {
    match lookup(root, path) {
        Err(Errno::NOENT) if missing == Missing::IsMade => {}
        found => return found.and_then(|place| is_of(place, kind)),
    }
    let mut directory = lookup(root, Path::new("/"))?;
    let mut so_far = std::path::PathBuf::from("/");
    let parts: Vec<&OsStr> = path.iter().skip(1).collect();
    for (index, name) in parts.iter().enumerate() {
        so_far.push(name);
        let last = index + 1 == parts.len();
        let found = match lookup(root, &so_far) {
            Err(Errno::NOENT) => {
                make(&directory, name, if last { kind } else { Kind::Directory })?;
                lookup(root, &so_far)?
            }
            found => found?,
        };
        directory = found;
    }
    is_of(directory, kind)
}

fn lookup(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let restrictions = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    rustix::fs::openat2(root, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), restrictions)
}

/// A link that leads nowhere is there already: EEXIST, and nothing is made elsewhere.
fn make(directory: &OwnedFd, name: &OsStr, kind: Kind) -> Result<(), Errno> {
    match kind {
        Kind::Directory => rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

fn is_of(place: OwnedFd, kind: Kind) -> Result<OwnedFd, Errno> {
    let is_directory = FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) == FileType::Directory;
    match (kind, is_directory) {
        (Kind::Directory, false) => Err(Errno::NOTDIR),
        (Kind::File, true) => Err(Errno::ISDIR),
        _ => Ok(place),
    }
}

/// The root that this process has now.
///
/// # Errors
///
/// That of `open(2)`.
pub(super) fn root() -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    fn opened(place: &Path) -> OwnedFd {
        rustix::fs::open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn links_lead_nowhere_but_into_the_root() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(outside.path().join("hosts"), "outside").unwrap();
        symlink("../../hosts", root.join("etc/hosts")).unwrap();
        symlink(outside.path(), root.join("absolute")).unwrap();
        let handle = opened(&root);
        for (path, kind) in
            [("/etc/hosts", Kind::File), ("/absolute/hosts", Kind::File), ("/absolute", Kind::Directory)]
        {
            // What they lead to is missing in the root, and a link is in the way of making it.
            assert!(open(handle.as_fd(), Path::new(path), kind, Missing::IsMade).is_err(), "{path}");
        }
        std::fs::write(root.join("hosts"), "inside").unwrap();
        let found = open(handle.as_fd(), Path::new("/etc/hosts"), Kind::File, Missing::IsMade).unwrap();
        let real = rustix::fs::stat(root.join("hosts")).unwrap();
        assert_eq!(rustix::fs::fstat(&found).unwrap().st_ino, real.st_ino);
        assert_eq!(std::fs::read(outside.path().join("hosts")).unwrap(), b"outside");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_missing_is_only_made_where_it_may_be() {
        let root = tempfile::tempdir().unwrap();
        let handle = opened(root.path());
        let found = open(handle.as_fd(), Path::new("/a"), Kind::Directory, Missing::IsAnError);
        assert_eq!(found.err(), Some(Errno::NOENT));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_the_other_kind_refused() {
        let root = tempfile::tempdir().unwrap();
        let handle = opened(root.path());
        open(handle.as_fd(), Path::new("/a/b/file"), Kind::File, Missing::IsMade).unwrap();
        assert!(root.path().join("a/b/file").is_file());
        open(handle.as_fd(), Path::new("/a/c"), Kind::Directory, Missing::IsMade).unwrap();
        assert!(root.path().join("a/c").is_dir());
        let other = |path: &str, kind| open(handle.as_fd(), Path::new(path), kind, Missing::IsMade).err();
        assert_eq!(other("/a/c", Kind::File), Some(Errno::ISDIR));
        assert_eq!(other("/a/b/file", Kind::Directory), Some(Errno::NOTDIR));
        assert_eq!(other("/a/b/file/x", Kind::File), Some(Errno::NOTDIR));
    }
}
