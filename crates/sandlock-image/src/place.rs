//! Names of a layer, in the directory that it is unpacked into. Whatever a name says, and whatever links earlier entries
//! have made, nothing outside of the directory is opened.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A name in an open directory.
pub(crate) struct Place {
    pub(crate) directory: OwnedFd,
    pub(crate) name: OsString,
    /// Where that is, for comparing.
    pub(crate) key: PathBuf,
}

/// Opens the directory that a path leads to, and splits off the last name. Directories that are missing are made. `None`
/// for the root itself, and for a path with `..` at its end.
///
/// # Errors
///
/// That of the step that failed; ENOTDIR where a part of the way is no directory.
pub(crate) fn find(root: BorrowedFd<'_>, path: &Path) -> Result<Option<Place>, Errno> {
    let parts: Vec<Component<'_>> =
        path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir)).collect();
    let Some((Component::Normal(name), above)) = parts.split_last() else {
        return Ok(None);
    };
    let mut so_far = PathBuf::from("/");
    let mut directory = open(root, &so_far)?;
    let whole: PathBuf = so_far.iter().chain(above.iter().map(|part| part.as_os_str())).collect();
    let there = open(root, &whole);
    let missing = if there.is_err() { above } else { &[] };
    for part in missing {
        so_far.push(part);
        directory = match open(root, &so_far) {
            Err(Errno::NOENT) => {
                let Component::Normal(name) = part else {
                    return Err(Errno::NOENT);
                };
                rustix::fs::mkdirat(&directory, *name, Mode::from_raw_mode(0o755))?;
                open(root, &so_far)?
            }
            found => found?,
        };
    }
    let directory = there.unwrap_or(directory);
    let key = real_path(&directory)?.join(name);
    Ok(Some(Place { directory, name: (*name).to_owned(), key }))
}

/// Opens a directory by a path whose links and `..` stay in the root.
fn open(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let restrictions = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(root, path, flags, Mode::empty(), restrictions)
}

fn real_path(directory: &OwnedFd) -> Result<PathBuf, Errno> {
    let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let path = rustix::fs::readlink(link, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(path.into_bytes())))
}

impl Place {
    /// What is there itself, no link followed.
    pub(crate) fn kind(&self) -> Option<FileType> {
        let stat = rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(stat.st_mode))
    }

    /// Removes what is there, with all below.
    ///
    /// # Errors
    ///
    /// That of `unlink(2)` or of reading a directory.
    pub(crate) fn remove(&self) -> Result<(), Errno> {
        remove_but(self.directory.as_fd(), &self.name, &self.key, &|_| false).map(|_| ())
    }

    /// Removes what is there and not `kept`.
    ///
    /// # Errors
    ///
    /// As [`Place::remove`].
    pub(crate) fn remove_but(&self, kept: &dyn Fn(&Path) -> bool) -> Result<(), Errno> {
        remove_but(self.directory.as_fd(), &self.name, &self.key, kept).map(|_| ())
    }

    /// Removes what is in the directory of this name and not `kept`.
    ///
    /// # Errors
    ///
    /// As [`Place::remove`].
    pub(crate) fn empty_directory_but(&self, kept: &dyn Fn(&Path) -> bool) -> Result<(), Errno> {
        let above = self.key.parent().unwrap_or(Path::new("/"));
        for name in names(self.directory.as_fd())? {
            remove_but(self.directory.as_fd(), &name, &above.join(&name), kept)?;
        }
        Ok(())
    }
}

/// Says whether all of it is gone.
fn remove_but(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    key: &Path,
    kept: &dyn Fn(&Path) -> bool,
) -> Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(inner) => {
            let mut all = true;
            for entry in names(inner.as_fd())? {
                all &= remove_but(inner.as_fd(), &entry, &key.join(&entry), kept)?;
            }
            if !all || kept(key) {
                return Ok(false);
            }
            rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
        }
        Err(Errno::NOENT) => {}
        Err(Errno::NOTDIR | Errno::LOOP) => {
            if kept(key) {
                return Ok(false);
            }
            rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
        }
        Err(errno) => return Err(errno),
    }
    Ok(true)
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let again = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(again)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}
