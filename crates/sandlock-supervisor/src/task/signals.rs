//! Signals, on kernels whose Landlock does not scope them (before version 6).

use sandlock_sys::{Errno, signal};

use super::tree::{self, Place};
use crate::call::{Call, Done, Failure};
use crate::context::Context;

/// `kill(pid, sig)`: one process, or those of a group, or of all, that are of the sandbox, as with a scope.
pub(crate) fn kill(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let (target, number) = (call.int(0), call.int(1));
    if target > 0 {
        return only_inside(target);
    }
    let caller = tree::group_of(call.tid.get()).ok_or(Failure::Gone)?;
    cx.confirm(call)?;
    let group = match target {
        0 => tree::process_group_of(caller).ok_or(Failure::Gone)?,
        // Nothing is below i32::MIN, and no group has that number.
        _ => target.checked_neg().ok_or(Errno::SRCH)?,
    };
    let inside = tree::descendants().into_iter().filter(|pid| *pid != caller || target != -1);
    let targets: Vec<i32> = match target {
        -1 => inside.collect(),
        _ => inside.filter(|pid| tree::process_group_of(*pid) == Some(group)).collect(),
    };
    if targets.is_empty() {
        return Err(Errno::SRCH.into());
    }
    if !(0..=LAST_SIGNAL).contains(&number) {
        return Err(Errno::INVAL.into());
    }
    targets.into_iter().for_each(|pid| signal::send(pid, number));
    Ok(Done::Value(0))
}

/// `tkill(tid, sig)`, `rt_sigqueueinfo(tgid, sig, info)`.
pub(crate) fn tkill(_cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    only_inside(call.int(0))
}

/// `tgkill(tgid, tid, sig)`, `rt_tgsigqueueinfo`: the kernel demands that the thread is of the group.
pub(crate) fn tgkill(_cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    only_inside(call.int(0))
}

/// `pidfd_send_signal`: programs fall back to `kill`.
pub(crate) fn pidfd_send_signal(_cx: &Context<'_>, _call: &Call) -> Result<Done, Failure> {
    Err(Errno::NOSYS.into())
}

fn only_inside(target: i32) -> Result<Done, Failure> {
    if target <= 0 {
        return Err(Errno::PERM.into());
    }
    match tree::place_of(target) {
        Place::Inside => Ok(Done::Continue),
        Place::Outside => Err(Errno::PERM.into()),
        Place::Nowhere => Err(Errno::SRCH.into()),
    }
}

/// `_NSIG`.
const LAST_SIGNAL: i32 = 64;
