//! The processors that the sandbox may run on. The kernel lets every process choose others for itself, so the choice
//! is made on its behalf, among those.

use rustix::thread::CpuSet;
use sandlock_policy::Processors;
use sandlock_sys::{Errno, memory};

use super::tree::{self, Place};
use crate::call::{Call, Done, Failure};
use crate::context::Context;

/// As the kernel takes them.
pub fn as_set(processors: &Processors) -> CpuSet {
    let mut set = CpuSet::new();
    processors.numbers().filter(|number| *number < CpuSet::MAX_CPU).for_each(|number| set.set(number));
    set
}

/// `sched_setaffinity(pid, len, mask)`. As in a cpuset: what is not allowed is left out, and nothing is EINVAL.
pub(crate) fn set(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let Some(allowed) = &cx.limits.processors else {
        return Err(Errno::PERM.into());
    };
    let mut mask = [0u8; CpuSet::MAX_CPU / 8];
    // "get_user_cpu_mask" of kernel/sched/core.c: what is missing is zero, what is too much is left out.
    let len = usize::try_from(call.long(1) as u32).unwrap_or(usize::MAX).min(mask.len());
    memory::read(call.tid, call.pointer(2), &mut mask[..len])?;
    let mut wanted = CpuSet::new();
    (0..CpuSet::MAX_CPU)
        .filter(|number| mask[number / 8] & (1 << (number % 8)) != 0 && allowed.is_set(*number))
        .for_each(|number| wanted.set(number));
    let target = match call.int(0) {
        0 => call.tid.get(),
        target => target,
    };
    match tree::place_of(target) {
        Place::Inside => {}
        Place::Outside => return Err(Errno::PERM.into()),
        Place::Nowhere => return Err(Errno::SRCH.into()),
    }
    if wanted.count() == 0 {
        return Err(Errno::INVAL.into());
    }
    cx.confirm(call)?;
    let target = rustix::process::Pid::from_raw(target).ok_or(Errno::SRCH)?;
    rustix::thread::sched_setaffinity(Some(target), &wanted)?;
    Ok(Done::Value(0))
}
