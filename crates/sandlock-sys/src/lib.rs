//! The kernel edge: every `unsafe` block of sandlock is in this crate.
//!
//! Each module wraps one kernel interface in a function whose types leave no wrong use: descriptors and
//! pointers of *another* process have types of their own, so that they are never mistaken for ours.
//! Nothing here knows of policies.

#[cfg(not(target_os = "linux"))]
compile_error!("sandlock is made of Linux interfaces: Landlock, seccomp and user notification");

pub mod command;
pub mod descriptors;
pub mod interrupt;
pub mod landlock;
pub mod lease;
pub mod listener;
pub mod memory;
pub mod namespace;
pub mod peer;
pub mod pidfd;
pub mod privileges;
pub mod process;
pub mod process_stat;
pub mod sealed;
pub mod seccomp;
pub mod segment;
pub mod signal;
pub mod socket;
mod task;

pub use rustix::io::Errno;
pub use task::{ChildFd, ChildPtr, Tid};
