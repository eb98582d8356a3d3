//! What is allowed: rules, their grammar, and pure checks. Knows nothing of Linux.
//!
//! A [`NetRule`] is parsed from text; [`NetworkPolicy::build`] combines the rules with what their names
//! [resolved](Resolved) to; [`NetworkPolicy::check`] answers [`Allowed`] or [`Denied`]. Nothing here asks the
//! machine anything: no file is read, no name is looked up, nothing is printed.

mod address;
mod allowed;
mod allowlist;
pub mod base;
mod denied;
mod destination;
mod escape;
mod files;
mod host;
mod lossless;
mod metadata;
mod network;
mod policy;
mod ports;
mod prefix;
mod protocol;
mod resolved;
mod rule;
mod rule_error;
mod shell;
mod unix;

pub use allowed::Allowed;
pub use allowlist::Allowlist;
pub use denied::Denied;
pub use destination::Destination;
pub use escape::escape_terminal;
pub use files::{Base, FileRules};
pub use host::Host;
pub use ipnet::IpNet;
pub use metadata::{MetadataFacts, MetadataTarget, check_metadata};
pub use network::{BuildError, NetworkPolicy};
pub use policy::Policy;
pub use ports::{KernelPorts, PortSet, Ports};
pub use prefix::installation_prefixes;
pub use protocol::Protocol;
pub use resolved::{Resolved, names_to_resolve};
pub use rule::NetRule;
pub use rule_error::{RuleError, RuleErrorKind};
pub use unix::{UnixFacts, UnixTarget, check_unix};
