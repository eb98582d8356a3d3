//! Resolution of the host names that rules mention, and the resolver that programs ask.
//!
//! [`resolve`] asks for every name before a run; [`Service`] keeps them true while it lasts, and answers programs over
//! TCP, only about names that a rule grants something of. What is allowed is decided by `sandlock-policy`; nothing here
//! enforces it.

mod answer;
mod book;
mod chain;
mod client;
mod connection;
mod consult;
mod entry;
mod failure;
mod frame;
mod happening;
mod outbox;
mod query;
mod question;
mod refresh;
mod resolve;
mod resolve_error;
mod route;
mod run;
mod runtime;
mod service;
mod system;
mod take;
mod upstream;

pub use consult::{Consult, NameAnswer};
pub use happening::Happening;
pub use outbox::Outbox;
pub use resolve::{Resolution, resolve};
pub use resolve_error::ResolveError;
pub use service::Service;
pub use upstream::Upstream;

use answer::Answer;
use failure::Failure;

/// The name server of the lab.
#[cfg(test)]
#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/lab/server/names.rs"]
mod name_server;
