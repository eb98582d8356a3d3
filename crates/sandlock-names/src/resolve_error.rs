//! Why the names of the rules have no addresses.

use std::io;
use std::time::Duration;

use sandlock_policy::{Denied, NetRule};

/// Why names could not be resolved. Each variant about a name has the first rule that mentions it, and its text
/// begins with that rule as the user wrote it: `--net-allow "nosuch.invalid:443": …`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The resolver knows no address of the name, or could not be asked.
    #[error("{}: the name {name} does not resolve", rule.written())]
    Unresolved {
        /// The rule.
        rule: Box<NetRule>,
        /// The name.
        name: String,
        /// What the resolver answered.
        source: io::Error,
    },
    /// All addresses of the name are of families that this host has no route for.
    #[error("{}: this host has no route to any address of {name}", rule.written())]
    NoRoute {
        /// The rule.
        rule: Box<NetRule>,
        /// The name.
        name: String,
    },
    /// The name stands only for addresses that a name may not stand for.
    #[error("{}: {denied}", rule.written())]
    Refused {
        /// The rule.
        rule: Box<NetRule>,
        /// The name.
        name: String,
        /// The first of the addresses, and why. Its [hint](Denied::hint) is the flag that would help.
        denied: Box<Denied>,
    },
    /// The resolver did not answer in time. Threads may still wait for it.
    #[error("{}: the name {name} did not resolve within {limit:?}", rule.written())]
    TimedOut {
        /// The first rule whose name was not answered.
        rule: Box<NetRule>,
        /// The name.
        name: String,
        /// The limit for all names together.
        limit: Duration,
    },
    /// No thread could be started to ask the resolver.
    #[error("no thread can be started to resolve names")]
    NoThread(#[source] io::Error),
}
