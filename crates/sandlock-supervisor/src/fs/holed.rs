//! Opening on behalf, in places with [holes](super::holes). What is elsewhere goes on in the kernel, which lets the
//! command do nothing in such places: a race gains nothing.
//!
//! Never what is in `/proc`, wherever that is mounted: this process would see itself there, with its powers. The kernel has
//! the answer then, and in such places it is a refusal.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use sandlock_policy::Denied;
use sandlock_sys::Errno;

use super::holes::{Target, is_made_up};
use super::path::{self, Base, Follow};
use super::served::MOST_LINKS;
use super::umask::Umask;
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::task::inner;

/// What the caller wants opened.
pub(crate) struct Wanted<'a> {
    pub(crate) base: &'a Base,
    pub(crate) path: &'a [u8],
    pub(crate) flags: OFlags,
    pub(crate) mode: u32,
    pub(crate) restrictions: ResolveFlags,
}

impl Wanted<'_> {
    /// Whether no kernel opens such a thing: `build_open_flags` of fs/open.c, `open_last_lookups` of fs/namei.c. Older ones
    /// make something of some of it, which Landlock refuses.
    fn is_nonsense(&self) -> bool {
        // Without O_DIRECTORY, which belongs to it.
        let without_a_name = OFlags::TMPFILE - OFlags::DIRECTORY;
        let creates = self.flags.contains(OFlags::CREATE);
        (creates && (self.flags.contains(OFlags::DIRECTORY) || self.path.ends_with(b"/")))
            || (self.flags.intersects(without_a_name)
                && !(self.flags.contains(OFlags::DIRECTORY)
                    && self.flags.intersects(OFlags::WRONLY | OFlags::RDWR)))
    }
}

/// Opens it, if it is in a place with holes.
///
/// # Errors
///
/// [`Denied::Hole`] for what is in one; those of opening.
pub(crate) fn open(cx: &Context<'_>, call: &Call, wanted: &Wanted<'_>) -> Result<Done, Failure> {
    // A handle reads and writes nothing, and whatever it is used for is looked at again.
    if cx.holes.is_empty() || wanted.flags.contains(OFlags::PATH) || wanted.is_nonsense() {
        return Ok(Done::Continue);
    }
    let target = match target(cx, call, wanted) {
        Ok(target) => target,
        Err(Failure::Errno(_)) => return Ok(Done::Continue),
        Err(other) => return Err(other),
    };
    if !cx.holes.place(&target)?.is_area()? {
        return Ok(Done::Continue);
    }
    inner::demand_none(cx, call)?;
    cx.confirm(call)?;
    let Some(file) = perform(cx, call, wanted, &target)? else {
        return Ok(Done::Continue);
    };
    if !wanted.flags.contains(OFlags::NONBLOCK) {
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    }
    Ok(Done::Descriptor { file, close_on_exec: wanted.flags.contains(OFlags::CLOEXEC) })
}

fn target(cx: &Context<'_>, call: &Call, wanted: &Wanted<'_>) -> Result<Target, Failure> {
    let exclusive = wanted.flags.contains(OFlags::CREATE | OFlags::EXCL);
    let follow = if exclusive || wanted.flags.contains(OFlags::NOFOLLOW) { Follow::No } else { Follow::Yes };
    if wanted.restrictions.is_empty() {
        return Target::of(cx, call, wanted.base, wanted.path, follow);
    }
    let start = path::open_base(cx, call, wanted.base)?;
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, follow == Follow::No);
    let restrictions = (wanted.restrictions | ResolveFlags::NO_MAGICLINKS) & !ResolveFlags::CACHED;
    match rustix::fs::openat2(&start, wanted.path, flags, Mode::empty(), restrictions) {
        Err(Errno::NOENT) if wanted.flags.contains(OFlags::CREATE) => {
            new_entry(cx, &start, wanted.path, restrictions)
        }
        held => Ok(Target::Held(held?)),
    }
}

