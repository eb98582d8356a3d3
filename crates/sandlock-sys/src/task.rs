//! Names for things that belong to another process.

use std::fmt;

/// A thread of the sandbox, by its number in the supervisor's pid namespace.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Tid(pub(crate) i32);

impl Tid {
    /// The number, for paths below `/proc`.
    pub fn get(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A descriptor number in the table of the *calling* task. It means nothing in ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChildFd(i32);

impl ChildFd {
    /// From a system call argument: the kernel takes the low 32 bits, whatever is above.
    pub fn from_register(register: u64) -> Self {
        ChildFd(register as i32)
    }

    /// The number, as the caller wrote it (may be negative).
    pub fn get(self) -> i32 {
        self.0
    }
}

/// An address in the memory of the calling task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChildPtr(u64);

impl ChildPtr {
    /// From a system call argument or from a structure that was read.
    pub fn from_register(register: u64) -> Self {
        ChildPtr(register)
    }

    /// Whether it is the null pointer.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address `bytes` further on; `None` past the end of the address space.
    pub fn offset(self, bytes: u64) -> Option<ChildPtr> {
        self.0.checked_add(bytes).map(ChildPtr)
    }

    pub(crate) fn get(self) -> u64 {
        self.0
    }
}
