//! Calls that change another process: allowed when that one is of the sandbox too.
//!
//! Their target is a register, so the kernel may perform what was looked at.

use sandlock_sys::Errno;

use super::tree;
use crate::call::{Call, Done, Failure};
use crate::context::Context;

/// For `prlimit64` and the `sched_set` family: the process is the first argument.
pub(crate) fn target_in_first_register(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    only_inside(cx, call.int(0))
}

/// For `setpriority` and `ioprio_set` of one process: it is the second argument.
pub(crate) fn target_in_second_register(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    only_inside(cx, call.int(1))
}

fn only_inside(_cx: &Context<'_>, target: i32) -> Result<Done, Failure> {
    match tree::place_of(target) {
        tree::Place::Inside => Ok(Done::Continue),
        tree::Place::Outside => Err(Errno::PERM.into()),
        tree::Place::Nowhere => Err(Errno::SRCH.into()),
    }
}
