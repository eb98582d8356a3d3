//! Makes the root, in the process that will be the supervisor, before it confines itself: nothing of the program runs
//! yet, and this process may still do what the person who started it may do.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use sandlock_policy::Base;
use sandlock_supervisor::message::{NotPrepared, Unprepared};
use sandlock_supervisor::write_whole;
use sandlock_sys::Errno;
use sandlock_sys::namespace::{self, Restrictions, Tree};

use super::planned::{Layout, Planned, Source};
use super::point::{self, Kind, Missing};
use super::{device, sys, told};

impl Planned {
    /// Makes this process who it is to be, in its user namespace, and names its host.
    pub(super) fn identify(&self) -> Result<(), NotPrepared> {
        if let Some((inside, outside)) = self.identity {
            let failed = |errno| told::failed(Unprepared::Identity, "", errno);
            namespace::map_identity(inside, outside).map_err(failed)?;
        }
        if let Some(name) = &self.host_name {
            let failed = |errno| told::failed(Unprepared::HostName, name, errno);
            namespace::set_host_name(name).map_err(failed)?;
        }
        Ok(())
    }
}

impl Layout {
    /// Makes the root and all that is mounted in it, and moves there.
    pub(super) fn build(&self, in_user_namespace: bool) -> Result<(), NotPrepared> {
        namespace::make_mounts_private().map_err(mount("/"))?;
        // What is of the machine is copied while it can be seen; and who is not root may have a /proc only where one
        // is seen that nothing covers (`mount_too_revealing` of fs/namespace.c).
        let places = self.places()?;
        let proc = proc(in_user_namespace).map_err(mount("/proc"))?;
        let devices = match &self.directory {
            Some(directory) => {
                let devices = device::copies().map_err(mount("/dev"))?;
                let sys = if self.has_sys() { sys::copies() } else { Vec::new() };
                self.enter(directory, in_user_namespace).map_err(mount(&directory.path.to_string_lossy()))?;
                Some((devices, sys))
            }
            None => None,
        };
        let root = point::root().map_err(mount("/"))?;
        let at = point::open(root.as_fd(), Path::new("/proc"), Kind::Directory, self.missing());
        let at = at.map_err(|errno| told::failed(Unprepared::MountPoint, "/proc", errno))?;
        proc.attach(at.as_fd()).map_err(mount("/proc"))?;
        if let Some((devices, sys)) = devices {
            device::mount(root.as_fd(), &devices).map_err(mount("/dev"))?;
            sys::mount(root.as_fd(), &sys).map_err(mount(sys::PLACE))?;
        }
        let root = point::root().map_err(mount("/"))?;
        for place in places {
            let shown = place.at.to_string_lossy();
            let at = point::open(root.as_fd(), &place.at, place.kind, self.missing())
                .map_err(|errno| told::failed(Unprepared::MountPoint, &shown, errno))?;
            place.tree.attach(at.as_fd()).map_err(mount(&shown))?;
        }
        Ok(())
    }

    /// What is mounted in the root: parents before what is below them.
    fn places(&self) -> Result<Vec<Place>, NotPrepared> {
        let mut places = Vec::new();
        if let Some((at, source)) = &self.surroundings.private {
            let copy = || -> Result<Tree, Errno> {
                let tree = Tree::copy_of(source.open()?.as_fd())?;
                tree.restrict(Restrictions { no_devices: true, ..Restrictions::default() })?;
                Ok(tree)
            };
            let tree = copy().map_err(mount(&at.to_string_lossy()))?;
            places.push(Place { at: at.clone(), kind: Kind::Directory, tree });
        }
        for (wanted, source) in &self.mounts {
            let copy = || -> Result<Tree, Errno> {
                let tree = Tree::copy_of(source.open()?.as_fd())?;
                let less =
                    Restrictions { read_only: wanted.read_only, no_devices: true, no_execution: false };
                tree.restrict(less)?;
                Ok(tree)
            };
            let tree = copy().map_err(mount(&wanted.source.to_string_lossy()))?;
            let kind = if source.is_directory { Kind::Directory } else { Kind::File };
            places.push(Place { at: wanted.at.clone(), kind, tree });
        }
        for wanted in &self.temporary {
            let make = || -> Result<Tree, Errno> {
                let size = wanted.size.map(|size| ("size", size.to_string()));
                let options: Vec<_> = [("mode", "1777".to_owned())].into_iter().chain(size).collect();
                let tree = Tree::new(c"tmpfs", &options)?;
                tree.restrict(Restrictions { no_devices: true, ..Restrictions::default() })?;
                Ok(tree)
            };
            let tree = make().map_err(mount(&wanted.at.to_string_lossy()))?;
            places.push(Place { at: wanted.at.clone(), kind: Kind::Directory, tree });
        }
        places.sort_by_key(|place| place.at.components().count());
        Ok(places)
    }

