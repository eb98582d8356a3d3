//! Which port of the machine stands for which port of a run that has a port space of its own. A map, and nothing more.

use std::collections::HashMap;
use std::net::IpAddr;

use sandlock_policy::Protocol;

use crate::message::PortMapping;

/// A socket that was bound inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Binding {
    /// Where, and what else belongs to it.
    pub(crate) place: Place,
    /// The machine's port.
    pub(crate) real: u16,
    /// The socket's inode, by which it is known again.
    pub(crate) socket: u64,
    /// Whether the kernel chose the port, so that both are one.
    pub(crate) automatic: bool,
}

/// The addresses that a socket is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// In canonical form: an IPv4-mapped address is IPv4.
    pub(crate) address: IpAddr,
    /// An IPv6 wildcard that takes IPv4 as well.
    pub(crate) dual: bool,
}

impl Place {
    /// Whether a socket here and one there cannot have the same port, unless they are made to share it.
    pub(crate) fn overlaps(self, other: Place) -> bool {
        if self.address.is_ipv4() == other.address.is_ipv4() {
            return self.address == other.address
                || self.address.is_unspecified()
                || other.address.is_unspecified();
        }
        self.dual || other.dual
    }

    /// Whether an address is one of these.
    pub(crate) fn covers(self, address: IpAddr) -> bool {
        self.address == address
            || (self.address.is_unspecified() && (self.address.is_ipv4() == address.is_ipv4() || self.dual))
    }

    /// Whether what is sent to `address` by the run arrives here for sure: of a wildcard that is known of loopback
    /// only, since which other addresses are this machine's is not.
    fn is_reached_by(self, address: IpAddr) -> bool {
        self.address == address || (address.is_loopback() && self.covers(address))
    }
}

/// The map.
#[derive(Default, Debug)]
pub(crate) struct Ports {
    bindings: HashMap<(Protocol, u16), Vec<Binding>>,
    /// By the machine's port, the run's.
    virtuals: HashMap<(Protocol, u16), u16>,
}

impl Ports {
    /// The sockets that are bound to a port of the run, as far as it is known.
    pub(crate) fn bound(&self, protocol: Protocol, port: u16) -> &[Binding] {
        self.bindings.get(&(protocol, port)).map_or(&[], Vec::as_slice)
    }

    /// Those of them that traffic to `address` arrives at: bound to exactly that first.
    pub(crate) fn reached(&self, protocol: Protocol, port: u16, address: IpAddr) -> Vec<Binding> {
        let bound = self.bound(protocol, port).iter().copied();
        let mut reached: Vec<_> = bound.filter(|binding| binding.place.is_reached_by(address)).collect();
        reached.sort_by_key(|binding| binding.place.address != address);
        reached
    }

    /// The run's port for a port of the machine at which one of its sockets is; `None` when there is none.
    pub(crate) fn shown(&self, protocol: Protocol, real: u16, address: IpAddr) -> Option<u16> {
        let port = *self.virtuals.get(&(protocol, real))?;
        let here = |binding: &Binding| binding.real == real && binding.place.covers(address);
        self.bound(protocol, port).iter().any(here).then_some(port)
    }

    /// The same for a port of which nothing else is known.
    pub(crate) fn virtual_port(&self, protocol: Protocol, real: u16) -> u16 {
        self.virtuals.get(&(protocol, real)).copied().unwrap_or(real)
    }

    /// Adds a socket.
    pub(crate) fn add(&mut self, protocol: Protocol, port: u16, binding: Binding) {
        // A port of the machine stands for one of the run at a time: who was there before is gone.
        if let Some(before) = self.virtuals.insert((protocol, binding.real), port)
            && before != port
            && let Some(bound) = self.bindings.get_mut(&(protocol, before))
        {
            bound.retain(|other| other.real != binding.real);
        }
        let bound = self.bindings.entry((protocol, port)).or_default();
        bound.retain(|other| other.socket != binding.socket);
        bound.push(binding);
    }

    /// Keeps of the sockets of a port those that live.
    pub(crate) fn keep(&mut self, protocol: Protocol, port: u16, lives: impl Fn(&Binding) -> bool) {
        let Some(bound) = self.bindings.get_mut(&(protocol, port)) else {
            return;
        };
        bound.retain(lives);
        let left: Vec<u16> = bound.iter().map(|binding| binding.real).collect();
        self.virtuals.retain(|(of, real), virtual_port| {
            *of != protocol || *virtual_port != port || left.contains(real)
        });
        if left.is_empty() {
            self.bindings.remove(&(protocol, port));
        }
    }

    /// Keeps of all sockets those that live.
    pub(crate) fn keep_all(&mut self, lives: impl Fn(&Binding) -> bool) {
        self.virtuals.clear();
        for ((protocol, port), bound) in &mut self.bindings {
            bound.retain(&lives);
            self.virtuals.extend(bound.iter().map(|binding| ((*protocol, binding.real), *port)));
        }
        self.bindings.retain(|_, bound| !bound.is_empty());
    }

