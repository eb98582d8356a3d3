//! The names of a run: the service that keeps them true, and what it has to tell the supervisor and the caller.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, SystemTime};

use rustix::event::{EventfdFlags, eventfd};
use sandlock_names::{Consult, Happening, Outbox, Resolution, Service, Upstream};
use sandlock_policy::{NameRules, NameState, NetworkRules, Resolved};
use sandlock_supervisor::message::{Link, Order};
use sandlock_sys::Errno;

use crate::{Options, PlanError};

/// What a plan knows of the names in its rules.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) resolution: Resolution,
    pub(crate) how: NameRules,
    pub(crate) upstream: Upstream,
    /// Where programs' questions arrive, if they need a resolver.
    pub(crate) listener: Option<TcpListener>,
}

impl Planned {
    /// Asks for the names, and makes the socket where programs will ask. `None` when no rule has a name.
    ///
    /// # Errors
    ///
    /// The first name that does not resolve, or when no socket can be had.
    pub(crate) fn resolve(options: &Options, rules: &NetworkRules) -> Result<Option<Planned>, PlanError> {
        let how = options.policy.names;
        if !rules.have_names() && !options.may_change() {
            return Ok(None);
        }
        let upstream = options.resolver.map_or_else(Upstream::system, Upstream::server);
        let resolution = sandlock_names::resolve(rules, &how, &upstream, RESOLVE_LIMIT)?;
        // What rules do not name now they may name later.
        let listener = match rules.need_a_resolver() || options.may_change() {
            true => Some(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(PlanError::Listener)?),
            false => None,
        };
        Ok(Some(Planned { resolution, how, upstream, listener }))
    }

    /// Until when the answer for a name is fresh.
    pub(crate) fn fresh_until(&self, name: &str) -> Option<SystemTime> {
        self.resolution.until.get(name).copied().filter(|_| !self.how.pinned)
    }
}

/// The names while the command runs.
#[derive(Debug)]
pub(crate) struct Names {
    /// `None` in runs without names: nothing changes.
    service: Option<Service>,
    known: Resolved,
    news: Receiver<News>,
    bell: OwnedFd,
    /// What the supervisor has had no room for.
    orders: VecDeque<Order>,
}

/// What the service tells.
#[derive(Debug)]
enum News {
    Name { serial: u64, state: NameState },
    Happened(Happening),
}

impl Names {
    /// Starts the service, if some rule has a name. From here on this process has another thread.
    ///
    /// # Errors
    ///
    /// When there can be no thread or no descriptor.
    pub(crate) fn start(
        rules: &NetworkRules,
        planned: Option<Planned>,
        consult: Option<Box<dyn Consult>>,
    ) -> io::Result<Names> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (sender, news) = mpsc::channel();
        let mut names = Names { service: None, known: Resolved::new(), news, bell, orders: VecDeque::new() };
        let Some(Planned { resolution, how, upstream, listener }) = planned else {
            return Ok(names);
        };
        names.known = resolution.names.clone();
        let mut outbox = Post { sender, bell: names.bell.try_clone()? };
        // The service takes what had happened before for told.
        resolution.happened.iter().cloned().for_each(|happening| outbox.happened(happening));
        let rules = Arc::new(rules.clone());
        let outbox = Box::new(outbox);
        names.service =
            Some(Service::start_consulting(rules, how, upstream, resolution, listener, outbox, consult)?);
        Ok(names)
    }

    /// Readable when there is news.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// What the names stand for now.
    pub(crate) fn known(&self) -> &Resolved {
        &self.known
    }

    /// Whether orders wait for room.
    pub(crate) fn wants_to_send(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Takes what the service has told: names become orders, the rest is returned.
    pub(crate) fn take_news(&mut self) -> Vec<Happening> {
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
        let mut happened = Vec::new();
        for news in self.news.try_iter() {
            match news {
                News::Name { serial, state } => {
                    self.known.set(state.clone());
                    self.orders.push_back(Order::Name { serial, state: bounded(state) });
                }
                News::Happened(happening) => happened.push(happening),
            }
        }
        happened
    }

    /// Sends this after what waits already.
    pub(crate) fn send_later(&mut self, order: Order) {
        self.orders.push_back(order);
    }

    /// Sends the supervisor what it has room for, in order, without waiting. A supervisor that is gone is noticed by
    /// who listens to it.
    pub(crate) fn send_orders(&mut self, link: &Link) {
        while let Some(order) = self.orders.front() {
            if link.try_send(order) == Err(Errno::AGAIN) {
                return;
            }
            self.orders.pop_front();
        }
    }

    /// These are the rules from now on.
    pub(crate) fn set_rules(&self, rules: &NetworkRules) {
        self.service.iter().for_each(|service| service.set_rules(Arc::new(rules.clone())));
    }

    /// The supervisor goes by the order of this number.
    pub(crate) fn enforced(&self, serial: u64) {
        self.service.iter().for_each(|service| service.enforced(serial));
    }

    /// The supervisor has led a connection from this address to the resolver.
    pub(crate) fn announced(&self, client: SocketAddr) {
        self.service.iter().for_each(|service| service.announced(client));
    }

    /// Ends the service, and returns what it told last.
    pub(crate) fn end(&mut self) -> Vec<Happening> {
        self.service = None;
        self.take_news()
    }
}

/// The service's end of it.
struct Post {
    sender: Sender<News>,
    bell: OwnedFd,
}

impl Post {
    fn send(&self, news: News) {
        // A receiver that is gone means that the run is over.
        let _ = self.sender.send(news);
        ring(&self.bell);
    }
}

impl Outbox for Post {
    fn name(&mut self, serial: u64, state: &NameState) {
        self.send(News::Name { serial, state: state.clone() });
    }

    fn happened(&mut self, happening: Happening) {
        self.send(News::Happened(happening));
    }
}

pub(crate) fn ring(bell: &OwnedFd) {
    // Full means that it rings already.
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

/// A message has to fit into a socket's buffer. What is left out is what the name stood for before.
fn bounded(mut state: NameState) -> NameState {
    state.current.truncate(MOST_ADDRESSES);
    state.retiring.truncate(MOST_ADDRESSES - state.current.len());
    state
}

/// The resolver's own patience is longer; a run that cannot start should say so.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// At most 42 bytes of JSON each, in a buffer of 208 KiB (`net.core.wmem_default`) that accounts for its pages.
const MOST_ADDRESSES: usize = 2000;
