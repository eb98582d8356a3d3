//! Files: resolving the caller's paths, and the calls that Landlock has no right for.

pub(crate) mod metadata;
pub(crate) mod path;
