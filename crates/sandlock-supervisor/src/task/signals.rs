//! Signals, on kernels whose Landlock does not scope them (before version 6).

use sandlock_sys::Errno;

use super::tree::{self, Place};
use crate::call::{Call, Done, Failure};
use crate::context::Context;

/// `kill(pid, sig)`: one process. A group, or all that may be signalled, is more than the sandbox.
pub(crate) fn kill(_cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    only_inside(call.int(0))
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
