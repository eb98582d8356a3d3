//! Modes, owners, times and extended attributes: Landlock has no right for them, so they are performed on what
//! was pinned, below writable paths only.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use sandlock_policy::{Allowed, Denied, MetadataFacts, MetadataTarget, check_metadata};
use sandlock_sys::{ChildPtr, Errno, memory};

use super::path::{self, Base, Follow};
use super::place;
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::control_socket;

/// The file whose metadata is to change, held.
#[derive(Debug)]
struct Subject {
    handle: OwnedFd,
    named_by: NamedBy,
    real_path: PathBuf,
    below_writable: bool,
    open_for_writing: bool,
    device: bool,
    pipe: bool,
    of_control: bool,
}

/// How the caller named the file: the kernel's own calls differ in what they accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NamedBy {
    Descriptor,
    Path,
}

impl Subject {
    fn by_descriptor(cx: &Context<'_>, call: &Call, register: usize) -> Result<Self, Failure> {
        let fd = call.descriptor(register);
        let handle = cx.pin_place(call, fd)?;
        match cx.needs.takes_descriptors {
            true => Self::of(cx, handle, NamedBy::Descriptor),
            // The errno decides nothing, so another look may.
            false if place::is_handle(call.tid, fd) => Err(Errno::BADF.into()),
            // How the caller has it open does not count then: only where it is.
            false => Self::of(cx, handle, NamedBy::Path),
        }
    }

    /// A path in register `path`, relative to the directory in register `directory` or to the working directory.
    fn by_path(
        cx: &Context<'_>,
        call: &Call,
        directory: Option<usize>,
        path: usize,
        follow: Follow,
    ) -> Result<Self, Failure> {
        let name = path::read(call.tid, call.pointer(path))?;
        let base =
            directory.map_or(Base::WorkingDirectory, |register| Base::Descriptor(call.descriptor(register)));
        let handle = path::pin(cx, call, &base, &name, follow)?;
        Self::of(cx, handle, NamedBy::Path)
    }

    /// As [`Subject::by_path`], with the `AT_` flags of register `flags`.
    fn by_path_and_flags(cx: &Context<'_>, call: &Call, path: usize, flags: usize) -> Result<Self, Failure> {
        let flags = at_flags(call, flags)?;
        let follow = if flags.contains(AtFlags::SYMLINK_NOFOLLOW) { Follow::No } else { Follow::Yes };
        if flags.contains(AtFlags::EMPTY_PATH) && path::read_string(call.tid, call.pointer(path))?.is_empty()
        {
            let handle = path::open_base(cx, call, &Base::Descriptor(call.descriptor(0)))?;
            // What is open, such as a pipe, need not have a path that leads to it.
            let only_a_path = rustix::fs::fcntl_getfl(&handle)?.contains(OFlags::PATH);
            return Self::of(cx, handle, if only_a_path { NamedBy::Path } else { NamedBy::Descriptor });
        }
        Self::by_path(cx, call, Some(0), path, follow)
    }

    fn of(cx: &Context<'_>, handle: OwnedFd, named_by: NamedBy) -> Result<Self, Failure> {
        let stat = rustix::fs::fstat(&handle)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut subject = Subject {
            below_writable: false,
            of_control: control_socket::is_marked(&stat),
            open_for_writing: named_by == NamedBy::Descriptor && writes(&handle)?,
            device: matches!(kind, FileType::BlockDevice | FileType::CharacterDevice),
            pipe: kind == FileType::Fifo,
            handle,
            named_by,
            real_path: PathBuf::new(),
        };
        // Where it is decides the rest, and is dear to learn: unpacking an archive asks three times a file.
        if !subject.open_for_writing || subject.device {
            subject.look_for_place(cx)?;
        }
        Ok(subject)
    }

