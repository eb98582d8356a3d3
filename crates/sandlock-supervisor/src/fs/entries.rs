//! Names in directories, made, moved and removed on behalf in places with [holes](super::holes). What is elsewhere goes on
//! in the kernel, which lets the command do nothing in such places.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags};
use sandlock_policy::Denied;
use sandlock_sys::Errno;

use super::holes::Target;
use super::path::{self, Base, Follow};
use super::umask::Umask;
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::task::inner;

/// Where a call's path is: the register of its directory, if it has one, and that of the path.
#[derive(Clone, Copy)]
struct At(Option<usize>, usize);

/// What a path leads to, and whether it ends in a slash, as only that of a directory may.
struct Named {
    target: Target,
    slash: bool,
}

impl Named {
    /// The directory and the name there, with its slash; `None` for what is not made, moved or removed.
    fn entry(&self) -> Option<(&OwnedFd, Vec<u8>)> {
        match &self.target {
            Target::Entry { directory, name } if self.slash => Some((directory, [name, &b"/"[..]].concat())),
            Target::Entry { directory, name } => Some((directory, name.clone())),
            Target::Held(_) => None,
        }
    }
}

impl At {
    fn read(self, call: &Call) -> Result<(Base, Vec<u8>), Failure> {
        let base =
            self.0.map_or(Base::WorkingDirectory, |register| Base::Descriptor(call.descriptor(register)));
        Ok((base, path::read(call.tid, call.pointer(self.1))?))
    }

    /// What is meant; `None` when it is for the kernel to say what is wrong.
    fn named(self, cx: &Context<'_>, call: &Call, follow: Follow) -> Result<Option<Named>, Failure> {
        let found = self.read(call).and_then(|(base, mut path)| {
            let slash = path.ends_with(b"/");
            while path.len() > 1 && path.ends_with(b"/") {
                path.pop();
            }
            Ok(Named { target: Target::of(cx, call, &base, &path, follow)?, slash })
        });
        match found {
            Ok(named) => Ok(Some(named)),
            Err(Failure::Errno(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }
}

/// Performs on a name in a place with holes, if it may be changed; elsewhere the kernel does.
fn change(
    cx: &Context<'_>,
    call: &Call,
    at: At,
    perform: impl FnOnce(&OwnedFd, &[u8]) -> Result<(), Failure>,
) -> Result<Done, Failure> {
    let Some(named) = at.named(cx, call, Follow::No)? else {
        return Ok(Done::Continue);
    };
    if !cx.holes.place(&named.target)?.is_area()? {
        return Ok(Done::Continue);
    }
    let Some((directory, name)) = named.entry() else {
        return Ok(Done::Continue);
    };
    inner::demand_none(cx, call)?;
    movable(cx, &named.target)?;
    cx.confirm(call)?;
    perform(directory, &name).map(|()| Done::Value(0))
}

/// What is above a hole stays where it is.
fn movable(cx: &Context<'_>, target: &Target) -> Result<(), Failure> {
    let stat = match target.hold() {
        Ok(held) => rustix::fs::fstat(&held)?,
        Err(_) => return Ok(()),
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
        && let Some(hole) = cx.holes.hole_below(&stat)?
    {
        return Err(Denied::Hole(hole.path.clone()).into());
    }
    Ok(())
}

fn done(result: Result<(), Errno>) -> Result<Done, Failure> {
    Ok(result.map(|()| Done::Value(0))?)
}

/// `mkdir(path, mode)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn mkdir(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    make_directory(cx, call, At(None, 0), 1)
}

/// `mkdirat(dirfd, path, mode)`.
pub(crate) fn mkdirat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    make_directory(cx, call, At(Some(0), 1), 2)
}

fn make_directory(cx: &Context<'_>, call: &Call, at: At, mode: usize) -> Result<Done, Failure> {
    let mode = Mode::from_raw_mode(call.int(mode) as u32 & 0o7777);
    change(cx, call, at, |directory, name| {
        Ok(Umask::of(cx, call)?.during(|| rustix::fs::mkdirat(directory, name, mode))?)
    })
}

/// `mknod(path, mode, device)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn mknod(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    make_node(cx, call, At(None, 0), 1)
}

/// `mknodat(dirfd, path, mode, device)`.
pub(crate) fn mknodat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    make_node(cx, call, At(Some(0), 1), 2)
}

fn make_node(cx: &Context<'_>, call: &Call, at: At, mode: usize) -> Result<Done, Failure> {
    let mode = call.int(mode) as u32;
    let kind = match mode & 0o170_000 {
        0 => FileType::RegularFile,
        _ => FileType::from_raw_mode(mode),
    };
    // Device nodes: Landlock refuses them.
    if !matches!(kind, FileType::RegularFile | FileType::Fifo | FileType::Socket) {
        return Ok(Done::Continue);
    }
    let mode = Mode::from_raw_mode(mode & 0o7777);
    change(cx, call, at, |directory, name| {
        Ok(Umask::of(cx, call)?.during(|| rustix::fs::mknodat(directory, name, kind, mode, 0))?)
    })
}

/// `symlink(text, path)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn symlink(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    make_link_to(cx, call, At(None, 1))
}

