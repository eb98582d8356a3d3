//! What is known of one name over time: what it stands for now, and what it stood for a while ago.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_proto::rr::Name;
use sandlock_policy::NameState;

/// How many former addresses of a name are kept: the latest. More than a name has that rotates every second through the
/// default grace; and all that is known of one fits a message to the supervisor, of 32 KiB, whatever the addresses.
const MOST_RETIRING: usize = 640;

/// What is known of one name.
#[derive(Debug)]
pub(crate) struct Entry {
    current: Vec<IpAddr>,
    retiring: Vec<Retiring>,
    links: Vec<Name>,
    fresh_until: Instant,
    grace: Grace,
}

/// How long former addresses are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Grace {
    For(Duration),
    /// A rule denies the name: what it ever stood for in this run stays denied, or its owner would escape the rule by
    /// letting addresses rotate.
    Ever,
}

#[derive(Debug)]
struct Retiring {
    address: IpAddr,
    /// `None` when it is kept.
    until: Option<Instant>,
}

/// What an answer changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Nothing,
    /// Nothing can be reached that could not before.
    Moved,
    /// Something can.
    More,
}

impl Entry {
    pub(crate) fn new(grace: Grace, now: Instant) -> Entry {
        Entry { current: Vec::new(), retiring: Vec::new(), links: Vec::new(), fresh_until: now, grace }
    }

    /// What it stands for from now on, and for how long.
    pub(crate) fn learn(
        &mut self,
        addresses: Vec<IpAddr>,
        links: Vec<Name>,
        life: Duration,
        now: Instant,
    ) -> Change {
        self.links = links;
        self.fresh_until = now + life;
        let is_known = |address: &IpAddr| {
            self.current.contains(address) || self.retiring.iter().any(|old| old.address == *address)
        };
        let more = !addresses.iter().all(is_known);
        let same =
            addresses.len() == self.current.len() && addresses.iter().all(|one| self.current.contains(one));
        if same {
            return Change::Nothing;
        }
        self.retiring.retain(|old| !addresses.contains(&old.address));
        let until = match self.grace {
            Grace::For(grace) => now.checked_add(grace),
            Grace::Ever => None,
        };
        let gone = self.current.drain(..).filter(|old| !addresses.contains(old));
        self.retiring.extend(gone.map(|address| Retiring { address, until }));
        let excess = self.retiring.len().saturating_sub(MOST_RETIRING);
        self.retiring.drain(..excess);
        self.current = addresses;
        if more { Change::More } else { Change::Moved }
    }

    /// Drops the former addresses whose grace is over. Whether there were any.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let before = self.retiring.len();
        self.retiring.retain(|old| old.until.is_none_or(|until| until > now));
        self.retiring.len() != before
    }

    /// When the next grace is over.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.retiring.iter().filter_map(|old| old.until).min()
    }

    /// Whether its addresses are kept for the whole run.
    pub(crate) fn is_kept(&self) -> bool {
        self.grace == Grace::Ever
    }

    /// Keeps its addresses for the whole run from now on.
    pub(crate) fn keep(&mut self) {
        self.grace = Grace::Ever;
        self.retiring.iter_mut().for_each(|old| old.until = None);
    }

    pub(crate) fn current(&self) -> &[IpAddr] {
        &self.current
    }

    pub(crate) fn links(&self) -> &[Name] {
        &self.links
    }

    pub(crate) fn fresh_until(&self) -> Instant {
        self.fresh_until
    }

    pub(crate) fn state(&self, name: &str) -> NameState {
        NameState {
            name: name.to_owned(),
            current: self.current.clone(),
            retiring: self.retiring.iter().map(|old| old.address).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn learn(entry: &mut Entry, texts: &[&str], now: Instant) -> Change {
        entry.learn(addresses(texts), Vec::new(), SECOND, now)
    }

    #[test]
    fn an_old_address_retires_and_is_dropped_after_its_grace() {
        let start = Instant::now();
        let mut entry = Entry::new(Grace::For(10 * SECOND), start);
        assert_eq!(learn(&mut entry, &["10.0.0.1", "10.0.0.2"], start), Change::More);
        assert_eq!(learn(&mut entry, &["10.0.0.2", "10.0.0.1"], start), Change::Nothing);
        assert_eq!(learn(&mut entry, &["10.0.0.2"], start + SECOND), Change::Moved);
        assert_eq!(entry.state("a").retiring, addresses(&["10.0.0.1"]));
        assert_eq!(entry.next_expiry(), Some(start + 11 * SECOND));
        assert!(!entry.expire(start + 10 * SECOND) && entry.expire(start + 11 * SECOND));
        assert_eq!(entry.state("a").retiring, addresses(&[]));
        assert_eq!(learn(&mut entry, &["10.0.0.1"], start + 12 * SECOND), Change::More);
    }

    #[test]
    fn an_address_that_comes_back_is_not_new_and_does_not_retire() {
        let start = Instant::now();
        let mut entry = Entry::new(Grace::For(10 * SECOND), start);
        learn(&mut entry, &["10.0.0.1"], start);
        learn(&mut entry, &["10.0.0.2"], start);
        assert_eq!(learn(&mut entry, &["10.0.0.1"], start), Change::Moved);
        assert_eq!(entry.state("a").current, addresses(&["10.0.0.1"]));
        assert_eq!(entry.state("a").retiring, addresses(&["10.0.0.2"]));
    }

    #[test]
    fn a_denied_name_keeps_all_addresses() {
        let start = Instant::now();
        let mut entry = Entry::new(Grace::Ever, start);
        for n in 1..100 {
            learn(&mut entry, &[&format!("10.0.0.{n}")], start);
        }
        assert!(!entry.expire(start + 1000 * SECOND));
        assert_eq!((entry.state("a").retiring.len(), entry.next_expiry()), (98, None));
    }

    #[test]
    fn former_addresses_are_bounded() {
        let start = Instant::now();
        let mut entry = Entry::new(Grace::Ever, start);
        for n in 0..2000u32 {
            learn(&mut entry, &[&std::net::Ipv4Addr::from(n + (10 << 24)).to_string()], start);
        }
        assert_eq!(entry.retiring.len(), MOST_RETIRING);
    }
}