    fn look_for_place(&mut self, cx: &Context<'_>) -> Result<(), Failure> {
        let real_path = rustix::fs::readlink(path::of(self.handle.as_fd()), Vec::new())?.into_bytes();
        self.real_path = PathBuf::from(OsStr::from_bytes(&real_path));
        // A FIFO has a path.
        self.pipe &= !self.real_path.is_absolute();
        self.below_writable = !self.of_control
            && cx.writable.iter().any(|root| self.real_path.starts_with(root))
            && cx.holes.leave(self.handle.as_fd())?;
        Ok(())
    }

    /// After everything was read: the caller still waits, and the policy agrees.
    fn check(self, cx: &Context<'_>, call: &Call) -> Result<Allowed<Subject>, Failure> {
        cx.confirm(call)?;
        Ok(check_metadata(self)?)
    }
}

/// Whether an open file can be written through this descriptor: what cannot change once it is open.
fn writes(file: &OwnedFd) -> Result<bool, Errno> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    let writes = matches!(flags & OFlags::ACCMODE, OFlags::WRONLY | OFlags::RDWR);
    Ok(writes && !flags.contains(OFlags::PATH))
}

/// The `AT_` flags that these calls know.
fn at_flags(call: &Call, register: usize) -> Result<AtFlags, Errno> {
    AtFlags::from_bits(call.int(register) as u32)
        .filter(|flags| (AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH).contains(*flags))
        .ok_or(Errno::INVAL)
}

impl MetadataTarget for Subject {
    fn facts(&self) -> MetadataFacts {
        MetadataFacts {
            below_writable: self.below_writable,
            open_for_writing: self.open_for_writing,
            device: self.device,
            // Not known of what is open for writing.
            pipe: self.pipe && !self.real_path.as_os_str().is_empty(),
        }
    }

    fn denied(&self) -> Denied {
        match self.of_control {
            true => Denied::ControlSocket(self.real_path.clone()),
            false => Denied::Metadata(self.real_path.clone()),
        }
    }
}

/// `chmod(path, mode)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn chmod(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    change_mode(cx, call, Subject::by_path(cx, call, None, 0, Follow::Yes)?, 1)
}

/// `fchmod(fd, mode)`.
pub(crate) fn fchmod(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    change_mode(cx, call, Subject::by_descriptor(cx, call, 0)?, 1)
}

/// `fchmodat(dirfd, path, mode)`: the system call has no flags.
pub(crate) fn fchmodat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    change_mode(cx, call, Subject::by_path(cx, call, Some(0), 1, Follow::Yes)?, 2)
}

/// `fchmodat2(dirfd, path, mode, flags)`.
pub(crate) fn fchmodat2(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    change_mode(cx, call, Subject::by_path_and_flags(cx, call, 1, 3)?, 2)
}

/// `chown(path, owner, group)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn chown(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    change_owner(cx, call, Subject::by_path(cx, call, None, 0, Follow::Yes)?, 1)
}

/// `lchown(path, owner, group)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn lchown(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    change_owner(cx, call, Subject::by_path(cx, call, None, 0, Follow::No)?, 1)
}

/// `fchown(fd, owner, group)`.
pub(crate) fn fchown(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    change_owner(cx, call, Subject::by_descriptor(cx, call, 0)?, 1)
}

/// `fchownat(dirfd, path, owner, group, flags)`.
pub(crate) fn fchownat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    change_owner(cx, call, Subject::by_path_and_flags(cx, call, 1, 4)?, 2)
}

/// `utimensat(dirfd, path, times, flags)`; without a path, the descriptor itself.
pub(crate) fn utimensat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let times = read_times(call, call.pointer(2), Unit::Nanoseconds)?;
    // "Nothing to do, we must not even check the path": fs/utimes.c.
    if [times.last_access, times.last_modification].iter().all(|time| time.tv_nsec == rustix::fs::UTIME_OMIT)
    {
        return Ok(Done::Value(0));
    }
    let subject = match call.pointer(1).is_null() {
        true if call.descriptor(0).get() != path::AT_FDCWD && call.int(3) != 0 => {
            return Err(Errno::INVAL.into());
        }
        true if call.descriptor(0).get() == path::AT_FDCWD => {
            at_flags(call, 3)?;
            return Err(Errno::FAULT.into());
        }
        true => Subject::by_descriptor(cx, call, 0)?,
        false => Subject::by_path_and_flags(cx, call, 1, 3)?,
    };
    set_times(cx, call, subject, &times)
}

