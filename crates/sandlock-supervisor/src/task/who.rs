//! Who makes a call, for those who read of it.

use sandlock_sys::Tid;

use super::tree;
use crate::message::Who;

/// The process that `tid` belongs to, and what it executes. To be believed only if the caller waits afterwards.
pub(crate) fn of(tid: Tid) -> Option<Who> {
    let pid = tree::group_of(tid.get())?;
    let exe = rustix::fs::readlink(format!("/proc/{tid}/exe"), Vec::new()).ok();
    Some(Who { pid, exe: exe.map(|path| path.to_string_lossy().into_owned()) })
}