/// `symlinkat(text, dirfd, path)`.
pub(crate) fn symlinkat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    make_link_to(cx, call, At(Some(1), 2))
}

fn make_link_to(cx: &Context<'_>, call: &Call, at: At) -> Result<Done, Failure> {
    let text = path::read(call.tid, call.pointer(0))?;
    change(cx, call, at, |directory, name| Ok(rustix::fs::symlinkat(&text[..], directory, name)?))
}

/// `unlink(path)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn unlink(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    remove(cx, call, At(None, 0), AtFlags::empty())
}

/// `rmdir(path)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn rmdir(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    remove(cx, call, At(None, 0), AtFlags::REMOVEDIR)
}

/// `unlinkat(dirfd, path, flags)`.
pub(crate) fn unlinkat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let flags = AtFlags::from_bits_retain(call.int(2) as u32);
    if !AtFlags::REMOVEDIR.contains(flags) {
        return Err(Errno::INVAL.into());
    }
    remove(cx, call, At(Some(0), 1), flags)
}

fn remove(cx: &Context<'_>, call: &Call, at: At, flags: AtFlags) -> Result<Done, Failure> {
    change(cx, call, at, |directory, name| Ok(rustix::fs::unlinkat(directory, name, flags)?))
}

/// `rename(from, to)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn rename(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    move_entry(cx, call, At(None, 0), At(None, 1), RenameFlags::empty())
}

/// `renameat(dirfd, from, dirfd, to)`.
pub(crate) fn renameat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    move_entry(cx, call, At(Some(0), 1), At(Some(2), 3), RenameFlags::empty())
}

/// `renameat2(dirfd, from, dirfd, to, flags)`.
pub(crate) fn renameat2(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let flags = RenameFlags::from_bits_retain(call.int(4) as u32);
    // What the kernel refuses before it looks at the paths: do_renameat2 of fs/namei.c.
    let unlike_exchange = RenameFlags::NOREPLACE | RenameFlags::WHITEOUT;
    if !(RenameFlags::EXCHANGE | unlike_exchange).contains(flags)
        || (flags.contains(RenameFlags::EXCHANGE) && flags.intersects(unlike_exchange))
    {
        return Err(Errno::INVAL.into());
    }
    move_entry(cx, call, At(Some(0), 1), At(Some(2), 3), flags)
}

fn move_entry(cx: &Context<'_>, call: &Call, from: At, to: At, flags: RenameFlags) -> Result<Done, Failure> {
    let (Some(from), Some(to)) = (from.named(cx, call, Follow::No)?, to.named(cx, call, Follow::No)?) else {
        return Ok(Done::Continue);
    };
    let from_area = cx.holes.place(&from.target)?.is_area()?;
    if !(cx.holes.place(&to.target)?.is_area()? || from_area) {
        return Ok(Done::Continue);
    }
    // The root, `.` and `..` are not moved.
    let (Some((directory, name)), Some((to_directory, to_name))) = (from.entry(), to.entry()) else {
        return Ok(Done::Continue);
    };
    inner::demand_none(cx, call)?;
    movable(cx, &from.target)?;
    movable(cx, &to.target)?;
    cx.confirm(call)?;
    done(rustix::fs::renameat_with(directory, &name[..], to_directory, &to_name[..], flags))
}

/// `link(from, to)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn link(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    add_name(cx, call, At(None, 0), At(None, 1), Follow::No)
}

/// `linkat(dirfd, from, dirfd, to, flags)`.
pub(crate) fn linkat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let flags = AtFlags::from_bits_retain(call.int(4) as u32);
    if !(AtFlags::SYMLINK_FOLLOW | AtFlags::EMPTY_PATH).contains(flags) {
        return Err(Errno::INVAL.into());
    }
    let follow = if flags.contains(AtFlags::SYMLINK_FOLLOW) { Follow::Yes } else { Follow::No };
    add_name(cx, call, At(Some(0), 1), At(Some(2), 3), follow)
}

fn add_name(cx: &Context<'_>, call: &Call, from: At, to: At, follow: Follow) -> Result<Done, Failure> {
    let Some(from) = from.named(cx, call, follow)? else {
        return Ok(Done::Continue);
    };
    let from_area = cx.holes.place(&from.target)?.is_area()?;
    // What is not there the kernel says before it looks the other path up.
    let (Ok(held), Some(to)) = (from.target.hold(), to.named(cx, call, Follow::No)?) else {
        return Ok(Done::Continue);
    };
    // No directory gets another name.
    if from.slash || !(cx.holes.place(&to.target)?.is_area()? || from_area) {
        return Ok(Done::Continue);
    }
    inner::demand_none(cx, call)?;
    if let Some(hole) = cx.holes.hole_itself(&rustix::fs::fstat(&held)?) {
        return Err(Denied::Hole(hole.path.clone()).into());
    }
    cx.confirm(call)?;
    match to.entry() {
        Some((directory, name)) => {
            let source = path::of(held.as_fd());
            done(rustix::fs::linkat(CWD, source, directory, &name[..], AtFlags::SYMLINK_FOLLOW))
        }
        None => Err(Errno::EXIST.into()),
    }
}
