//! Files: resolving the caller's paths, the calls that Landlock has no right for, and the files that are served.

pub(crate) mod entries;
pub(crate) mod holed;
pub(crate) mod holes;
pub(crate) mod metadata;
pub(crate) mod mounted;
pub(crate) mod open;
pub(crate) mod path;
pub(crate) mod place;
pub(crate) mod proc;
pub(crate) mod served;
pub(crate) mod umask;