/// `futimesat(dirfd, path, times)`; without a path, the descriptor itself.
#[cfg(target_arch = "x86_64")]
pub(crate) fn futimesat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let subject = || match call.pointer(1).is_null() {
        true if call.descriptor(0).get() == path::AT_FDCWD => Err(Errno::FAULT.into()),
        true => Subject::by_descriptor(cx, call, 0),
        false => Subject::by_path(cx, call, Some(0), 1, Follow::Yes),
    };
    change_times(cx, call, subject, 2, Unit::Microseconds)
}

/// `utimes(path, times)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn utimes(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    change_times(cx, call, || Subject::by_path(cx, call, None, 0, Follow::Yes), 1, Unit::Microseconds)
}

/// `utime(path, times)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn utime(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    change_times(cx, call, || Subject::by_path(cx, call, None, 0, Follow::Yes), 1, Unit::Seconds)
}

/// `setxattr(path, name, value, size, flags)`.
pub(crate) fn setxattr(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    set_attribute(cx, call, || Subject::by_path(cx, call, None, 0, Follow::Yes))
}

/// `lsetxattr(path, name, value, size, flags)`.
pub(crate) fn lsetxattr(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    set_attribute(cx, call, || Subject::by_path(cx, call, None, 0, Follow::No))
}

/// `fsetxattr(fd, name, value, size, flags)`.
pub(crate) fn fsetxattr(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    set_attribute(cx, call, || Subject::by_descriptor(cx, call, 0))
}

/// `removexattr(path, name)`.
pub(crate) fn removexattr(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    remove_attribute(cx, call, || Subject::by_path(cx, call, None, 0, Follow::Yes))
}

/// `lremovexattr(path, name)`.
pub(crate) fn lremovexattr(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    remove_attribute(cx, call, || Subject::by_path(cx, call, None, 0, Follow::No))
}

/// `fremovexattr(fd, name)`.
pub(crate) fn fremovexattr(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    remove_attribute(cx, call, || Subject::by_descriptor(cx, call, 0))
}

fn change_mode(cx: &Context<'_>, call: &Call, subject: Subject, mode: usize) -> Result<Done, Failure> {
    let mode = Mode::from_raw_mode(call.int(mode) as u32 & 0o7777);
    let subject = subject.check(cx, call)?;
    perform(
        &subject,
        |file| rustix::fs::fchmod(file, mode),
        |path| rustix::fs::chmodat(CWD, path, mode, AtFlags::empty()),
    )
}

fn change_owner(cx: &Context<'_>, call: &Call, subject: Subject, owner: usize) -> Result<Done, Failure> {
    // -1 leaves it as it is.
    let id = |register| Some(call.int(register) as u32).filter(|id| *id != u32::MAX);
    let (user, group) = (id(owner).map(Uid::from_raw), id(owner + 1).map(Gid::from_raw));
    let subject = subject.check(cx, call)?;
    perform(
        &subject,
        |file| rustix::fs::fchown(file, user, group),
        |path| rustix::fs::chownat(CWD, path, user, group, AtFlags::empty()),
    )
}

/// Times are read before the path is looked at.
#[cfg(target_arch = "x86_64")]
fn change_times(
    cx: &Context<'_>,
    call: &Call,
    subject: impl FnOnce() -> Result<Subject, Failure>,
    at: usize,
    unit: Unit,
) -> Result<Done, Failure> {
    let times = read_times(call, call.pointer(at), unit)?;
    set_times(cx, call, subject()?, &times)
}

fn set_times(cx: &Context<'_>, call: &Call, subject: Subject, times: &Timestamps) -> Result<Done, Failure> {
    let subject = subject.check(cx, call)?;
    perform(
        &subject,
        |file| rustix::fs::futimens(file, times),
        |path| rustix::fs::utimensat(CWD, path, times, AtFlags::empty()),
    )
}

