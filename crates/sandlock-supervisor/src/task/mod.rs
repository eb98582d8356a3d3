//! Processes: calls aimed at others, and the end of the tree.

pub(crate) mod inner;
pub(crate) mod landlock;
pub(crate) mod others;
pub(crate) mod shared_memory;
pub(crate) mod signals;
pub(crate) mod tree;
