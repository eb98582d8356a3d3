//! `connect(2)`: pin, read, check, perform.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::net::sockopt::{self, Timeout};
use sandlock_policy::{Allowed, Destination, Protocol, Route, Tree};
use sandlock_sys::Errno;
use sandlock_sys::socket::connect_to_no_family;

use super::address::{Form, Meaning, RawAddress, socket_address, wanted_address};
use super::connections::{Being, Connections, Way};
use super::socket::{Family, Socket};
use super::{netlink, own_server, unix};
use crate::call::{Call, Done, Failure};
use crate::context::{Context, PATIENCE};
use crate::decision::{Hands, Standing, decide, standing};
use crate::message::Report;
use crate::waiting::{Turn, Waiting};

/// `connect(fd, address, length)`.
pub(crate) fn connect(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    let socket = cx.pin(call, call.descriptor(0))?;
    let kind = Socket::of(socket.as_fd());
    // A handle of a path is no descriptor to the kernel; whether another is a socket is asked after the address.
    if kind == Err(Errno::BADF) {
        return Err(Errno::BADF.into());
    }
    let address = RawAddress::read(call.tid, call.pointer(1), call.int(2))?;
    cx.confirm(call)?;
    match kind? {
        Socket::Internet { family, protocol } => internet(cx, call, socket, &address, family, protocol),
        Socket::Unix(kind) => unix::connect(cx, call, socket, kind, &address),
        Socket::Netlink => netlink::connect(&socket, &address),
    }
}

fn internet(
    cx: &Context<'_>,
    call: &Call,
    socket: OwnedFd,
    address: &RawAddress,
    family: Family,
    protocol: Protocol,
) -> Result<Done, Failure> {
    let meaning = match address.for_connect(family, protocol) {
        Ok(meaning) => meaning,
        // __inet_stream_connect goes by the state of the socket before it looks at an address, and inet_dgram_connect
        // binds the socket to a port.
        Err(errno) if address.family().is_some() => {
            let said = cx.briefly(true, || connect_to_no_family(socket.as_fd()));
            return match said {
                Ok(()) => Ok(Done::Value(0)),
                Err(Errno::AFNOSUPPORT | Errno::INTR) => Err(errno.into()),
                Err(other) => Err(other.into()),
            };
        }
        Err(errno) => return Err(errno.into()),
    };
    let (destination, form) = match meaning {
        Meaning::Disconnect => {
            rustix::net::connect_unspec(&socket)?;
            return Ok(Done::Value(0));
        }
        Meaning::Place(destination, form) => (destination, form),
    };
    if let Some(space) = cx.ports.as_ref().map(|ports| ports.lock())
        && let Some(server) = space.own_server(&destination)
    {
        match cx.briefly(true, || connect_to_no_family(socket.as_fd())) {
            Err(Errno::AFNOSUPPORT) => return own_server::connect(cx, &space, socket, server, form),
            // A connection to somewhere else is being made, which is waited for.
            Err(Errno::INTR) => {}
            Ok(()) => return Ok(Done::Value(0)),
            Err(other) => return Err(other.into()),
        }
    }
    let waits = || cx.confirm(call).is_ok();
    if let Some(own) = cx.own(&destination) {
        // No rule speaks of it.
        let mut hands = Hands::of_context(cx, &waits);
        hands.connections = None;
        return go(&hands, socket, form, protocol, (Tree::Run, Route::Direct(own)));
    }
    let tree = cx.tree_of(call)?;
    match standing(cx, tree, destination) {
        Standing::ByRules => {
            let route = cx.network.load().of(tree).route(destination)?;
            go(&Hands::of_context(cx, &waits), socket, form, protocol, (tree, route))
        }
        Standing::Approved(approval) => {
            let route = cx.network.load().of(tree).approved(destination, approval)?;
            go(&Hands::of_context(cx, &waits), socket, form, protocol, (tree, route))
        }
        Standing::Open(matter) => {
            // A connection that stands, or is being made, is answered by the kernel: it was asked about when it began.
            if protocol == Protocol::Tcp {
                match cx.briefly(true, || connect_to_no_family(socket.as_fd())) {
                    Err(Errno::AFNOSUPPORT | Errno::INTR) => {}
                    Ok(()) => return Ok(Done::Value(0)),
                    Err(other) => return Err(other.into()),
                }
            }
            let go_on = move |approval, hands: &Hands<'_>| {
                let route = hands.network.load().of(tree).approved(destination, approval)?;
                go(hands, socket, form, protocol, (tree, route))
            };
            decide(cx, call, matter, Box::new(go_on))
        }
    }
}

