//! Which connections the supervisor led to a service, and what it said of them. Every process of the machine can connect to
//! its port; only what was announced is served.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

/// What was announced and did not come, and what came and was not announced.
#[derive(Debug)]
pub(crate) struct Announcements<T>(Mutex<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    announced: VecDeque<(SocketAddr, T, Instant)>,
    waiting: VecDeque<(SocketAddr, oneshot::Sender<T>)>,
}

impl<T> Default for Announcements<T> {
    fn default() -> Self {
        Announcements(Mutex::new(Inner { announced: VecDeque::new(), waiting: VecDeque::new() }))
    }
}

impl<T> Announcements<T> {
    /// A connection from this address is of the run; this is what is to be known of it.
    pub(crate) fn announce(&self, from: SocketAddr, mut what: T, now: Instant) {
        let from = canonical(from);
        let mut inner = self.lock();
        inner.forget(now);
        if let Some(index) = inner.waiting.iter().position(|(waiting, _)| *waiting == from)
            && let Some((_, waiting)) = inner.waiting.remove(index)
        {
            match waiting.send(what) {
                Ok(()) => return,
                Err(back) => what = back,
            }
        }
        // A later one of the same address is of a later connection: the earlier never came.
        inner.announced.retain(|(announced, ..)| *announced != from);
        if inner.announced.len() == MOST_ANNOUNCED {
            inner.announced.pop_front();
        }
        inner.announced.push_back((from, what, now));
    }

    /// What was said of a connection from this address, if it was announced or is within a while. An announcement is for
    /// one connection.
    pub(crate) async fn expect(&self, from: SocketAddr, patience: Duration) -> Option<T> {
        let from = canonical(from);
        let waiting = {
            let mut inner = self.lock();
            inner.forget(Instant::now());
            if let Some(index) = inner.announced.iter().position(|(announced, ..)| *announced == from) {
                return inner.announced.remove(index).map(|(_, what, _)| what);
            }
            let (sender, receiver) = oneshot::channel();
            // Others of the machine can fill it; what is announced is so within milliseconds.
            if inner.waiting.len() == MOST_WAITING {
                inner.waiting.pop_front();
            }
            inner.waiting.push_back((from, sender));
            receiver
        };
        match timeout(patience, waiting).await {
            Ok(Ok(what)) => Some(what),
            Ok(Err(_)) => None,
            Err(_) => {
                self.lock().waiting.retain(|(_, waiting)| !waiting.is_closed());
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    fn forget(&mut self, now: Instant) {
        let expired = |at: &Instant| now.saturating_duration_since(*at) >= PATIENCE;
        while self.announced.front().is_some_and(|(.., at)| expired(at)) {
            self.announced.pop_front();
        }
    }
}

/// How long an announcement and its connection wait for each other.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How many connections wait for their announcement at once; the one that waits longest makes room.
pub(crate) const MOST_WAITING: usize = 256;
/// How many announcements wait for their connection at once; the oldest makes room.
pub(crate) const MOST_ANNOUNCED: usize = 1024;

/// The supervisor knows a socket as it is, the listener as it comes.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn expect(announcements: &Announcements<SocketAddr>, port: u16) -> Option<SocketAddr> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(announcements.expect(at(port), Duration::from_millis(50)))
    }

    #[test]
    fn an_announcement_is_for_one_connection() {
        let announcements = Announcements::default();
        announcements.announce("[::ffff:127.0.0.1]:1".parse().unwrap(), at(80), Instant::now());
        assert_eq!(expect(&announcements, 2), None);
        assert_eq!(expect(&announcements, 1), Some(at(80)));
        assert_eq!(expect(&announcements, 1), None);
        assert!(announcements.lock().waiting.is_empty());
    }

    #[test]
    fn an_announcement_that_comes_late_is_for_the_one_that_waits() {
        let announcements = Announcements::default();
        std::thread::scope(|scope| {
            let expected = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(announcements.expect(at(1), PATIENCE))
            });
            while announcements.lock().waiting.is_empty() {
                std::thread::yield_now();
            }
            announcements.announce(at(1), at(80), Instant::now());
            assert_eq!(expected.join().unwrap(), Some(at(80)));
        });
        assert!(announcements.lock().announced.is_empty());
    }

    #[test]
    fn a_later_announcement_takes_the_place_of_an_earlier_one() {
        let announcements = Announcements::default();
        announcements.announce(at(1), at(80), Instant::now());
        announcements.announce(at(1), at(81), Instant::now());
        assert_eq!(expect(&announcements, 1), Some(at(81)));
        assert_eq!(expect(&announcements, 1), None);
    }

    #[test]
    fn what_is_announced_is_bounded_and_forgotten() {
        let announcements = Announcements::default();
        let now = Instant::now();
        for port in 0..5000 {
            announcements.announce(at(port), at(80), now);
        }
        assert_eq!(announcements.lock().announced.len(), MOST_ANNOUNCED);
        announcements.announce(at(1), at(80), now + PATIENCE);
        assert_eq!(announcements.lock().announced.len(), 1);
    }
}