fn set_attribute(
    cx: &Context<'_>,
    call: &Call,
    subject: impl FnOnce() -> Result<Subject, Failure>,
) -> Result<Done, Failure> {
    // In the order of setxattr_copy of fs/xattr.c, and before the path is looked at.
    let flags = XattrFlags::from_bits_retain(call.int(4) as u32);
    if !(XattrFlags::CREATE | XattrFlags::REPLACE).contains(flags) {
        return Err(Errno::INVAL.into());
    }
    let name = read_attribute_name(call)?;
    let size =
        usize::try_from(call.long(3)).ok().filter(|size| *size <= XATTR_SIZE_MAX).ok_or(Errno::TOOBIG)?;
    let mut value = vec![0; size];
    memory::read(call.tid, call.pointer(2), &mut value)?;
    let subject = subject()?.check(cx, call)?;
    perform(
        &subject,
        |file| rustix::fs::fsetxattr(file, &name[..], &value, flags),
        |path| rustix::fs::setxattr(path, &name[..], &value, flags),
    )
}

fn remove_attribute(
    cx: &Context<'_>,
    call: &Call,
    subject: impl FnOnce() -> Result<Subject, Failure>,
) -> Result<Done, Failure> {
    let name = read_attribute_name(call)?;
    let subject = subject()?.check(cx, call)?;
    perform(
        &subject,
        |file| rustix::fs::fremovexattr(file, &name[..]),
        |path| rustix::fs::removexattr(path, &name[..]),
    )
}

/// Performs on the descriptor that the caller named, or on the inode that its path led to.
fn perform(
    subject: &Allowed<Subject>,
    on_descriptor: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
    on_inode: impl FnOnce(&Path) -> Result<(), Errno>,
) -> Result<Done, Failure> {
    let subject = subject.get();
    match subject.named_by {
        NamedBy::Descriptor => on_descriptor(&subject.handle)?,
        NamedBy::Path => on_inode(Path::new(&path::of(subject.handle.as_fd())))?,
    }
    Ok(Done::Value(0))
}

/// What a caller's time is measured in.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
enum Unit {
    Nanoseconds,
    Microseconds,
    Seconds,
}

fn read_times(call: &Call, from: ChildPtr, unit: Unit) -> Result<Timestamps, Errno> {
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    if from.is_null() {
        return Ok(Timestamps { last_access: now, last_modification: now });
    }
    let mut words = [[0u8; 8]; 4];
    let size = if matches!(unit, Unit::Seconds) { 16 } else { 32 };
    memory::read(call.tid, from, &mut words.as_flattened_mut()[..size])?;
    let words = words.map(i64::from_ne_bytes);
    let time = |seconds: i64, fraction: i64| match unit {
        Unit::Nanoseconds => Ok(Timespec { tv_sec: seconds, tv_nsec: fraction }),
        Unit::Microseconds if !(0..1_000_000).contains(&fraction) => Err(Errno::INVAL),
        Unit::Microseconds => Ok(Timespec { tv_sec: seconds, tv_nsec: fraction * 1000 }),
        Unit::Seconds => Ok(Timespec { tv_sec: seconds, tv_nsec: 0 }),
    };
    let (access, modification) = match unit {
        Unit::Seconds => (time(words[0], 0)?, time(words[1], 0)?),
        _ => (time(words[0], words[1])?, time(words[2], words[3])?),
    };
    Ok(Timestamps { last_access: access, last_modification: modification })
}

fn read_attribute_name(call: &Call) -> Result<Vec<u8>, Errno> {
    let name = path::read_string(call.tid, call.pointer(1)).map_err(|errno| match errno {
        Errno::NAMETOOLONG => Errno::RANGE,
        other => other,
    })?;
    if name.is_empty() || name.len() > XATTR_NAME_MAX { Err(Errno::RANGE) } else { Ok(name) }
}

/// `include/uapi/linux/limits.h`.
const XATTR_NAME_MAX: usize = 255;
const XATTR_SIZE_MAX: usize = 65536;
