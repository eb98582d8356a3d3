//! The proxy while the command runs: what it is told, and what it tells.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};

use arc_swap::ArcSwap;
use rustix::event::{EventfdFlags, eventfd};
use sandlock_policy::Resolved;
use sandlock_proxy::{Happened, NamesOf, Proxy, Settings, Tls};

use super::Planned;
use crate::Event;
use crate::names::ring;

/// The proxy of a run.
pub(crate) struct Proxied {
    /// `None` in runs without HTTP rules.
    proxy: Option<Proxy>,
    names: Arc<Names>,
    news: Receiver<Event>,
    untold: Arc<AtomicU64>,
    bell: OwnedFd,
}

impl Proxied {
    /// Starts the proxy, if there are HTTP rules. From here on this process has other threads.
    ///
    /// # Errors
    ///
    /// When there can be no thread or no descriptor.
    pub(crate) fn start(planned: Option<Planned>, names: &Resolved) -> io::Result<Proxied> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Room for all of them is made at once.
        let (sender, news) = mpsc::sync_channel(if planned.is_some() { MOST_NEWS } else { 0 });
        let names = Arc::new(Names(ArcSwap::from_pointee(names.clone())));
        let untold = Arc::new(AtomicU64::new(0));
        let post = Post { sender, untold: Arc::clone(&untold), bell: bell.try_clone()? };
        let started = planned.map(|planned| Proxy::start(settings(planned, Arc::clone(&names), post)));
        Ok(Proxied { proxy: started.transpose()?, names, news, untold, bell })
    }

    /// Readable when there is news.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// What the names stand for from now on.
    pub(crate) fn know(&self, names: &Resolved) {
        if self.proxy.is_some() {
            self.names.0.store(Arc::new(names.clone()));
        }
    }

    /// The supervisor has led a connection from this address, that was wanted to that one, to the proxy.
    pub(crate) fn announced(&self, from: SocketAddr, to: SocketAddr) {
        self.proxy.iter().for_each(|proxy| proxy.announced(from, to));
    }

    /// Takes what the proxy has told.
    pub(crate) fn take_news(&self) -> Vec<Event> {
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
        self.news.try_iter().collect()
    }

    /// Ends the proxy, and returns what it told last, and how many refusals it could not tell of.
    pub(crate) fn end(&mut self) -> (Vec<Event>, u64) {
        self.proxy = None;
        (self.take_news(), self.untold.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Proxied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxied").field("runs", &self.proxy.is_some()).finish_non_exhaustive()
    }
}

fn settings(planned: Planned, names: Arc<Names>, post: Post) -> Settings {
    let Planned { rules, http, listeners, authority, auths, .. } = planned;
    Settings {
        rules,
        listeners,
        tls: authority.map_or(Tls::ByName, Tls::Inject),
        upstream_roots: http.upstream_roots,
        upstream_proxy: http.upstream_proxy,
        passthrough: http.passthrough,
        cleartext_credentials: http.cleartext_credentials,
        auths,
        names,
        outbox: Box::new(move |happened| post.send(happened)),
    }
}

/// The proxy's end of it.
struct Post {
    sender: SyncSender<Event>,
    untold: Arc<AtomicU64>,
    bell: OwnedFd,
}

impl Post {
    /// Never waits: a program can ask for what it is refused faster than anybody reads.
    fn send(&self, happened: Happened) {
        let event = match happened {
            Happened::Refused(denied) => Event::Denied(denied),
            Happened::UpstreamFailed { host, why } => Event::UpstreamFailed { host, why },
            _ => return,
        };
        let refused = matches!(event, Event::Denied(_));
        if self.sender.try_send(event).is_err() && refused {
            self.untold.fetch_add(1, Ordering::Relaxed);
        }
        ring(&self.bell);
    }
}

/// What the run's names stand for, while they change.
struct Names(ArcSwap<Resolved>);

impl NamesOf for Names {
    fn knows(&self, name: &str) -> bool {
        self.0.load().state(name).is_some()
    }

    fn is_of(&self, name: &str, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.load().state(name).is_some_and(|state| state.addresses().any(|known| known == address))
    }
}

const MOST_NEWS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use sandlock_policy::Denied;

    #[test]
    fn names_are_what_they_stand_for_now() {
        let proxied = Proxied::start(None, &Resolved::new()).unwrap();
        let names = Names(ArcSwap::from_pointee(Resolved::new()));
        assert!(!names.knows("a.test"));
        let mut known = Resolved::new();
        known.insert("a.test", ["10.0.0.1".parse().unwrap()]);
        proxied.know(&known);
        names.0.store(Arc::new(known));
        assert!(names.knows("a.test") && !names.knows("b.test"));
        assert!(names.is_of("a.test", "::ffff:10.0.0.1".parse().unwrap()));
        assert!(!names.is_of("a.test", "10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn what_nobody_reads_is_counted() {
        let proxied = Proxied::start(None, &Resolved::new()).unwrap();
        let (sender, news) = mpsc::sync_channel(1);
        let untold = Arc::clone(&proxied.untold);
        let post = Post { sender, untold, bell: proxied.bell.try_clone().unwrap() };
        for _ in 0..3 {
            post.send(Happened::Refused(Denied::UnixAbstract(Vec::new())));
        }
        assert_eq!((news.try_iter().count(), proxied.untold.load(Ordering::Relaxed)), (1, 2));
    }
}