    /// Makes a directory of the machine the root of this process.
    fn enter(&self, directory: &Source, in_user_namespace: bool) -> Result<(), Errno> {
        let place = directory.open()?;
        let over =
            self.written.as_ref().and_then(|written| overlay(directory, written, in_user_namespace).ok());
        // Without one an image can be read alone: it is others' too.
        let read_only = self.of_image && over.is_none();
        let root = over.map_or_else(|| Tree::copy_of(place.as_fd()), Ok)?;
        root.restrict(Restrictions { read_only, no_devices: true, no_execution: false })?;
        root.attach(place.as_fd())?;
        root.become_root()
    }

    /// Whether it is given what the base has of `/sys`: where nobody mounts something there.
    fn has_sys(&self) -> bool {
        let mounts = self.mounts.iter().map(|(mount, _)| &mount.at);
        let mut at = mounts.chain(self.temporary.iter().map(|tmpfs| &tmpfs.at));
        self.surroundings.files.base == Base::Standard && !at.any(|at| at.starts_with(sys::PLACE))
    }

    /// Only a root of its own is added to; the machine's stays as it is.
    fn missing(&self) -> Missing {
        if self.is_apart() { Missing::IsMade } else { Missing::IsAnError }
    }

    /// Mounts files of the run's own, which nothing inside can write. Returns those, in the same order, open for writing.
    pub(super) fn mount_files(&self, files: &[(PathBuf, Vec<u8>)]) -> Result<Vec<OwnedFd>, NotPrepared> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let root = point::root().map_err(mount("/"))?;
        let (handles, copies) = file_copies(&root, files.len()).map_err(mount("/proc"))?;
        for ((path, content), (handle, copy)) in files.iter().zip(handles.iter().zip(copies)) {
            let shown = path.to_string_lossy();
            write_whole(handle, content).map_err(mount(&shown))?;
            let at = point::open(root.as_fd(), path, Kind::File, self.missing())
                .map_err(|errno| told::failed(Unprepared::MountPoint, &shown, errno))?;
            copy.attach(at.as_fd()).map_err(mount(&shown))?;
        }
        Ok(handles)
    }
}

/// Something to be mounted.
struct Place {
    at: PathBuf,
    kind: Kind,
    tree: Tree,
}

/// A directory with what is written in it kept elsewhere. Not every kernel and file system has it.
fn overlay(lower: &Source, written: &Path, in_user_namespace: bool) -> Result<Tree, Errno> {
    let option = |path: &Path| match path.to_str() {
        // What separates directories in the option, and escapes there.
        Some(path) if !path.contains([':', '\\', ',']) => Ok(path.to_owned()),
        _ => Err(Errno::INVAL),
    };
    let mut options = vec![
        ("lowerdir", option(&lower.path)?),
        ("upperdir", option(&written.join("upper"))?),
        ("workdir", option(&written.join("work"))?),
    ];
    if in_user_namespace {
        options.push(("userxattr", String::new()));
    }
    Tree::new(c"overlay", &options)
}

/// A `/proc` of this process's namespace, in which nobody sees whom they may not look into.
fn proc(in_user_namespace: bool) -> Result<Tree, Errno> {
    let mut options = vec![("hidepid", "invisible".to_owned())];
    if !in_user_namespace {
        // The group for which nothing is hidden is root's, unless it is said to be one that nobody is in.
        options.push(("gid", NO_GROUP.to_string()));
    }
    let proc = Tree::new(c"proc", &options)?;
    proc.restrict(Restrictions { no_devices: true, no_execution: true, read_only: false })?;
    Ok(proc)
}

/// Empty files of a file system that is mounted nowhere, each open for writing, and as a mount of its own.
fn file_copies(root: &OwnedFd, count: usize) -> Result<(Vec<OwnedFd>, Vec<Tree>), Errno> {
    let place = Tree::new(c"tmpfs", &[("mode", "700".to_owned())])?;
    // Only what is attached can be copied (Linux before 6.15), so it is for a moment, over a place that always is there.
    let at = point::open(root.as_fd(), Path::new("/proc"), Kind::Directory, Missing::IsAnError)?;
    place.attach(at.as_fd())?;
    let mut handles = Vec::new();
    let mut copies = Vec::new();
    for index in 0..count {
        let name = CString::new(index.to_string()).map_err(|_| Errno::INVAL)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        handles.push(rustix::fs::openat(place.as_fd(), &name, flags, Mode::from_raw_mode(0o444))?);
        let copy = place.copy_of_file(&name)?;
        copy.restrict(Restrictions { read_only: true, no_devices: true, no_execution: true })?;
        copies.push(copy);
    }
    namespace::detach(c"/proc")?;
    Ok((handles, copies))
}

fn mount(subject: &str) -> impl Fn(Errno) -> NotPrepared {
    let subject = subject.to_owned();
    move |errno| told::failed(Unprepared::Mount, &subject, errno)
}

/// The last that there is but for -1, which is none.
const NO_GROUP: u32 = u32::MAX - 1;
