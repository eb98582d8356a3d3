//! Holes: what `--fs-deny` takes out of a wider grant, and where a path leads with regard to them.
//!
//! Landlock only adds rights, so the command has none in a directory above a hole, but in those beside it; and the
//! supervisor, which has, acts there on its behalf. What is looked at is identities of directories, never spellings: whatever is renamed, a
//! hole stays what it was, and stays below what it was below. All that changes names in such a place is performed here, and
//! no call may move what is above a hole: so nothing that was judged becomes untrue by another call.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use sandlock_policy::Denied;
use sandlock_sys::Errno;

use super::path::{self, Base, Follow};
use super::served::{MOST_LINKS, split};
use crate::call::{Call, Failure};
use crate::context::Context;

/// Something that may not be reached, below a place that may.
#[derive(Debug)]
pub struct Hole {
    /// Its path, for reports.
    pub path: PathBuf,
    /// The directory that it is in.
    pub directory: Held,
    /// Its name there. Whatever gets this name is denied.
    pub name: OsString,
    /// What is there now: whatever other name it gets, it is denied.
    pub file: Option<Held>,
}

/// All holes of a run, and the places that they are in.
#[derive(Debug, Default)]
pub struct Holes {
    /// The holes.
    pub holes: Vec<Hole>,
    /// Directories with holes below them, that some rule grants.
    pub areas: Vec<Held>,
    /// What is granted to the command itself, beside holes. Landlock's rules hold these.
    beside: HashSet<Identity>,
}

/// A file or directory that is held, so that its number is nobody else's.
#[derive(Debug)]
pub struct Held {
    handle: OwnedFd,
    identity: Identity,
}

/// Device and inode.
type Identity = (u64, u64);

impl Held {
    /// Holds what a handle is of.
    ///
    /// # Errors
    ///
    /// That of `fstat(2)`.
    pub fn new(handle: OwnedFd) -> Result<Self, Errno> {
        let identity = identity(&rustix::fs::fstat(&handle)?);
        Ok(Held { handle, identity })
    }
}

fn identity(file: &Stat) -> Identity {
    #[allow(clippy::unnecessary_cast)] // Their types are the architecture's.
    (file.st_dev as u64, file.st_ino as u64)
}

/// Where something is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// Not in a place with holes: the kernel decides.
    Elsewhere,
    /// In such a place, and not in a hole.
    Area,
    /// Denied.
    In(&'a Hole),
}

impl Place<'_> {
    /// Whether it is in a place with holes.
    ///
    /// # Errors
    ///
    /// [`Denied::Hole`].
    pub(crate) fn is_area(self) -> Result<bool, Denied> {
        match self {
            Place::Elsewhere => Ok(false),
            Place::Area => Ok(true),
            Place::In(hole) => Err(Denied::Hole(hole.path.clone())),
        }
    }
}

/// What a path leads to.
pub(crate) enum Target {
    /// A name in a directory, whether or not there is such a thing; it is no link that would be followed.
    Entry {
        /// The directory.
        directory: OwnedFd,
        /// The name: neither empty nor `.` or `..`.
        name: Vec<u8>,
    },
    /// Something that has no other name here: a directory, or what the caller has open.
    Held(OwnedFd),
}

impl Holes {
    pub(crate) fn is_empty(&self) -> bool {
        self.areas.is_empty()
    }

