//! What a name was said to stand for.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::Name;

/// An answer, before anybody looked whether its addresses may be taken.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The names that the one asked leads to, in order; the last has the addresses.
    pub(crate) links: Vec<Name>,
    pub(crate) addresses: Vec<IpAddr>,
    /// How long it holds.
    pub(crate) ttl: Duration,
    /// Whether the machine itself says so: then it may speak of the machine.
    pub(crate) own: bool,
}

/// How long an answer holds whose source does not say.
pub(crate) const UNKNOWN_TTL: Duration = Duration::from_secs(60);
const TTL_LEAST: Duration = Duration::from_secs(1);
const TTL_MOST: Duration = Duration::from_secs(3600);

impl Answer {
    pub(crate) fn new(ttl: Duration) -> Answer {
        Answer { links: Vec::new(), addresses: Vec::new(), ttl, own: false }
    }

    /// How long it is believed: a server that says "never" must not be asked without pause, and one that says "a year"
    /// may be wrong.
    pub(crate) fn life(&self) -> Duration {
        self.ttl.clamp(TTL_LEAST, TTL_MOST)
    }
}
