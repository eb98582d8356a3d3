//! A port space of a run's own: which port of the machine a bind gets, and which sockets are the run's.
//!
//! The first socket that is bound to a port gets the same port of the machine if that is free and nobody can come to share
//! it, else another. Those that follow get what the first one got, so that the kernel itself says what it says on a bare machine.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use sandlock_policy::{Allowed, Destination, Holder, LocalPort, Protocol, Publish, check_own};
use sandlock_sys::Errno;

use super::address::{AF_UNSPEC, RawAddress};
use super::own_server::OwnServer;
use super::ports::{Binding, Place, Ports};
use super::sharing::may_share;
use super::socket::{Family, inode};
use super::socket_at::SocketDiag;
use super::socket_table::sockets_in_proc;
use crate::call::{Done, Failure};
use crate::decision::Hands;
use crate::lock::lock;
use crate::message::{PortMapping, Report};
use crate::task::tree;

/// The port space, for the thread that performs a bind: the receiving one, or the waiting one after a call was held.
pub(crate) struct SharedPorts(Mutex<PortSpace>);

impl SharedPorts {
    pub(crate) fn new(published: &[Publish]) -> Self {
        SharedPorts(Mutex::new(PortSpace::new(published)))
    }

    /// Waits for the other thread, which has it for no longer than a call may take that could block.
    pub(crate) fn lock(&self) -> MutexGuard<'_, PortSpace> {
        lock(&self.0)
    }
}

/// The port space.
pub(crate) struct PortSpace {
    ports: RefCell<Ports>,
    published: Vec<Publish>,
    /// `None` where the kernel has none: `/proc` is read instead.
    diag: Option<SocketDiag>,
    /// At how many ports those are looked for that can be forgotten.
    sweep_at: Cell<usize>,
    told: RefCell<Vec<PortMapping>>,
}

impl PortSpace {
    fn new(published: &[Publish]) -> Self {
        PortSpace {
            ports: RefCell::default(),
            published: published.to_vec(),
            diag: SocketDiag::new().ok(),
            sweep_at: Cell::new(SWEEP_AT),
            told: RefCell::default(),
        }
    }

    /// The run's port of an address of this machine at which a socket of the run is.
    pub(crate) fn shown(&self, protocol: Protocol, address: SocketAddr) -> Option<u16> {
        self.ports.borrow().shown(protocol, address.port(), address.ip().to_canonical())
    }

    /// The run's port of a port of the machine.
    pub(crate) fn virtual_port(&self, protocol: Protocol, real: u16) -> u16 {
        self.ports.borrow().virtual_port(protocol, real)
    }

    /// The run's port that this very socket is bound to.
    pub(crate) fn port_of(&self, protocol: Protocol, socket: BorrowedFd<'_>, real: u16) -> u16 {
        let ports = self.ports.borrow();
        let port = ports.virtual_port(protocol, real);
        let inode = inode(socket);
        let is_it = |binding: &Binding| binding.real == real && Ok(binding.socket) == inode;
        if ports.bound(protocol, port).iter().any(is_it) { port } else { real }
    }

    /// Tells the launcher what stands for what, when that is something else than before: whoever binds again and again
    /// is not to wake it each time.
    fn tell(&self, hands: &Hands<'_>) {
        let mappings = self.ports.borrow().mappings();
        if *self.told.borrow() != mappings && hands.announce(&Report::Ports(mappings.clone())) {
            self.told.replace(mappings);
        }
    }

    /// A socket that listens on a port that the kernel chose.
    pub(crate) fn listens(&self, socket: BorrowedFd<'_>, bound: SocketAddr) -> Result<(), Errno> {
        if self.port_of(Protocol::Tcp, socket, bound.port()) == bound.port() {
            self.add(Protocol::Tcp, bound.port(), socket, place_of(socket, bound.ip())?, bound.port(), true)?;
        }
        Ok(())
    }

