//! Which connections the supervisor led to the resolver. Every process of the machine can connect to its port; only what
//! was announced is served.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long an announcement and its connection wait for each other.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// More than the connections there can be: the rest was closed before it was taken.
const MOST: usize = 1024;

/// What was announced and did not come, and what came and was not announced.
#[derive(Debug, Default)]
pub(crate) struct Announcements(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    announced: VecDeque<(SocketAddr, Instant)>,
    waiting: HashMap<SocketAddr, oneshot::Sender<()>>,
}

impl Announcements {
    /// A connection from this address is of the run.
    pub(crate) fn announce(&self, client: SocketAddr, now: Instant) {
        let mut inner = self.lock();
        inner.forget(now);
        if inner.waiting.remove(&client).is_some_and(|waiting| waiting.send(()).is_ok()) {
            return;
        }
        if inner.announced.len() == MOST {
            inner.announced.pop_front();
        }
        inner.announced.push_back((client, now));
    }

    /// Whether a connection from this address was announced, or is within a while. An announcement is for one connection.
    pub(crate) async fn expect(&self, client: SocketAddr, patience: Duration) -> bool {
        let waiting = {
            let mut inner = self.lock();
            inner.forget(Instant::now());
            if let Some(index) = inner.announced.iter().position(|(announced, _)| *announced == client) {
                inner.announced.remove(index);
                return true;
            }
            let (sender, receiver) = oneshot::channel();
            inner.waiting.insert(client, sender);
            receiver
        };
        let announced = matches!(timeout(patience, waiting).await, Ok(Ok(())));
        if !announced {
            self.lock().waiting.remove(&client);
        }
        announced
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, now: Instant) {
        let expired = |at: &Instant| now.saturating_duration_since(*at) >= PATIENCE;
        while self.announced.front().is_some_and(|(_, at)| expired(at)) {
            self.announced.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn expect(announcements: &Announcements, port: u16) -> bool {
        let runtime = crate::runtime::runtime().unwrap();
        runtime.block_on(announcements.expect(client(port), Duration::from_millis(50)))
    }

    #[test]
    fn an_announcement_is_for_one_connection() {
        let announcements = Announcements::default();
        announcements.announce(client(1), Instant::now());
        assert!(!expect(&announcements, 2));
        assert!(expect(&announcements, 1));
        assert!(!expect(&announcements, 1));
        assert!(announcements.lock().waiting.is_empty());
    }

    #[test]
    fn an_announcement_that_comes_late_is_for_the_one_that_waits() {
        let announcements = Announcements::default();
        std::thread::scope(|scope| {
            let expected = scope.spawn(|| {
                let runtime = crate::runtime::runtime().unwrap();
                runtime.block_on(announcements.expect(client(1), PATIENCE))
            });
            while announcements.lock().waiting.is_empty() {
                std::thread::yield_now();
            }
            announcements.announce(client(1), Instant::now());
            assert!(expected.join().unwrap());
        });
        assert!(announcements.lock().announced.is_empty());
    }

    #[test]
    fn what_is_announced_is_bounded_and_forgotten() {
        let announcements = Announcements::default();
        let now = Instant::now();
        for port in 0..5000 {
            announcements.announce(client(port), now);
        }
        assert_eq!(announcements.lock().announced.len(), MOST);
        announcements.announce(client(1), now + PATIENCE);
        assert_eq!(announcements.lock().announced.len(), 1);
    }
}
