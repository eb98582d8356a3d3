//! From the name that was asked, along its aliases (CNAME), to its addresses. What a server puts beside that way is
//! not looked at: whoever answers for one name says nothing about others.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::Failure;

/// How many aliases may lead to an address.
const MOST_LINKS: usize = 16;

/// How far a name was followed, over one message or several.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// The names that the one asked leads to, in order.
    pub(crate) links: Vec<Name>,
    /// What the last one stands for.
    pub(crate) addresses: Vec<IpAddr>,
    /// How long all of that holds.
    pub(crate) ttl: Duration,
}

impl Chain {
    pub(crate) fn new() -> Chain {
        Chain { links: Vec::new(), addresses: Vec::new(), ttl: Duration::MAX }
    }

    /// Follows `asked` through one message. It ends with addresses, or at a name that the message says no more of.
    ///
    /// # Errors
    /// [`Failure::TooManyLinks`], of a circle as well.
    pub(crate) fn follow(
        &mut self,
        asked: &Name,
        kind: RecordType,
        message: &Message,
    ) -> Result<(), Failure> {
        let mut at = asked.clone();
        loop {
            let own = || message.answers.iter().filter(|record| is_of(record, &at));
            let addresses = own().filter(|record| record.record_type() == kind);
            let found: Vec<_> = addresses.filter_map(|record| Some((address(record)?, record.ttl))).collect();
            if !found.is_empty() {
                found.iter().for_each(|(_, ttl)| self.holds(*ttl));
                self.addresses = found.into_iter().map(|(address, _)| address).collect();
                return Ok(());
            }
            let alias = own().find_map(|record| match &record.data {
                RData::CNAME(target) => Some((target.0.clone(), record.ttl)),
                _ => None,
            });
            let Some((target, ttl)) = alias else {
                return Ok(());
            };
            if self.links.len() == MOST_LINKS {
                return Err(Failure::TooManyLinks);
            }
            self.holds(ttl);
            self.links.push(target.clone());
            at = target;
        }
    }

    fn holds(&mut self, ttl: u32) {
        self.ttl = self.ttl.min(Duration::from_secs(ttl.into()));
    }
}

fn is_of(record: &Record, name: &Name) -> bool {
    record.dns_class == DNSClass::IN && record.name == *name
}

fn address(record: &Record) -> Option<IpAddr> {
    match record.data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}