    /// Takes note of something that is granted beside holes, unless it is one itself by another name.
    ///
    /// # Errors
    ///
    /// That of `fstat(2)`.
    pub fn add_beside(&mut self, place: &OwnedFd) -> Result<bool, Errno> {
        let stat = rustix::fs::fstat(place)?;
        let is_none = self.hole_itself(&stat).is_none();
        if is_none && FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            self.beside.insert(identity(&stat));
        }
        Ok(is_none)
    }

    /// The descriptors that hold what is held.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let of_holes =
            self.holes.iter().flat_map(|hole| [Some(&hole.directory), hole.file.as_ref()]).flatten();
        of_holes.chain(&self.areas).map(|held| held.handle.as_fd())
    }

    /// Where a target is.
    ///
    /// # Errors
    ///
    /// When that cannot be told, which is a refusal.
    pub(crate) fn place(&self, target: &Target) -> Result<Place<'_>, Errno> {
        match target {
            Target::Entry { directory, name } => self.of_entry(directory.as_fd(), name),
            // What cannot be told is left to the kernel, which lets the command do nothing where holes are.
            Target::Held(file) => Ok(self.of_file(file.as_fd())?.unwrap_or(Place::Elsewhere)),
        }
    }

    /// Where a name in a directory is, whether or not there is such a thing.
    ///
    /// # Errors
    ///
    /// When that cannot be told, which is a refusal.
    pub(crate) fn of_entry(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<Place<'_>, Errno> {
        let place = self.of_directory(directory)?;
        let stat = rustix::fs::fstat(directory)?;
        if let Some(hole) = self.holes.iter().find(|hole| hole.is_called(&stat, name)) {
            return Ok(Place::In(hole));
        }
        // A file that is granted by itself is an area of its own.
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(file) => Ok(match self.hole_itself(&file) {
                Some(hole) => Place::In(hole),
                None if self.is_area(&file) => Place::Area,
                None => place,
            }),
            Err(_) => Ok(place),
        }
    }

    /// Where a path of this process is, absolute and of an existing directory; with no link at its end.
    ///
    /// # Errors
    ///
    /// When that cannot be told, which is a refusal.
    pub(crate) fn of_path(&self, path: &Path) -> Result<Place<'_>, Errno> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Place::Elsewhere);
        };
        if self.holes.is_empty() {
            return Ok(Place::Elsewhere);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())?;
        self.of_entry(directory.as_fd(), name.as_bytes())
    }

    /// Whether a file that is held is in no hole.
    ///
    /// # Errors
    ///
    /// EACCES when that cannot be told.
    pub(crate) fn leave(&self, file: BorrowedFd<'_>) -> Result<bool, Errno> {
        if self.is_empty() {
            return Ok(true);
        }
        match self.of_file(file)? {
            Some(place) => Ok(!matches!(place, Place::In(_))),
            None => Err(Errno::ACCESS),
        }
    }

    /// Where a file is that is held: in the directory where its path says. `None` when it is not there.
    fn of_file(&self, file: BorrowedFd<'_>) -> Result<Option<Place<'_>>, Errno> {
        let stat = rustix::fs::fstat(file)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return self.of_directory(file).map(Some);
        }
        if let Some(hole) = self.hole_itself(&stat) {
            return Ok(Some(Place::In(hole)));
        }
        // Removed: nobody else reaches it.
        if stat.st_nlink == 0 {
            return Ok(Some(Place::Elsewhere));
        }
        for _ in 0..MOST_LOOKS {
            let real = rustix::fs::readlink(path::of(file), Vec::new())?.into_bytes();
            let Some((parent, name)) = split(&real).filter(|_| real.first() == Some(&b'/')) else {
                // Of no directory: a pipe, a file in memory.
                return Ok(Some(Place::Elsewhere));
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let found = rustix::fs::open(parent, flags, Mode::empty()).and_then(|directory| {
                let found = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                Ok((directory, found))
            });
            if let Ok((directory, found)) = found
                && same(&found, &stat)
            {
                return self.of_entry(directory.as_fd(), name).map(Some);
            }
        }
        Ok(None)
    }

    /// Where a directory is: up through its parents, which are asked who they are.
    fn of_directory(&self, directory: BorrowedFd<'_>) -> Result<Place<'_>, Errno> {
        let mut at = rustix::io::fcntl_dupfd_cloexec(directory, 0)?;
        let mut stat = rustix::fs::fstat(&at)?;
        loop {
            if let Some(hole) = self.hole_itself(&stat) {
                return Ok(Place::In(hole));
            }
            // The kernel was told of it.
            if self.beside.contains(&identity(&stat)) {
                return Ok(Place::Elsewhere);
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let parent = rustix::fs::openat(&at, "..", flags, Mode::empty())?;
            let parents = rustix::fs::fstat(&parent)?;
            let called = |hole: &&Hole| {
                let there = rustix::fs::statat(&parent, &hole.name, AtFlags::SYMLINK_NOFOLLOW);
                hole.is_in(&parents) && there.is_ok_and(|there| same(&there, &stat))
            };
            if let Some(hole) = self.holes.iter().find(called) {
                return Ok(Place::In(hole));
            }
            // Holes are below areas, and an area is never moved.
            if self.is_area(&stat) {
                return Ok(Place::Area);
            }
            if same(&parents, &stat) {
                return Ok(Place::Elsewhere);
            }
            (at, stat) = (parent, parents);
        }
    }

    /// Whether a hole is below a directory, or would be: then it stays where it is, for what is below it would not be
    /// found any more.
    pub(crate) fn hole_below(&self, directory: &Stat) -> Result<Option<&Hole>, Errno> {
        for hole in &self.holes {
            let mut at = rustix::io::fcntl_dupfd_cloexec(&hole.directory.handle, 0)?;
            let mut stat = rustix::fs::fstat(&at)?;
            loop {
                if same(&stat, directory) {
                    return Ok(Some(hole));
                }
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let parent = rustix::fs::openat(&at, "..", flags, Mode::empty())?;
                let parents = rustix::fs::fstat(&parent)?;
                if same(&parents, &stat) {
                    break;
                }
                (at, stat) = (parent, parents);
            }
        }
        Ok(None)
    }

    /// The hole that a file itself is, under whatever name.
    pub(crate) fn hole_itself(&self, file: &Stat) -> Option<&Hole> {
        let file = identity(file);
        self.holes.iter().find(|hole| hole.file.as_ref().is_some_and(|own| own.identity == file))
    }

    fn is_area(&self, file: &Stat) -> bool {
        self.areas.iter().any(|area| area.identity == identity(file))
    }
}

impl Hole {
    fn is_in(&self, directory: &Stat) -> bool {
        self.directory.identity == identity(directory)
    }

    fn is_called(&self, directory: &Stat, name: &[u8]) -> bool {
        self.name.as_bytes() == name && self.is_in(directory)
    }
}

impl Target {
    /// What a path means to the caller. With `Follow::Yes` a link at the end is followed, also one that leads to nothing.
    ///
    /// # Errors
    ///
    /// Those of looking it up, which the kernel will have as well.
    pub(crate) fn of(
        cx: &Context<'_>,
        call: &Call,
        base: &Base,
        path: &[u8],
        follow: Follow,
    ) -> Result<Target, Failure> {
        let mut path = path.to_vec();
        let mut link_in: Option<OwnedFd> = None;
        for _ in 0..MOST_LINKS {
            let mut start = || match link_in.take() {
                Some(directory) => Ok(directory),
                None => path::open_base(cx, call, base),
            };
            if path::is_own_descriptor(&path, call.tid) {
                return Ok(Target::Held(path::pin(cx, call, base, &path, Follow::Yes)?));
            }
            let Some((directory, name)) = split(&path) else {
                return Ok(Target::Held(path::pin_from(cx, call, start, &path, Follow::Yes)?));
            };
            let directory = path::pin_from(cx, call, &mut start, directory, Follow::Yes)?;
            match rustix::fs::readlinkat(&directory, name, Vec::new()) {
                Ok(target) if follow == Follow::Yes && !is_made_up(&directory) => {
                    let place = cx.holes.of_entry(directory.as_fd(), name)?;
                    if let Place::In(hole) = place {
                        return Err(Denied::Hole(hole.path.clone()).into());
                    }
                    path = target.into_bytes();
                    link_in = Some(directory);
                }
                _ => return Ok(Target::Entry { directory, name: name.to_vec() }),
            }
        }
        Err(Errno::LOOP.into())
    }

    /// Holds what is there, not following a link.
    ///
    /// # Errors
    ///
    /// ENOENT when there is nothing.
    pub(crate) fn hold(&self) -> Result<OwnedFd, Errno> {
        match self {
            Target::Held(file) => rustix::io::fcntl_dupfd_cloexec(file, 0),
            Target::Entry { directory, name } => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(directory, &name[..], flags, Mode::empty())
            }
        }
    }
}

/// Whether something is of `/proc`, whose links are not what they say, and whose files tell everybody something else.
/// In doubt it is.
pub(super) fn is_made_up(file: &OwnedFd) -> bool {
    !rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type != rustix::fs::PROC_SUPER_MAGIC)
}

fn same(one: &Stat, other: &Stat) -> bool {
    identity(one) == identity(other)
}

/// Opens what a hole is made of, by a real path that exists up to its last name.
///
/// # Errors
///
/// Those of `open(2)`.
pub fn hold_hole(real: &Path) -> Result<Option<Hole>, Errno> {
    let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
        return Ok(None);
    };
    let handle = OFlags::PATH | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, parent, handle | OFlags::DIRECTORY, Mode::empty())?;
    let file = match rustix::fs::openat(&directory, name, handle | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(file) => Some(Held::new(file)?),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(errno),
    };
    let (path, name) = (real.to_owned(), name.to_owned());
    Ok(Some(Hole { path, directory: Held::new(directory)?, name, file }))
}

const MOST_LOOKS: usize = 8;
