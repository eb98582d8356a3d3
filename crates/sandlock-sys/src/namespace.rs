//! Namespaces and mounts: `namespaces(7)`, `mount_setattr(2)`, `pivot_root(2)`.
//!
//! Mounts are made detached, restricted, and then attached to a place that is already open: nothing is ever mounted at
//! a path that could have changed since somebody looked.

use std::ffi::CStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::listener::last_errno;

/// The namespaces that a new process has of its own.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Namespaces {
    /// Users and groups: what lets an ordinary user have the others.
    pub users: bool,
    /// Mounts.
    pub mounts: bool,
    /// Process numbers: the new process is number 1, and all that it leaves behind ends with it.
    pub processes: bool,
    /// The host name.
    pub host_name: bool,
}

impl Namespaces {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Namespaces::default()
    }

    pub(crate) fn flags(self) -> libc::c_int {
        let of = |wanted: bool, flag| if wanted { flag } else { 0 };
        of(self.users, libc::CLONE_NEWUSER)
            | of(self.mounts, libc::CLONE_NEWNS)
            | of(self.processes, libc::CLONE_NEWPID)
            | of(self.host_name, libc::CLONE_NEWUTS)
    }
}

/// A user and a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The user's number.
    pub user: u32,
    /// The group's.
    pub group: u32,
}

impl Identity {
    /// That of the calling process.
    #[must_use]
    pub fn own() -> Self {
        Identity { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() }
    }
}

/// In a user namespace that this process was made in: it is `inside` there, and stays `outside` for everybody else. No
/// other user or group exists there.
///
/// # Errors
///
/// That of the `write(2)`: EPERM where the machine restricts user namespaces.
pub fn map_identity(inside: Identity, outside: Identity) -> Result<(), Errno> {
    let write = |file: &str, text: String| {
        let file = OpenOptions::new().write(true).open(file);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    // Or else a group could be left that a file's mode denies something (user_namespaces(7)).
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{} {} 1", inside.user, outside.user))?;
    write("/proc/self/gid_map", format!("{} {} 1", inside.group, outside.group))
}

/// Sets the host name of this process's namespace.
///
/// # Errors
///
/// That of `sethostname(2)`.
pub fn set_host_name(name: &str) -> Result<(), Errno> {
    rustix::system::sethostname(name.as_bytes())
}

/// Cuts every mount of this process's namespace off from those that it was copied from.
///
/// # Errors
///
/// That of `mount_setattr(2)`.
pub fn make_mounts_private() -> Result<(), Errno> {
    let change = libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    set_attributes(rustix::fs::CWD, c"/", libc::AT_RECURSIVE, &change)
}

/// What a mount allows less than others. Set-user-id bits mean nothing on any.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Restrictions {
    /// Nothing can be changed.
    pub read_only: bool,
    /// Device nodes are none.
    pub no_devices: bool,
    /// Nothing can be executed.
    pub no_execution: bool,
}

/// A mount with those below it, attached nowhere yet.
#[derive(Debug)]
pub struct Tree(OwnedFd);

impl Tree {
    /// Copies what is mounted at an open place (`O_PATH` is enough), from there on, with what is mounted below.
    ///
    /// # Errors
    ///
    /// That of `open_tree(2)`.
    pub fn copy_of(place: BorrowedFd<'_>) -> Result<Tree, Errno> {
        Self::copy(place, c"")
    }

    /// Copies a file of this tree.
    ///
    /// # Errors
    ///
    /// That of `open_tree(2)`.
    pub fn copy_of_file(&self, name: &CStr) -> Result<Tree, Errno> {
        Self::copy(self.0.as_fd(), name)
    }

    fn copy(place: BorrowedFd<'_>, name: &CStr) -> Result<Tree, Errno> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_EMPTY_PATH;
        rustix::mount::open_tree(place, name, flags).map(Tree)
    }

    /// A new file system of a kind that needs no device. An option with an empty value is a flag.
    ///
    /// # Errors
    ///
    /// That of `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`; EPERM for `proc` where parts of the machine's are covered.
    pub fn new(kind: &CStr, options: &[(&str, String)]) -> Result<Tree, Errno> {
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (option, value) in options {
            match value.as_str() {
                "" => rustix::mount::fsconfig_set_flag(context.as_fd(), *option)?,
                value => rustix::mount::fsconfig_set_string(context.as_fd(), *option, value)?,
            }
        }
        rustix::mount::fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map(Tree)
    }

    /// Restricts this mount and all below it, for good where the namespace belongs to another user namespace.
    ///
    /// # Errors
    ///
    /// That of `mount_setattr(2)`.
    pub fn restrict(&self, less: Restrictions) -> Result<(), Errno> {
        let of = |wanted: bool, flag: u64| if wanted { flag } else { 0 };
        let change = libc::mount_attr {
            attr_set: libc::MOUNT_ATTR_NOSUID
                | of(less.read_only, libc::MOUNT_ATTR_RDONLY)
                | of(less.no_devices, libc::MOUNT_ATTR_NODEV)
                | of(less.no_execution, libc::MOUNT_ATTR_NOEXEC),
            attr_clr: 0,
            propagation: 0,
            userns_fd: 0,
        };
        set_attributes(self.0.as_fd(), c"", libc::AT_RECURSIVE | libc::AT_EMPTY_PATH, &change)
    }

    /// Mounts it at an open place, whatever its path means by now.
    ///
    /// # Errors
    ///
    /// That of `move_mount(2)`: ENOTDIR for a file at a directory, or the other way round.
    pub fn attach(&self, at: BorrowedFd<'_>) -> Result<(), Errno> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(self.0.as_fd(), c"", at, c"", flags)
    }

    /// Makes this tree, which is attached somewhere, the root of this process and its namespace, and lets the old root
    /// go. The working directory is the root afterwards.
    ///
    /// # Errors
    ///
    /// That of `pivot_root(2)`: EINVAL where the machine's root is the kernel's first one (an initial ramdisk).
    pub fn become_root(&self) -> Result<(), Errno> {
        rustix::process::fchdir(self.0.as_fd())?;
        // The old root lies on the new one then, and is all that "." can mean: see pivot_root(2).
        rustix::process::pivot_root(c".", c".")?;
        rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
        rustix::process::chdir(c"/")
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes away what is mounted at a path, while copies of it stay.
///
/// # Errors
///
/// That of `umount2(2)`.
pub fn detach(path: &CStr) -> Result<(), Errno> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}

fn set_attributes(
    place: BorrowedFd<'_>,
    path: &CStr,
    flags: libc::c_int,
    change: &libc::mount_attr,
) -> Result<(), Errno> {
    // SAFETY: the path is NUL-terminated and `change` a live structure of the size that is said.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            place.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(change),
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}
