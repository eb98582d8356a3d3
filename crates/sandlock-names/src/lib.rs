//! Resolution of the host names that rules mention.
//!
//! Names are asked of the system's own resolver, the one that the program outside of the sandbox would use, and
//! every name once. Nothing here decides what is allowed.

mod resolve;
mod resolve_error;
mod route;

pub use resolve::resolve;
pub use resolve_error::ResolveError;
