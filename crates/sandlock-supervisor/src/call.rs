//! One trapped call, and what a handler may say about it.

use std::os::fd::OwnedFd;

use sandlock_policy::Denied;
use sandlock_sys::listener::{CallId, Notification};
use sandlock_sys::{ChildFd, ChildPtr, Errno, Tid};

use crate::context::Context;
use crate::waiting::Waiting;

/// Answers one system call, or a family whose registers mean the same.
pub type Handler = fn(&Context<'_>, &Call) -> Result<Done, Failure>;

/// One trapped call: who called, and the registers.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The kernel's name of it.
    pub id: CallId,
    /// The calling thread.
    pub tid: Tid,
    /// The system call's number.
    pub number: u32,
    args: [u64; 6],
}

/// What became of a call that was performed.
pub enum Done {
    /// It returned this.
    Value(i64),
    /// It returned this, and would have gone on but for the policy.
    Partly(i64, Denied),
    /// The kernel shall perform it: for calls that registers alone decide, or that it guards by itself.
    Continue,
    /// It returned a descriptor of this file, made for the caller.
    Descriptor {
        /// The open file.
        file: OwnedFd,
        /// Whether exec closes the descriptor.
        close_on_exec: bool,
    },
    /// It must wait; other calls shall not.
    Wait(Box<dyn Waiting>),
}

/// Why a call was not performed, or failed when it was.
#[derive(Debug)]
pub enum Failure {
    /// The kernel's own error, or what the kernel would have said.
    Errno(Errno),
    /// The policy says no: one event, one errno.
    Denied(Denied),
    /// Somebody who was asked said no: one event, and the errno that was chosen, if one was.
    Declined(Denied, Option<Errno>),
    /// The caller is gone: nobody waits for an answer.
    Gone,
}

impl Call {
    /// The register, as an `int`: the kernel looks at the low 32 bits only.
    pub fn int(&self, register: usize) -> i32 {
        self.args[register] as i32
    }

    /// The register, whole.
    pub fn long(&self, register: usize) -> u64 {
        self.args[register]
    }

    /// The register, as an address in the caller's memory.
    pub fn pointer(&self, register: usize) -> ChildPtr {
        ChildPtr::from_register(self.args[register])
    }

    /// The register, as a descriptor of the caller.
    pub fn descriptor(&self, register: usize) -> ChildFd {
        ChildFd::from_register(self.args[register])
    }
}

impl From<Notification> for Call {
    fn from(notification: Notification) -> Self {
        Call {
            id: notification.id,
            tid: notification.tid,
            number: notification.number,
            args: notification.args,
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure::Errno(errno)
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Failure::Denied(denied)
    }
}