    /// Where traffic goes that the run sends to one of its own sockets; `None` when none is there.
    ///
    /// The map says where it could be, and the kernel whether it still is.
    pub(crate) fn own(&self, destination: &Destination) -> Option<Allowed<Destination>> {
        let (protocol, address, port) = (destination.protocol(), destination.address(), destination.port());
        let reached = self.ports.borrow().reached(protocol, port, address);
        let own = |inode: u64| reached.iter().any(|binding| binding.socket == inode);
        let found = reached.iter().find(|binding| {
            // Of several that share a port the kernel names one.
            self.socket_at(protocol, address, binding.real).is_some_and(own)
        })?;
        check_own(Destination::new(protocol, address, found.real), Holder::Run).ok()
    }

    /// As [`PortSpace::own`], for a datagram's destination that is not in the map, and that nothing else allows: a socket
    /// of the run has this port of the machine without having been bound, as clients have. All sockets at the port are
    /// looked at, and the tree's descriptors: this takes long.
    pub(crate) fn own_unbound(&self, destination: &Destination) -> Option<Allowed<Destination>> {
        if destination.protocol() != Protocol::Udp || !destination.address().is_loopback() {
            return None;
        }
        let at = |place: &Place| place.covers(destination.address());
        let there: Vec<_> = sockets_in_proc(Protocol::Udp, destination.port())
            .into_iter()
            .filter(|(place, _)| at(place))
            .collect();
        let own = tree::sockets();
        let all_own = !there.is_empty() && there.iter().all(|(_, inode)| own.contains(inode));
        check_own(*destination, if all_own { Holder::Run } else { Holder::Other }).ok()
    }

    /// The same of a server: with what it takes to find out who took the connection.
    pub(crate) fn own_server(&self, destination: &Destination) -> Option<OwnServer> {
        let destination = self.own(destination).filter(|_| destination.protocol() == Protocol::Tcp)?;
        let (address, real) = (destination.get().address(), destination.get().port());
        let ports = self.ports.borrow();
        let port = ports.virtual_port(Protocol::Tcp, real);
        let reached = ports.reached(Protocol::Tcp, port, address);
        let sockets = reached.iter().filter(|one| one.real == real).map(|one| one.socket).collect();
        Some(OwnServer { destination, sockets })
    }

    /// What the kernel is asked by.
    pub(crate) fn diag(&self) -> Option<&SocketDiag> {
        self.diag.as_ref()
    }

    fn socket_at(&self, protocol: Protocol, address: IpAddr, port: u16) -> Option<u64> {
        listener_at(self.diag(), protocol, address, port)
    }

    fn add(
        &self,
        protocol: Protocol,
        port: u16,
        socket: BorrowedFd<'_>,
        place: Place,
        real: u16,
        automatic: bool,
    ) -> Result<(), Errno> {
        let socket = inode(socket)?;
        self.ports.borrow_mut().add(protocol, port, Binding { place, real, socket, automatic });
        let len = self.ports.borrow().len();
        if len >= self.sweep_at.get() {
            let own = tree::sockets();
            self.ports.borrow_mut().keep_all(|binding| own.contains(&binding.socket));
            self.sweep_at.set((self.ports.borrow().len() * 2).max(SWEEP_AT));
        }
        Ok(())
    }

    /// Forgets the sockets of a port that are closed.
    fn forget_closed(&self, protocol: Protocol, port: u16) {
        let bound = self.ports.borrow().bound(protocol, port).to_vec();
        let seen = |binding: &Binding| {
            let address = match binding.place.address {
                IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                address => address,
            };
            self.socket_at(protocol, address, binding.real) == Some(binding.socket)
        };
        if bound.iter().all(seen) {
            return;
        }
        // Where one that shares with nobody can be bound, no socket is. Cheaper than a look at the whole tree.
        let is_had = |binding: &Binding| nobody_has(protocol, binding.place, binding.real) != Ok(true);
        if !bound.iter().any(is_had) {
            self.ports.borrow_mut().keep(protocol, port, |_| false);
            return;
        }
        // One that is bound and does not listen yet, or shares its port, is seen in the tree alone.
        let own = tree::sockets();
        self.ports.borrow_mut().keep(protocol, port, |binding| own.contains(&binding.socket));
    }
}

