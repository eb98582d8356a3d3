//! Landlock for programs inside, which may confine themselves further.

use sandlock_sys::{Errno, memory};

use crate::call::{Call, Done, Failure};
use crate::context::Context;

/// `landlock_create_ruleset(attributes, size, flags)`, as on Linux 6.2, whose rulesets are about files alone. Asked only
/// where the kernel's own version is that or a later one.
pub(crate) fn create_ruleset(_cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let size = usize::try_from(call.long(1)).unwrap_or(usize::MAX);
    if call.int(2) != 0 {
        return match (call.pointer(0).is_null(), size) {
            (true, 0) => Ok(Done::Value(VERSION)),
            _ => Err(Errno::INVAL.into()),
        };
    }
    let mut attributes = vec![0; size.min(LONGEST)];
    // "copy_struct_from_user": what a kernel does not know must be zero.
    match memory::read_some(call.tid, call.pointer(0), &mut attributes) {
        Ok(read) if attributes[..read].iter().skip(KNOWN).any(|byte| *byte != 0) => Err(Errno::TOOBIG.into()),
        // The kernel reads it again. Whoever changes it meanwhile is in the process that wants to be confined, and
        // deceives but itself; what the run may do, no ruleset changes.
        _ => Ok(Done::Continue),
    }
}

const VERSION: i64 = 3;
/// `handled_access_fs`.
const KNOWN: usize = 8;
/// A page; more is E2BIG.
const LONGEST: usize = 4096;
