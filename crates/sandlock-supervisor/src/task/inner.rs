//! Who has confined itself by a Landlock domain of its own: no file is opened and no name made on its behalf any more,
//! since that would be done outside of that domain.
//!
//! A domain is inherited, and no look at a process tells whether it is in one. So those who enter one are
//! remembered, and so are their descendants: by their lineage, as long as that tells. Where an orphan's parents are
//! gone, it is taken for one of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use sandlock_sys::Errno;

use super::tree;
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::lock::lock;

/// What is remembered in a run.
#[derive(Default)]
pub(crate) struct InnerDomains {
    entered_by: Mutex<Vec<i32>>,
    /// Somebody inside may adopt orphans: lineages say nothing any more.
    adopts: AtomicBool,
}

/// `landlock_restrict_self`: remembered, and performed by the kernel.
pub(crate) fn restrict_self(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let caller = tree::group_of(call.tid.get()).ok_or(Failure::Gone)?;
    cx.confirm(call)?;
    let mut entered_by = lock(&cx.inner_domains.entered_by);
    if !entered_by.contains(&caller) {
        entered_by.push(caller);
    }
    Ok(Done::Continue)
}

/// `prctl(PR_SET_CHILD_SUBREAPER)`.
pub(crate) fn adopt(cx: &Context<'_>, _call: &Call) -> Result<Done, Failure> {
    cx.inner_domains.adopts.store(true, Ordering::Relaxed);
    Ok(Done::Continue)
}

/// Demands that the caller is in no domain of its own: what it gave up stays given up.
///
/// # Errors
///
/// EACCES when it may be in one.
pub(crate) fn demand_none(cx: &Context<'_>, call: &Call) -> Result<(), Failure> {
    let caller = tree::group_of(call.tid.get()).ok_or(Failure::Gone)?;
    if may_be_in_one(cx, caller) { Err(Errno::ACCESS.into()) } else { Ok(()) }
}

/// Whether a process may be in a domain that something of this run made.
pub(crate) fn may_be_in_one(cx: &Context<'_>, process: i32) -> bool {
    let entered_by = lock(&cx.inner_domains.entered_by);
    if entered_by.is_empty() {
        return false;
    }
    let Some(lineage) = tree::lineage(process) else {
        return true;
    };
    cx.inner_domains.adopts.load(Ordering::Relaxed)
        || lineage.last() != Some(&cx.command)
        || lineage.iter().any(|pid| entered_by.contains(pid))
}
