//! The open family, in runs that [serve files](super::served), show a [`/proc`](super::proc) of their own, or have
//! [holes](super::holes) in what is granted: those are given, and everything else is the kernel's.
//!
//! A pointer decides what these calls open, and yet they go on in the kernel after the look. That is harmless whatever
//! the memory says by then: Landlock decides what may be opened, as in runs where nobody looks. What a program gains
//! by a race is the machine's own file where it may be read, or ours. `/proc`, which is [opened on behalf](super::proc),
//! Landlock does not let it open at all.

use rustix::fs::{OFlags, ResolveFlags};
use sandlock_sys::sealed::sealed_file;
use sandlock_sys::{ChildPtr, memory};

use super::holed;
use super::path::{self, Base, Follow};
use super::proc::{self, Wanted};
use super::served::Served;
use crate::call::{Call, Done, Failure};
use crate::context::Context;

/// `open(path, flags, mode)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn open(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let opening = Opening::new(Base::WorkingDirectory, call.pointer(0), call.int(1), call.int(2));
    open_or_continue(cx, call, opening)
}

/// `creat(path, mode)`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn creat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
    let opening = Opening::new(Base::WorkingDirectory, call.pointer(0), flags.bits() as i32, call.int(1));
    open_or_continue(cx, call, opening)
}

/// `openat(dirfd, path, flags, mode)`.
pub(crate) fn openat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let opening =
        Opening::new(Base::Descriptor(call.descriptor(0)), call.pointer(1), call.int(2), call.int(3));
    open_or_continue(cx, call, opening)
}

/// `openat2(dirfd, path, how, size)`.
pub(crate) fn openat2(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let Some(how) = read_how(call) else {
        return Ok(Done::Continue);
    };
    let [flags, mode, restrictions] = how.map(u64::from_ne_bytes);
    // The kernel has errors for more than there is: `build_open_flags` of fs/open.c. Other calls let it pass.
    let (Ok(flags), Ok(mode)) = (i32::try_from(flags), i32::try_from(mode)) else {
        return Ok(Done::Continue);
    };
    let wants_a_mode = flags as u32 & (OFlags::CREATE.bits() | NAMELESS) != 0;
    if flags as u32 & !FLAGS != 0
        || restrictions & !RESTRICTIONS != 0
        || mode & if wants_a_mode { !0o7777 } else { !0 } != 0
    {
        return Ok(Done::Continue);
    }
    let restrictions = ResolveFlags::from_bits_retain(restrictions);
    let base = Base::Descriptor(call.descriptor(0));
    open_or_continue(cx, call, Opening { restrictions, ..Opening::new(base, call.pointer(1), flags, mode) })
}

/// `struct open_how`: flags, mode, resolve. `None` for what is no such thing, or says more than this program knows; a
/// longer one that ends in zeroes says no more.
fn read_how(call: &Call) -> Option<[[u8; 8]; 3]> {
    let mut how = [[0u8; 8]; 3];
    let known = size_of_val(&how);
    let size = usize::try_from(call.long(3)).ok().filter(|size| (known..=MOST_OF_HOW).contains(size))?;
    let mut bytes = vec![0; size];
    memory::read(call.tid, call.pointer(2), &mut bytes).ok()?;
    let (first, more) = bytes.split_at(known);
    how.as_flattened_mut().copy_from_slice(first);
    more.iter().all(|byte| *byte == 0).then_some(how)
}

/// `__O_TMPFILE`: O_TMPFILE without the O_DIRECTORY in it.
const NAMELESS: u32 = OFlags::TMPFILE.bits() & !OFlags::DIRECTORY.bits();
/// `VALID_OPEN_FLAGS` of include/linux/fcntl.h.
const FLAGS: u32 = OFlags::ACCMODE.bits()
    | OFlags::CREATE.bits()
    | OFlags::EXCL.bits()
    | OFlags::NOCTTY.bits()
    | OFlags::TRUNC.bits()
    | OFlags::APPEND.bits()
    | OFlags::NONBLOCK.bits()
    | OFlags::SYNC.bits()
    | OFlags::ASYNC.bits()
    | OFlags::DIRECT.bits()
    | OFlags::DIRECTORY.bits()
    | OFlags::NOFOLLOW.bits()
    | OFlags::NOATIME.bits()
    | OFlags::CLOEXEC.bits()
    | OFlags::PATH.bits()
    | NAMELESS
    | OFlags::LARGEFILE.bits();
