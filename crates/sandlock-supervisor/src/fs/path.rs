//! The caller's paths: read once, resolved where the caller stands, and pinned.
//!
//! Resolution happens in *this* process, so whatever `/proc/self` and its magic links mean here must never be
//! mistaken for what they mean to the caller: links of that kind are followed only when they are the caller's own.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use sandlock_sys::{ChildFd, ChildPtr, Errno, Tid, memory};

use crate::call::{Call, Failure};
use crate::context::Context;

/// Where a relative path starts.
pub(crate) enum Base {
    /// The caller's working directory.
    WorkingDirectory,
    /// A directory that the caller has open, or `AT_FDCWD`.
    Descriptor(ChildFd),
}

/// Whether a symlink at the end is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    Yes,
    No,
}

/// Reads a NUL-terminated path from the caller's memory.
///
/// # Errors
///
/// EFAULT; ENAMETOOLONG from 4,096 bytes on; ENOENT for an empty one.
pub(crate) fn read(tid: Tid, from: ChildPtr) -> Result<Vec<u8>, Errno> {
    let path = read_string(tid, from)?;
    if path.is_empty() { Err(Errno::NOENT) } else { Ok(path) }
}

/// As [`read`], for any NUL-terminated string shorter than a page.
pub(crate) fn read_string(tid: Tid, from: ChildPtr) -> Result<Vec<u8>, Errno> {
    if from.is_null() {
        return Err(Errno::FAULT);
    }
    let mut bytes = vec![0; USUAL];
    let mut read = memory::read_some(tid, from, &mut bytes)?;
    if read == USUAL && !bytes.contains(&0) {
        bytes.resize(LONGEST, 0);
        let rest = from.offset(USUAL as u64).ok_or(Errno::FAULT)?;
        read += memory::read_some(tid, rest, &mut bytes[USUAL..])?;
    }
    match bytes[..read].iter().position(|byte| *byte == 0) {
        Some(end) => {
            bytes.truncate(end);
            Ok(bytes)
        }
        None if read == LONGEST => Err(Errno::NAMETOOLONG),
        None => Err(Errno::FAULT),
    }
}

/// Opens what a path means to the caller, as a handle that reads and writes nothing (`O_PATH`).
///
/// # Errors
///
/// Those of path resolution; EACCES for a path through a magic link that is not the caller's own.
pub(crate) fn pin(
    cx: &Context<'_>,
    call: &Call,
    base: &Base,
    path: &[u8],
    follow: Follow,
) -> Result<OwnedFd, Failure> {
    pin_from(cx, call, || open_base(cx, call, base), path, follow)
}

/// As [`pin`], where `base` opens the directory in which a relative path starts.
pub(crate) fn pin_from(
    cx: &Context<'_>,
    call: &Call,
    base: impl FnOnce() -> Result<OwnedFd, Failure>,
    path: &[u8],
    follow: Follow,
) -> Result<OwnedFd, Failure> {
    let (start, rest) = match own_link(path, call.tid) {
        Some((link, rest)) => (Some(open_link(cx, call, &link)?), rest),
        None if path.first() == Some(&b'/') => (None, path),
        None => (Some(base()?), path),
    };
    if rest.is_empty()
        && let Some(start) = start
    {
        // The link itself is one of /proc, which nobody may change; what it leads to is not what was asked for.
        return match follow {
            Follow::Yes => Ok(start),
            Follow::No => Err(Errno::PERM.into()),
        };
    }
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if follow == Follow::No {
        flags |= OFlags::NOFOLLOW;
    }
    let path = CString::new(rest).map_err(|_| Errno::INVAL)?;
    let start = start.as_ref().map_or(CWD, AsFd::as_fd);
    match rustix::fs::openat2(start, &path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        // A magic link, or symlinks in a circle: those are one with magic links as well. What is found is let go.
        Err(Errno::LOOP) => {
            match rustix::fs::openat2(start, &path, flags, Mode::empty(), ResolveFlags::empty()) {
                Err(Errno::LOOP) => Err(Errno::LOOP.into()),
                _ => Err(Errno::ACCESS.into()),
            }
        }
        result => Ok(result?),
    }
}

/// The name under which this process can use a handle where a path is wanted.
pub(crate) fn of(handle: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

/// Whether a path is that of an open file of the caller, in `/proc` or `/dev`.
pub(crate) fn is_own_descriptor(path: &[u8], tid: Tid) -> bool {
    matches!(own_link(path, tid), Some((Link::Descriptor(_), [])))
}

/// Whether a path leads through a magic link of the caller, in `/proc` or `/dev`.
pub(crate) fn begins_with_own_link(path: &[u8], tid: Tid) -> bool {
    own_link(path, tid).is_some()
}

/// A magic link of the caller.
#[derive(PartialEq, Eq, Debug)]
enum Link {
    Descriptor(i32),
    WorkingDirectory,
    Root,
}

/// Recognises a path that begins with a magic link of the caller: its spelling in `/proc`, or `/dev/fd`.
fn own_link(path: &[u8], tid: Tid) -> Option<(Link, &[u8])> {
    let mut rest = path.strip_prefix(b"/")?;
    let mut next = || {
        while let Some(after) = rest.strip_prefix(b"/") {
            rest = after;
        }
        let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        name
    };
    let link = match next() {
        b"dev" => match next() {
            b"fd" => Link::Descriptor(number(next())?),
            b"stdin" => Link::Descriptor(0),
            b"stdout" => Link::Descriptor(1),
            b"stderr" => Link::Descriptor(2),
            _ => return None,
        },
        b"proc" => {
            match next() {
                b"self" | b"thread-self" => {}
                other if number(other)? == tid.get() => {}
                _ => return None,
            }
            match next() {
                b"fd" => Link::Descriptor(number(next())?),
                b"cwd" => Link::WorkingDirectory,
                b"root" => Link::Root,
                _ => return None,
            }
        }
        _ => return None,
    };
    let trimmed = rest.iter().position(|byte| *byte != b'/').map_or(&[][..], |start| &rest[start..]);
    Some((link, trimmed))
}

fn number(name: &[u8]) -> Option<i32> {
    std::str::from_utf8(name).ok().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

fn open_link(cx: &Context<'_>, call: &Call, link: &Link) -> Result<OwnedFd, Failure> {
    match link {
        Link::Descriptor(number) => match cx.pin_place(call, ChildFd::from_register(*number as u64)) {
            Err(Failure::Errno(Errno::BADF)) => Err(Errno::NOENT.into()),
            result => result,
        },
        Link::WorkingDirectory => open_of_caller(call.tid, "cwd"),
        Link::Root => open_of_caller(call.tid, "root"),
    }
}

pub(crate) fn open_base(cx: &Context<'_>, call: &Call, base: &Base) -> Result<OwnedFd, Failure> {
    match base {
        Base::Descriptor(fd) if fd.get() != AT_FDCWD => cx.pin_place(call, *fd),
        Base::Descriptor(_) | Base::WorkingDirectory => open_of_caller(call.tid, "cwd"),
    }
}

fn open_of_caller(tid: Tid, link: &str) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    Ok(rustix::fs::open(format!("/proc/{tid}/{link}"), flags, Mode::empty())?)
}

/// What is read at first: few paths are longer.
const USUAL: usize = 256;
/// `PATH_MAX`.
const LONGEST: usize = 4096;
pub(crate) const AT_FDCWD: i32 = -100;