/// A name that is not there, or that a link leads to which is. Its directory is looked up under the restrictions, and a name
/// alone leads nowhere.
fn new_entry(
    cx: &Context<'_>,
    start: &OwnedFd,
    path: &[u8],
    restrictions: ResolveFlags,
) -> Result<Target, Failure> {
    let mut path = path.to_vec();
    for _ in 0..MOST_LINKS {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (above, name) = path.split_at(slash.map_or(0, |slash| slash + 1));
        if matches!(name, b"" | b"." | b"..") {
            return Err(Errno::NOENT.into());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let looked_up = if above.is_empty() { b"." } else { above };
        let directory = rustix::fs::openat2(start, looked_up, flags, Mode::empty(), restrictions)?;
        match rustix::fs::readlinkat(&directory, name, Vec::new()) {
            Err(Errno::NOENT) => return Ok(Target::Entry { directory, name: name.to_vec() }),
            Ok(text) => {
                cx.holes.of_entry(directory.as_fd(), name)?.is_area()?;
                let text = text.into_bytes();
                path = if text.first() == Some(&b'/') { text } else { [above, &text[..]].concat() };
            }
            // Somebody made something there.
            Err(_) => return Err(Errno::NOENT.into()),
        }
    }
    Err(Errno::LOOP.into())
}

/// `None` for what the kernel is to refuse.
fn perform(
    cx: &Context<'_>,
    call: &Call,
    wanted: &Wanted<'_>,
    target: &Target,
) -> Result<Option<OwnedFd>, Failure> {
    // Never waits: for the other end of a FIFO, or for who has a lease.
    let always = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let creates = wanted.flags.contains(OFlags::CREATE);
    let mode = Mode::from_raw_mode(wanted.mode & 0o7777);
    for _ in 0..2 {
        match target.hold() {
            Ok(file) if is_made_up(&file) => return Ok(None),
            Ok(_) if wanted.flags.contains(OFlags::CREATE | OFlags::EXCL) => return Err(Errno::EXIST.into()),
            Ok(file) => {
                let stat = rustix::fs::fstat(&file)?;
                if let Some(hole) = cx.holes.hole_itself(&stat) {
                    return Err(Denied::Hole(hole.path.clone()).into());
                }
                let directory = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => false,
                    FileType::Directory => true,
                    FileType::Symlink if wanted.flags.contains(OFlags::DIRECTORY) => {
                        return Err(Errno::NOTDIR.into());
                    }
                    FileType::Symlink => return Err(Errno::LOOP.into()),
                    // Who opens a FIFO waits for its other end, and a device for who knows what.
                    _ => return Ok(None),
                };
                let makes_a_file = wanted.flags.contains(OFlags::TMPFILE);
                if directory && creates && !makes_a_file {
                    return Err(Errno::ISDIR.into());
                }
                let flags = (wanted.flags - OFlags::CREATE - OFlags::EXCL - OFlags::NOFOLLOW) | always;
                let flags = if makes_a_file { flags | (wanted.flags & OFlags::EXCL) } else { flags };
                let open = |mode| cx.briefly(true, || rustix::fs::open(path::of(file.as_fd()), flags, mode));
                let opened = match makes_a_file {
                    true => Umask::of(cx, call)?.during(|| open(mode)),
                    false => open(Mode::empty()),
                };
                return match opened {
                    Err(Errno::INTR) => Err(Errno::AGAIN.into()),
                    opened => Ok(Some(opened?)),
                };
            }
            Err(Errno::NOENT) if creates => {
                let Target::Entry { directory, name } = target else {
                    return Err(Errno::NOENT.into());
                };
                if is_made_up(directory) {
                    return Ok(None);
                }
                // O_EXCL follows no link. O_NOFOLLOW would stay with the file, where F_GETFL tells of it.
                let flags = wanted.flags | OFlags::CREATE | OFlags::EXCL | always;
                let made =
                    Umask::of(cx, call)?.during(|| rustix::fs::openat(directory, &name[..], flags, mode));
                match made {
                    Err(Errno::EXIST) => {}
                    made => return Ok(Some(made?)),
                }
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::AGAIN.into())
}