/// `VALID_RESOLVE_FLAGS`: the six of include/uapi/linux/openat2.h.
const RESTRICTIONS: u64 = 0x3f;

/// A page: what the kernel takes at most.
const MOST_OF_HOW: usize = 4096;

/// What the caller wants.
struct Opening {
    base: Base,
    path: ChildPtr,
    flags: OFlags,
    mode: u32,
    restrictions: ResolveFlags,
}

impl Opening {
    fn new(base: Base, path: ChildPtr, flags: i32, mode: i32) -> Self {
        let flags = OFlags::from_bits_retain(flags as u32);
        Opening { base, path, flags, mode: mode as u32, restrictions: ResolveFlags::empty() }
    }

    /// Whether it does nothing but read. What else can be wanted of the machine's file, the kernel answers.
    fn reads(&self) -> bool {
        !self.flags.intersects(OFlags::from_bits_retain(NOT_ONLY_READING) | OFlags::EXCL | OFlags::NOATIME)
    }

    /// Whether it is for reading, if only names in a directory.
    fn only_reads(&self) -> bool {
        !self.flags.intersects(OFlags::from_bits_retain(NOT_READING))
    }

    fn meant<'a>(&self, cx: &Context<'a>, call: &Call, path: &[u8]) -> Result<Option<Served<'a>>, Failure> {
        let follow = if self.flags.contains(OFlags::NOFOLLOW) { Follow::No } else { Follow::Yes };
        match self.restrictions.is_empty() {
            true => Served::meant(cx, call, &self.base, path, follow),
            false => Served::meant_within(cx, call, &self.base, path, follow, self.restrictions),
        }
    }
}

fn open_or_continue(cx: &Context<'_>, call: &Call, opening: Opening) -> Result<Done, Failure> {
    let Ok(path) = path::read(call.tid, opening.path) else {
        return Ok(Done::Continue);
    };
    // Where the look failed, the kernel's own fails as well, or knows better.
    if cx.needs.serves
        && opening.reads()
        && let Ok(Some(served)) = opening.meant(cx, call, &path)
    {
        cx.holes.of_path(served.path())?.is_area()?;
        let content = served.content(&cx.network.load());
        let file = sealed_file(&served.shown_name(), &content)?;
        return Ok(Done::Descriptor { file, close_on_exec: opening.flags.contains(OFlags::CLOEXEC) });
    }
    let only_reads = opening.only_reads();
    let Opening { base, flags, mode, restrictions, .. } = opening;
    // What is in /proc, before anybody opens it by its name: see `holed`.
    if cx.needs.own_proc
        && only_reads
        && let Some(done) = proc::open(cx, call, &Wanted { base: &base, path: &path, flags, restrictions })?
    {
        return Ok(done);
    }
    holed::open(cx, call, &holed::Wanted { base: &base, path: &path, flags, mode, restrictions })
}

/// The flags of whatever a served file is not opened with: writing, making, truncating, directories, handles.
pub(crate) const NOT_ONLY_READING: u32 = OFlags::WRONLY.bits()
    | OFlags::RDWR.bits()
    | OFlags::CREATE.bits()
    | OFlags::TRUNC.bits()
    | OFlags::DIRECTORY.bits()
    | OFlags::TMPFILE.bits()
    | OFlags::PATH.bits();

/// The flags of whatever is not opened for reading.
pub(crate) const NOT_READING: u32 = NOT_ONLY_READING & !OFlags::DIRECTORY.bits();
