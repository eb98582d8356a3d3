//! System V shared memory of the run's own: a key means a segment of this run, or none, and a number is that of a segment
//! of this run, or of none.
//!
//! Segments are made by this process, which so keeps them, and with which they end. Mapping one is the kernel's part: its
//! number is a register, and a segment that is kept, or that this process made, is no other program's.

use std::collections::HashMap;

use sandlock_sys::segment::{Segment, SegmentState};
use sandlock_sys::{Errno, memory};

use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::lock::lock;
use crate::task::tree;

/// The segments of a run.
#[derive(Default)]
pub(crate) struct Segments {
    kept: HashMap<i32, Kept>,
    /// Those that were removed and may still be mapped, which Linux lets others map as well.
    removed: Vec<i32>,
}

impl Segments {
    fn remove(&mut self, id: i32) {
        self.removed.extend(self.kept.remove(&id).map(|_| id));
        self.removed.retain(|&id| SegmentState::of(id).is_ok_and(|state| state.is_own()));
    }
}

/// A segment, and what is told of it.
pub(crate) struct Kept {
    _segment: Segment,
    /// `IPC_PRIVATE` when no key leads to it.
    key: i32,
    size: u64,
    mode: u16,
    creator: i32,
}

/// `shmget(key, size, flags)`.
pub(crate) fn shmget(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let (key, size, flags) = (call.int(0), call.long(1), call.int(2));
    let mut segments = lock(&cx.segments);
    let Segments { kept: segments, removed } = &mut *segments;
    if key != IPC_PRIVATE {
        if let Some((id, kept)) = segments.iter().find(|(_, kept)| kept.key == key) {
            return match () {
                () if flags & IPC_CREAT != 0 && flags & IPC_EXCL != 0 => Err(Errno::EXIST.into()),
                () if size > kept.size => Err(Errno::INVAL.into()),
                () => Ok(Done::Value((*id).into())),
            };
        }
        if flags & IPC_CREAT == 0 {
            return Err(Errno::NOENT.into());
        }
    }
    if segments.len() + removed.len() >= MOST_SEGMENTS {
        return Err(Errno::NOSPC.into());
    }
    let creator = tree::group_of(call.tid.get()).ok_or(Failure::Gone)?;
    cx.confirm(call)?;
    let bytes = usize::try_from(size).map_err(|_| Errno::INVAL)?;
    let segment = Segment::make(bytes, flags & OTHER_FLAGS)?;
    let id = segment.id();
    if let Some(segments) = &cx.limits.memory_segments {
        segments.keep(id);
    }
    let mode = (flags & 0o777) as u16;
    segments.insert(id, Kept { _segment: segment, key, size, mode, creator });
    Ok(Done::Value(id.into()))
}

/// `shmat(id, address, flags)`.
pub(crate) fn shmat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    demand_own(cx, call.int(0))?;
    // Nothing but registers says which segment, and where in the caller's memory.
    Ok(Done::Continue)
}

/// `shmctl(id, command, buffer)`.
pub(crate) fn shmctl(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let id = call.int(0);
    // The C library of some architectures adds this bit.
    match call.int(1) & !IPC_64 {
        IPC_RMID => {
            demand_own(cx, id)?;
            // Gone with its last mapping, of which this process has one no more.
            lock(&cx.segments).remove(id);
            Ok(Done::Value(0))
        }
        IPC_STAT => stat(cx, call, id),
        IPC_SET => {
            demand_own(cx, id)?;
            set_mode(cx, call, id)
        }
        SHM_LOCK | SHM_UNLOCK => {
            demand_own(cx, id)?;
            Ok(Done::Continue)
        }
        // Those that tell about all segments of the machine.
        _ => Err(Errno::INVAL.into()),
    }
}

fn stat(cx: &Context<'_>, call: &Call, id: i32) -> Result<Done, Failure> {
    let state = demand_own(cx, id)?;
    let kept = lock(&cx.segments).kept.get(&id).map(|kept| (kept.key, kept.mode, kept.creator));
    let to = call.pointer(2);
    let words = state.told(kept).words().into_iter().enumerate();
    let places =
        words.map(|(index, word)| Some((to.offset(index as u64 * 4)?, word))).collect::<Option<Vec<_>>>();
    cx.confirm(call)?;
    match memory::scatter(call.tid, &places.ok_or(Errno::FAULT)?) {
        // A filter around refuses `process_vm_writev`. The kernel tells the same but for the key and the mode, of the segment
        // that the register says.
        Err(Errno::PERM | Errno::NOSYS) => Ok(Done::Continue),
        told => Ok(told.map(|()| Done::Value(0))?),
    }
}

/// The owner stays the one there is, so the mode is all that can be changed; it is only told, since nobody but this
/// user's programs in this run can come by the segment.
fn set_mode(cx: &Context<'_>, call: &Call, id: i32) -> Result<Done, Failure> {
    let mut permissions = [0u8; IPC_PERM_TO_MODE + 4];
    memory::read(call.tid, call.pointer(2), &mut permissions)?;
    let mode = u16::from_ne_bytes([permissions[IPC_PERM_TO_MODE], permissions[IPC_PERM_TO_MODE + 1]]);
    cx.confirm(call)?;
    if let Some(kept) = lock(&cx.segments).kept.get_mut(&id) {
        kept.mode = mode & 0o777;
    }
    Ok(Done::Value(0))
}

/// # Errors
///
/// EINVAL, as for a number that no segment has.
fn demand_own(cx: &Context<'_>, id: i32) -> Result<SegmentState, Failure> {
    let segments = lock(&cx.segments);
    if !segments.kept.contains_key(&id) && !segments.removed.contains(&id) {
        return Err(Errno::INVAL.into());
    }
    // The number of one that was removed may have been given away since.
    match SegmentState::of(id) {
        Ok(state) if state.is_own() => Ok(state),
        _ => Err(Errno::INVAL.into()),
    }
}

/// `include/uapi/linux/ipc.h`, `shm.h`.
const IPC_PRIVATE: i32 = 0;
const IPC_CREAT: i32 = 0o1000;
const IPC_EXCL: i32 = 0o2000;
const IPC_RMID: i32 = 0;
const IPC_SET: i32 = 1;
const IPC_STAT: i32 = 2;
const IPC_64: i32 = 0x100;
const SHM_LOCK: i32 = 11;
const SHM_UNLOCK: i32 = 12;
/// SHM_HUGETLB with its sizes, SHM_NORESERVE.
const OTHER_FLAGS: i32 = 0o14000 | (0x3f << 26);
/// `struct ipc64_perm`: key, four numbers of owner and maker, then the mode.
const IPC_PERM_TO_MODE: usize = 20;
/// The machine has 4,096 of them (`SHMMNI`).
const MOST_SEGMENTS: usize = 256;
