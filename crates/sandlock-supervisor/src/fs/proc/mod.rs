//! Opening what is in `/proc`, in runs where the command's Landlock domain leaves it out: performed on behalf, so that
//! what was looked at is what is opened.
//!
//! A path is followed where the caller stands, step by step where it may lead through `/proc`: `self` is the caller
//! there, and magic links lead to what the caller would find. What is not in `/proc` in the end goes on in the kernel,
//! where Landlock decides on it; what memory says by then is no matter, since Landlock grants nothing of `/proc`.
//! What is opened is always below a directory of `/proc` that is pinned *before* it is judged.

mod shown;
mod sockets;
mod walk;

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use sandlock_sys::Errno;
use sandlock_sys::sealed::sealed_file;

use super::path::{self, Base};
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::task::{inner, tree};
use shown::{Shown, shown};
use walk::{Place, Walk};

/// The machine's `/proc`, by which every place in it is known.
pub(crate) struct Root {
    handle: OwnedFd,
    device: u64,
}

impl Root {
    pub(crate) fn open() -> Option<Root> {
        let handle = rustix::fs::open(MOUNT, HANDLE | OFlags::DIRECTORY, Mode::empty()).ok()?;
        let device = rustix::fs::fstat(&handle).ok()?.st_dev;
        Some(Root { handle, device })
    }

    fn holds(&self, handle: &OwnedFd) -> Result<bool, Errno> {
        Ok(rustix::fs::fstat(handle)?.st_dev == self.device)
    }
}

/// What the caller wants to read.
pub(crate) struct Wanted<'a> {
    pub(crate) base: &'a Base,
    pub(crate) path: &'a [u8],
    pub(crate) flags: OFlags,
    pub(crate) restrictions: ResolveFlags,
}

/// Opens a path for reading if it leads into `/proc`. `None`: it does not, or not to what can be opened, and the kernel
/// has the answer.
///
/// # Errors
///
/// ENOENT for what the sandbox has nothing to do with; EACCES for a caller that has confined itself; else the kernel's.
pub(crate) fn open(cx: &Context<'_>, call: &Call, wanted: &Wanted<'_>) -> Result<Option<Done>, Failure> {
    let Some(root) = cx.proc_root() else {
        return Ok(None);
    };
    if !worth_a_walk(cx, call, root, wanted)? {
        return Ok(None);
    }
    let caller = tree::group_of(call.tid.get()).ok_or(Failure::Gone)?;
    let walk = Walk { cx, call, root, caller };
    let Some(place) = walk.to(wanted)? else {
        return Ok(None);
    };
    let Some(within) = &place.within else {
        return Ok(None);
    };
    if inner::may_be_in_one(cx, caller) {
        return Err(Errno::ACCESS.into());
    }
    let what = shown(within).ok_or(Errno::NOENT)?;
    let pinned = walk.pin(&place)?;
    cx.confirm(call)?;
    Ok(Some(Done::Descriptor {
        file: match what {
            Shown::AsItIs => reopen(&pinned, wanted)?,
            Shown::Sockets(table) if wanted.must_be_a_directory() => {
                let _ = table;
                return Err(Errno::NOTDIR.into());
            }
            Shown::Sockets(table) => sealed_file(table.name(), &sockets::of_the_sandbox(cx, table)?)?,
        },
        close_on_exec: wanted.flags.contains(OFlags::CLOEXEC),
    }))
}

impl Wanted<'_> {
    fn must_be_a_directory(&self) -> bool {
        self.flags.contains(OFlags::DIRECTORY) || self.path.ends_with(b"/")
    }
}

/// Whether a path can lead into `/proc`. All that the opening of another file costs.
fn worth_a_walk(cx: &Context<'_>, call: &Call, root: &Root, wanted: &Wanted<'_>) -> Result<bool, Failure> {
    let path = wanted.path;
    if path.starts_with(b"/proc") || !wanted.restrictions.is_empty() {
        return Ok(true);
    }
    if super::served::is_of_the_system(path) {
        return Ok(false);
    }
    let start = match path.first() {
        Some(b'/') => None,
        _ => Some(path::open_base(cx, call, wanted.base)?),
    };
    let start = start.as_ref().map_or(CWD, AsFd::as_fd);
    match rustix::fs::openat2(start, path, HANDLE, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        Ok(handle) => Ok(root.holds(&handle)?),
        // A magic link, or something that is there for the caller only.
        Err(_) => Ok(true),
    }
}

fn reopen(pinned: &OwnedFd, wanted: &Wanted<'_>) -> Result<OwnedFd, Errno> {
    let mut flags = wanted.flags & (OFlags::DIRECTORY | OFlags::NONBLOCK);
    flags.set(OFlags::DIRECTORY, wanted.must_be_a_directory());
    rustix::fs::open(path::of(pinned.as_fd()), flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

impl Walk<'_, '_> {
    /// What a place is, below a directory of a process that is the sandbox's own.
    fn pin(&self, place: &Place) -> Result<OwnedFd, Failure> {
        let again = self.reach(place.within.as_deref().unwrap_or_default())?;
        // A directory that was opened before stays that process's, whoever has its number now.
        if same(&again, &place.handle)? { Ok(again) } else { Err(Errno::NOENT.into()) }
    }
}

fn same(one: &OwnedFd, other: &OwnedFd) -> Result<bool, Errno> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

const MOUNT: &str = "/proc";
const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
