//! The subcommands, a file each.

pub(crate) mod run;
