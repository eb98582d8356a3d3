//! The subcommands, a file each.

pub(crate) mod check;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod fetch;
pub(crate) mod inspect;
mod limits;
pub(crate) mod ps;
pub(crate) mod run;
pub(crate) mod tell;
pub(crate) mod tour;
pub(crate) mod trial;
