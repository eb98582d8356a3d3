//! The crate against the lab's name server, through what it offers to others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of a test may fail loudly"
)]

#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/lab/server/names.rs"]
mod names;

mod answers;
mod connections;
mod following;
mod harness;
mod starting;
