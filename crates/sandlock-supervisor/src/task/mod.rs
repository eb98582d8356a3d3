//! Processes: calls aimed at others, and the end of the tree.

pub(crate) mod census;
mod descendants;
pub(crate) mod inner;
pub(crate) mod landlock;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod memory_files;
pub(crate) mod memory_segments;
pub(crate) mod others;
pub(crate) mod pause;
pub(crate) mod processes;
pub(crate) mod processors;
pub(crate) mod shared_memory;
pub(crate) mod signals;
pub(crate) mod sockets;
pub(crate) mod tree;
pub(crate) mod trees;
pub(crate) mod who;