    /// How many ports have sockets.
    pub(crate) fn len(&self) -> usize {
        self.bindings.len()
    }

    /// What there is to tell: not of ports that the kernel chose, which are the same.
    pub(crate) fn mappings(&self) -> Vec<PortMapping> {
        let mut mappings: Vec<_> = self
            .bindings
            .iter()
            .flat_map(|((protocol, port), bound)| bound.iter().map(|binding| (*protocol, *port, binding)))
            .filter(|(.., binding)| !binding.automatic)
            .map(|(protocol, virtual_port, binding)| PortMapping {
                protocol,
                virtual_port,
                real_port: binding.real,
                address: binding.place.address,
            })
            .take(MOST_TOLD)
            .collect();
        mappings.sort();
        mappings.dedup();
        mappings
    }
}

/// A message has to fit into a packet.
const MOST_TOLD: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use Protocol::{Tcp, Udp};

    fn place(address: &str, dual: bool) -> Place {
        Place { address: address.parse().unwrap(), dual }
    }

    fn binding(address: &str, real: u16, socket: u64) -> Binding {
        Binding { place: place(address, false), real, socket, automatic: false }
    }

    #[test]
    fn wildcards_overlap_with_what_they_cover() {
        let [v4, any4, v6, any6, dual] = [
            place("127.0.0.1", false),
            place("0.0.0.0", false),
            place("::1", false),
            place("::", false),
            place("::", true),
        ];
        for (one, other, overlap) in [
            (v4, v4, true),
            (v4, any4, true),
            (v4, place("127.0.0.2", false), false),
            (v4, v6, false),
            (v4, any6, false),
            (any4, any6, false),
            (v4, dual, true),
            (any4, dual, true),
            (v6, any6, true),
            (v6, dual, true),
        ] {
            assert_eq!((one.overlaps(other), other.overlaps(one)), (overlap, overlap), "{one:?} {other:?}");
        }
        assert!(
            dual.covers(v4.address) && !any6.covers(v4.address) && any4.covers("192.0.2.1".parse().unwrap())
        );
    }

    #[test]
    fn traffic_to_loopback_reaches_wildcards_and_exact_addresses_first() {
        let mut ports = Ports::default();
        ports.add(Tcp, 80, binding("0.0.0.0", 4000, 1));
        ports.add(Tcp, 80, binding("127.0.0.2", 4001, 2));
        let reached = |address: &str| {
            let reached = ports.reached(Tcp, 80, address.parse().unwrap());
            reached.iter().map(|binding| binding.real).collect::<Vec<_>>()
        };
        assert_eq!(reached("127.0.0.1"), [4000]);
        assert_eq!(reached("127.0.0.2"), [4001, 4000]);
        assert!(reached("::1").is_empty() && reached("192.0.2.1").is_empty());
        assert!(ports.reached(Udp, 80, [127, 0, 0, 1].into()).is_empty());
    }

    #[test]
    fn a_port_is_forgotten_with_its_last_socket() {
        let mut ports = Ports::default();
        let here = "127.0.0.1".parse().unwrap();
        ports.add(Tcp, 80, binding("127.0.0.1", 4000, 1));
        ports.add(Tcp, 80, binding("127.0.0.1", 4000, 2));
        assert_eq!((ports.shown(Tcp, 4000, here), ports.virtual_port(Tcp, 4000)), (Some(80), 80));
        assert_eq!(ports.shown(Tcp, 4000, "127.0.0.2".parse().unwrap()), None);
        assert_eq!((ports.shown(Udp, 4000, here), ports.virtual_port(Udp, 4000)), (None, 4000));
        ports.keep(Tcp, 80, |binding| binding.socket == 2);
        assert_eq!(ports.shown(Tcp, 4000, here), Some(80));
        ports.keep(Tcp, 80, |_| false);
        assert_eq!((ports.shown(Tcp, 4000, here), ports.virtual_port(Tcp, 4000)), (None, 4000));
        assert!(ports.len() == 0 && ports.mappings().is_empty());
        ports.add(Tcp, 80, binding("127.0.0.1", 4000, 1));
        ports.add(Udp, 81, binding("127.0.0.1", 4001, 2));
        ports.keep_all(|binding| binding.socket == 2);
        assert_eq!(
            (ports.len(), ports.shown(Tcp, 4000, here), ports.shown(Udp, 4001, here)),
            (1, None, Some(81))
        );
    }

    #[test]
    fn a_port_of_the_machine_stands_for_one_of_the_run() {
        let mut ports = Ports::default();
        ports.add(Tcp, 80, binding("127.0.0.1", 4000, 1));
        ports.add(Tcp, 81, binding("127.0.0.1", 4000, 2));
        assert_eq!(ports.virtual_port(Tcp, 4000), 81);
        assert!(ports.bound(Tcp, 80).is_empty());
        let told = ports.mappings();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].virtual_port, told[0].real_port), (81, 4000));
    }
}
