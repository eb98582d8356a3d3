//! How many processes and threads the sandbox may have at once.
//!
//! A process is made by its parent in the kernel, after the supervisor let it, and nobody tells when. So who was let is
//! counted until it is certain that the call is over: its caller makes another one, is gone, or sits in some other call
//! of the kernel. In doubt it counts. Parallel calls can therefore never make more than the limit.

use std::collections::HashSet;

use sandlock_policy::Denied;
use sandlock_sys::{Errno, Tid};
use syscalls::Sysno;

use super::census::{Census, threads_of};
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::lock::lock;

/// The processes and threads of the sandbox, counted.
pub(crate) struct Processes {
    limit: u32,
    census: Census,
    /// There are no more than these.
    at_most: u64,
    /// Who was let make one, and may still be about it.
    making: HashSet<Tid>,
}

impl Processes {
    pub(crate) fn new(limit: u32) -> Self {
        // The command.
        Processes { limit, census: Census::new(), at_most: 1, making: HashSet::new() }
    }

    /// Whether `caller` may make one more; then it is counted.
    fn may_make(&mut self, caller: Tid) -> bool {
        self.making.remove(&caller);
        if self.at_most >= u64::from(self.limit) {
            self.at_most = self.count();
        }
        let may = self.at_most < u64::from(self.limit);
        if may {
            self.at_most += 1;
            self.making.insert(caller);
        }
        may
    }

    fn count(&mut self) -> u64 {
        // In this order: what was made by who is not about it any more is there to be seen.
        self.making.retain(|tid| may_be_making(*tid));
        let Ok(inside) = self.census.inside() else {
            return u64::MAX;
        };
        inside.into_iter().map(threads_of).sum::<u64>() + self.making.len() as u64
    }
}

/// Whether a thread may be in a call that makes a process. `/proc` says which call a thread sits in, or that it runs.
fn may_be_making(tid: Tid) -> bool {
    let call = match std::fs::read_to_string(format!("/proc/{tid}/syscall")) {
        Ok(call) => call,
        Err(error) => {
            let gone = error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH);
            return !gone;
        }
    };
    match call.split_ascii_whitespace().next().map(str::parse::<i64>) {
        Some(Ok(number)) => MAKING.iter().any(|making| *making as i64 == number),
        _ => true,
    }
}

/// `clone(flags, ...)`, `fork()`, `vfork()`. That they go on in the kernel is safe: the filter has decided on the flags,
/// which are a register.
pub(crate) fn make(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    // An image is judged before it is inherited, in runs with rules for trees of processes.
    cx.tree_of(call)?;
    let mut processes = lock(&cx.limits.processes);
    let Some(processes) = processes.as_mut() else {
        return Err(Errno::AGAIN.into());
    };
    match processes.may_make(call.tid) {
        true => Ok(Done::Continue),
        false => Err(Denied::Processes { limit: processes.limit }.into()),
    }
}

const MAKING: &[Sysno] = &[
    Sysno::clone,
    Sysno::clone3,
    #[cfg(target_arch = "x86_64")]
    Sysno::fork,
    #[cfg(target_arch = "x86_64")]
    Sysno::vfork,
];
const ESRCH: i32 = 3;
