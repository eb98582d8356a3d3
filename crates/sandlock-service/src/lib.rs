//! What the services of a run have in common, its resolver and its HTTP proxy: a thread of their own in the launcher, and
//! doors. Every process of the machine can connect to a port of loopback; what the supervisor led there, and announced,
//! is let in.

mod announcements;
mod doors;
mod thread;

pub use doors::{Doors, Newcomer, Place};
pub use thread::{Stopped, Thread};
