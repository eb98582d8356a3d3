//! Files: resolving the caller's paths, the calls that Landlock has no right for, and the files that are served.

pub(crate) mod metadata;
pub(crate) mod mounted;
pub(crate) mod open;
pub(crate) mod path;
pub(crate) mod proc;
pub(crate) mod served;
