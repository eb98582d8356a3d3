//! Processes: calls aimed at others, and the end of the tree.

mod descendants;
pub(crate) mod inner;
pub(crate) mod landlock;
pub(crate) mod others;
pub(crate) mod pause;
pub(crate) mod shared_memory;
pub(crate) mod signals;
mod sockets;
pub(crate) mod tree;
pub(crate) mod who;