/// Connects to where the check said, by the rules of this tree.
fn go(
    hands: &Hands<'_>,
    socket: OwnedFd,
    form: Form,
    protocol: Protocol,
    (tree, route): (Tree, Route),
) -> Result<Done, Failure> {
    let (destination, mut announcement, way) = match route {
        Route::Direct(destination) => (destination, None, Some(Way::Direct(protocol))),
        Route::Resolver(resolver) => (resolver, Some(Announcement::Asking), None),
        Route::Proxy { to, original } => {
            let wanted = wanted_address(&original, form);
            (to, Some(Announcement::Redirected { wanted }), Some(Way::Led(*original.get())))
        }
    };
    if announcement.is_some() {
        match hands.briefly(true, || connect_to_no_family(socket.as_fd())) {
            Err(Errno::AFNOSUPPORT) => {}
            // A connection that is being made was announced when it was begun. Once more would be once too often: for
            // whoever has the same port next.
            Err(Errno::INTR) => announcement = None,
            Ok(()) => return Ok(Done::Value(0)),
            Err(other) => return Err(other.into()),
        }
    }
    // One that is being made is known already, by where it truly leads.
    let way = way.filter(|way| announcement.is_some() || matches!(way, Way::Direct(_)));
    let being = hands
        .connections
        .zip(way)
        .and_then(|(connections, way)| Connections::begin(connections, socket.as_fd(), tree, way));
    let connect = Connect { socket, destination, form, deadline: None, being };
    let begun = begin(hands, &connect, protocol);
    if let Some(announcement) = announcement
        && matches!(begun, Ok(()) | Err(Errno::INPROGRESS | Errno::INTR))
    {
        announce(hands, connect.socket.as_fd(), announcement);
    }
    match begun {
        Ok(()) => Ok(Done::Value(0)),
        Err(Errno::INTR) => {
            let deadline = deadline(connect.socket.as_fd())?;
            Ok(Done::Wait(Box::new(Connect { deadline, ..connect })))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Connects; EINTR when that would block for longer than a moment.
fn begin(hands: &Hands<'_>, connect: &Connect, protocol: Protocol) -> Result<(), Errno> {
    // A datagram socket connects at once, and so does what is not to block.
    if protocol != Protocol::Tcp || !blocks(connect.socket.as_fd())? {
        return connect.once();
    }
    let on_this_machine = connect.destination.get().address().is_loopback();
    hands.briefly(on_this_machine, || connect.once())
}

/// What the launcher is told of a connection that was led to it.
enum Announcement {
    /// It comes to the resolver.
    Asking,
    /// It comes to the proxy, and the caller wanted it to go there.
    Redirected { wanted: SocketAddr },
}

/// Tells by its own address which connection comes to the resolver or the proxy: the kernel has chosen one by now, if
/// the program had not. They see IPv4 where the socket's address is a mapped one.
fn announce(hands: &Hands<'_>, socket: BorrowedFd<'_>, announcement: Announcement) {
    if let Ok(own) = rustix::net::getsockname(socket)
        && let Ok(own) = SocketAddr::try_from(own)
    {
        let from = SocketAddr::new(own.ip().to_canonical(), own.port());
        hands.announce(&match announcement {
            Announcement::Asking => Report::Asking(from),
            Announcement::Redirected { wanted } => Report::Redirected { from, to: wanted },
        });
    }
}

/// A connection that is being made.
struct Connect {
    socket: OwnedFd,
    destination: Allowed<Destination>,
    form: Form,
    deadline: Option<Instant>,
    /// In runs whose rules may change.
    being: Option<Being>,
}

impl Connect {
    fn once(&self) -> Result<(), Errno> {
        rustix::net::connect(&self.socket, &socket_address(&self.destination, self.form))
    }
}

impl Waiting for Connect {
    /// The second `connect` tells how the first one ended, as it would the caller.
    fn attempt(&mut self, turn: &Turn<'_>) -> Option<Result<i64, Errno>> {
        // Once more would begin anew what was ended.
        if self.being.as_ref().is_some_and(Being::is_cut) {
            return Some(Err(Errno::CONNABORTED));
        }
        outcome(turn.interrupter.within(PATIENCE, || self.once()))
    }

    fn watch(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        Some((self.socket.as_fd(), PollFlags::OUT))
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn expired(&self) -> Result<i64, Errno> {
        // `SO_SNDTIMEO` of socket(7): "as if the socket was specified to be nonblocking".
        Err(Errno::INPROGRESS)
    }

    fn interrupted(&self) -> Option<i64> {
        None
    }
}

/// What an attempt to connect says: nothing yet, when it was interrupted.
pub(crate) fn outcome(attempt: Result<(), Errno>) -> Option<Result<i64, Errno>> {
    match attempt {
        Err(Errno::INTR) => None,
        result => Some(result.map(|()| 0)),
    }
}

/// Whether calls on this open file block. The flag is shared with the caller, so it is looked at, never set.
pub(crate) fn blocks(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(!rustix::fs::fcntl_getfl(socket)?.contains(OFlags::NONBLOCK))
}

/// When a call that blocks from now on gives up, by `SO_SNDTIMEO`.
pub(crate) fn deadline(socket: BorrowedFd<'_>) -> Result<Option<Instant>, Errno> {
    Ok(sockopt::socket_timeout(socket, Timeout::Send)?.and_then(|limit| Instant::now().checked_add(limit)))
}
