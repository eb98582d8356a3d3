//! The sandlock command.
