//! The destinations that the rules of one protocol speak of, in the form that a check walks.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::canonical;
use crate::host::write_range;
use crate::{PortSet, Ports};

/// A set of addresses and ports, of one protocol. The default is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    everything: bool,
    any_address: PortSet,
    addresses: HashMap<IpAddr, PortSet>,
    ranges: Vec<(IpNet, PortSet)>,
}

impl Destinations {
    /// Whether `address` and `port` are in it; the port of ICMP is 0. Costs one hash lookup and a walk over the
    /// ranges.
    #[must_use]
    pub fn contains(&self, address: IpAddr, port: u16) -> bool {
        if self.everything || self.any_address.contains(port) {
            return true;
        }
        let address = canonical(address);
        self.addresses.get(&address).is_some_and(|ports| ports.contains(port))
            || self.ranges.iter().any(|(range, ports)| ports.contains(port) && range.contains(&address))
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.everything && self.any_address.is_empty() && self.addresses.is_empty() && self.ranges.is_empty()
    }

    /// Whether any port of any address is in it.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// Adds `ports` on any address.
    pub(crate) fn add_any(&mut self, ports: &Ports) {
        match ports {
            Ports::Any => self.everything = true,
            Ports::List(_) => self.any_address.extend(ports),
        }
    }

    /// Adds `ports` of one address, in any of its forms.
    pub(crate) fn add_address(&mut self, address: IpAddr, ports: &Ports) {
        self.addresses.entry(canonical(address)).or_default().extend(ports);
    }

    /// Adds `ports` of a range. A range of one address is that address, so that `0.0.0.0` means loopback in
    /// a rule as it does in a call.
    pub(crate) fn add_range(&mut self, range: IpNet, ports: &Ports) {
        if range.prefix_len() == range.max_prefix_len() {
            return self.add_address(range.addr(), ports);
        }
        if let Some((_, granted)) = self.ranges.iter_mut().find(|(known, _)| *known == range) {
            return granted.extend(ports);
        }
        let mut granted = PortSet::default();
        granted.extend(ports);
        self.ranges.push((range, granted));
    }
}

/// `none`, `everything`, or its parts as `HOST:PORTS` in a stable order, a space between two.
impl fmt::Display for Destinations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.everything {
            return f.write_str("everything");
        }
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut space = "";
        if !self.any_address.is_empty() {
            write!(f, "*:{}", self.any_address)?;
            space = " ";
        }
        let single = self.addresses.iter().map(|(address, ports)| (IpNet::from(*address), ports));
        let ranges = self.ranges.iter().map(|(range, ports)| (*range, ports));
        for (range, ports) in single.chain(ranges).collect::<BTreeMap<_, _>>() {
            f.write_str(space)?;
            write_range(f, &range)?;
            write!(f, ":{ports}")?;
            space = " ";
        }
        Ok(())
    }
}