/// Binds a socket of the run to a port of the run.
pub(crate) fn bind(
    hands: &Hands<'_>,
    space: &PortSpace,
    socket: BorrowedFd<'_>,
    family: Family,
    address: &RawAddress,
    allowed: &Allowed<LocalPort>,
) -> Result<Done, Failure> {
    let LocalPort { protocol, port } = *allowed.get();
    let Some(ip) = ip_in(family, address) else {
        // No address of this family: as the kernel will say, and would not bind a port of its own choice either.
        return Ok(bind_at(socket, address, 0).map(|()| Done::Value(0))?);
    };
    let place = place_of(socket, ip)?;
    if port == 0 {
        bind_at(socket, address, 0)?;
        // A TCP socket serves nobody until it listens.
        if protocol == Protocol::Udp
            && let Some(bound) = bound_port(socket)
        {
            space.add(protocol, bound, socket, place, bound, true)?;
        }
        return Ok(Done::Value(0));
    }
    let real = choose(space, socket, family, place, address, allowed)?;
    space.add(protocol, port, socket, place, real, false)?;
    space.tell(hands);
    Ok(Done::Value(0))
}

/// Binds the socket to some port of the machine, and says which.
fn choose(
    space: &PortSpace,
    socket: BorrowedFd<'_>,
    family: Family,
    place: Place,
    address: &RawAddress,
    allowed: &Allowed<LocalPort>,
) -> Result<u16, Errno> {
    let LocalPort { protocol, port } = *allowed.get();
    if !space.ports.borrow().bound(protocol, port).is_empty() {
        space.forget_closed(protocol, port);
        let bound = space.ports.borrow().bound(protocol, port).to_vec();
        for other in &bound {
            match bind_at(socket, address, other.real) {
                Ok(()) => return Ok(other.real),
                // Of those that are elsewhere, somebody outside may have the port here.
                Err(Errno::ADDRINUSE)
                    if bound.iter().any(|one| one.real == other.real && one.place.overlaps(place)) =>
                {
                    return Err(Errno::ADDRINUSE);
                }
                Err(Errno::ADDRINUSE) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    let published = space.published.iter().find(|one| one.protocol == protocol && one.virtual_port == port);
    let wanted = published.map_or(port, |published| published.host_port);
    // A service outside may come later, and ask for its port to be shared by who has it.
    if published.is_none() && may_share(socket, protocol) {
        return elsewhere(socket, family, protocol, address);
    }
    if is_free(socket, family, protocol, address, wanted)? {
        match bind_at(socket, address, wanted) {
            Err(Errno::ADDRINUSE | Errno::ACCESS) if published.is_none() => {}
            result => return result.map(|()| wanted),
        }
    } else if published.is_some() {
        return Err(Errno::ADDRINUSE);
    }
    elsewhere(socket, family, protocol, address)
}

/// Binds to a port of the machine that nobody has or would ask for, and says which.
fn elsewhere(
    socket: BorrowedFd<'_>,
    family: Family,
    protocol: Protocol,
    address: &RawAddress,
) -> Result<u16, Errno> {
    for _ in 0..MOST_TRIES {
        let free = any_free(socket, family, protocol, address)?;
        match bind_at(socket, address, free) {
            Err(Errno::ADDRINUSE) => {}
            result => return result.map(|()| free),
        }
    }
    Err(Errno::ADDRINUSE)
}

/// Whether nobody has a port, as a socket finds out that shares it with nobody: the program's own could be made to
/// share it with a service outside, by SO_REUSEPORT, and take a part of its connections.
fn is_free(
    socket: BorrowedFd<'_>,
    family: Family,
    protocol: Protocol,
    address: &RawAddress,
    port: u16,
) -> Result<bool, Errno> {
    let probe = probe(socket, family, protocol)?;
    match bind_at(probe.as_fd(), address, port) {
        Err(Errno::ADDRINUSE | Errno::ACCESS) => Ok(false),
        // Whatever else is wrong the program's own socket will meet.
        _ => Ok(true),
    }
}

/// Whether no socket is bound to this port there, listening or not.
fn nobody_has(protocol: Protocol, place: Place, port: u16) -> Result<bool, Errno> {
    let family = if place.address.is_ipv4() { Family::V4 } else { Family::V6 };
    let probe = unbound(family, protocol, || Ok(!place.dual))?;
    match rustix::net::bind(&probe, &SocketAddr::new(place.address, port)) {
        Ok(()) => Ok(true),
        Err(Errno::ADDRINUSE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A port that nobody has.
fn any_free(
    socket: BorrowedFd<'_>,
    family: Family,
    protocol: Protocol,
    address: &RawAddress,
) -> Result<u16, Errno> {
    let probe = probe(socket, family, protocol)?;
    bind_at(probe.as_fd(), address, 0)?;
    bound_port(probe.as_fd()).ok_or(Errno::ADDRINUSE)
}

/// A socket as the program's own, but that it shares its port with nobody.
fn probe(socket: BorrowedFd<'_>, family: Family, protocol: Protocol) -> Result<OwnedFd, Errno> {
    let probe = unbound(family, protocol, || sockopt::ipv6_v6only(socket))?;
    // For TCP this means: past connections of before are not in the way. A listener always is.
    if protocol == Protocol::Tcp && sockopt::socket_reuseaddr(socket)? {
        sockopt::set_socket_reuseaddr(&probe, true)?;
    }
    Ok(probe)
}

fn unbound(
    family: Family,
    protocol: Protocol,
    v6only: impl FnOnce() -> Result<bool, Errno>,
) -> Result<OwnedFd, Errno> {
    let domain = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let kind = if protocol == Protocol::Tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let socket = rustix::net::socket_with(domain, kind, SocketFlags::CLOEXEC, None)?;
    if family == Family::V6 {
        sockopt::set_ipv6_v6only(&socket, v6only()?)?;
    }
    Ok(socket)
}

/// Binds to the address that was read, with this port.
fn bind_at(socket: BorrowedFd<'_>, address: &RawAddress, port: u16) -> Result<(), Errno> {
    let mut bytes = address.bytes().to_vec();
    if let Some(at) = bytes.get_mut(2..4) {
        at.copy_from_slice(&port.to_be_bytes());
    }
    sandlock_sys::socket::bind(socket, &bytes)
}

/// The address in a `struct sockaddr`, as `bind` on a socket of this family reads it.
fn ip_in(family: Family, address: &RawAddress) -> Option<IpAddr> {
    let bytes = address.bytes();
    match (family, address.family()?) {
        (Family::V4, AF_INET | AF_UNSPEC) => {
            let octets: [u8; 4] = bytes.get(4..8).filter(|_| bytes.len() >= 16)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        }
        (Family::V6, AF_INET6) => {
            let octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

fn place_of(socket: BorrowedFd<'_>, ip: IpAddr) -> Result<Place, Errno> {
    let dual = matches!(ip, IpAddr::V6(v6) if v6.is_unspecified()) && !sockopt::ipv6_v6only(socket)?;
    Ok(Place { address: ip.to_canonical(), dual })
}

fn bound_port(socket: BorrowedFd<'_>) -> Option<u16> {
    let address = SocketAddr::try_from(rustix::net::getsockname(socket).ok()?).ok()?;
    Some(address.port()).filter(|port| *port != 0)
}

/// The inode of the socket that takes what comes to an address: a listener, or a datagram socket.
pub(super) fn listener_at(
    diag: Option<&SocketDiag>,
    protocol: Protocol,
    address: IpAddr,
    port: u16,
) -> Option<u64> {
    match diag {
        Some(diag) => diag.socket_at(protocol, address, port),
        None => sockets_in_proc(protocol, port)
            .into_iter()
            .find_map(|(place, inode)| place.covers(address).then_some(inode)),
    }
}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SWEEP_AT: usize = 1024;
const MOST_TRIES: usize = 16;
