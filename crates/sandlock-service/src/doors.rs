//! Who is let in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::announcements::{Announcements, MOST_WAITING, PATIENCE};

/// The doors of a service: connections come in that were announced, each with a `T`, and only so many at once. Whoever was
/// not announced does not take the places of those who were.
#[derive(Debug)]
pub struct Doors<T> {
    announcements: Arc<Announcements<T>>,
    waiting: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// A connection of somebody.
#[derive(Debug)]
pub struct Newcomer<T> {
    stream: TcpStream,
    from: SocketAddr,
    doors: Doors<T>,
    waiting: OwnedSemaphorePermit,
}

/// One of the places inside, held by a connection that was let in.
#[derive(Debug)]
pub struct Place(#[allow(dead_code)] OwnedSemaphorePermit);

impl<T> Doors<T> {
    /// Doors with so many places behind them.
    #[must_use]
    pub fn new(places: usize) -> Doors<T> {
        Doors {
            announcements: Arc::default(),
            // The announcements hold fewer, and let go of the one that waits longest: it ends, and makes room here.
            waiting: Arc::new(Semaphore::new(MOST_WAITING * 2)),
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// A connection from this address is of the run.
    pub fn announce(&self, from: SocketAddr, what: T) {
        self.announcements.announce(from, what, Instant::now());
    }

    /// Has `runtime` wait at a listener.
    ///
    /// # Errors
    /// The kernel refuses to wait for it.
    pub fn open(runtime: &Runtime, listener: std::net::TcpListener) -> io::Result<TcpListener> {
        let _context = runtime.enter();
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    /// The next connection, of whomever.
    pub async fn next(&self, listener: &TcpListener) -> Newcomer<T> {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    if let Ok(waiting) = Arc::clone(&self.waiting).try_acquire_owned() {
                        return Newcomer { stream, from, doors: self.clone(), waiting };
                    }
                }
                Err(_) => sleep(NO_ROOM).await,
            }
        }
    }
}

impl<T> Newcomer<T> {
    /// Waits until it is announced, for a while; `None` if it is not, or if there is no place.
    pub async fn admitted(self) -> Option<(TcpStream, T, Place)> {
        let Newcomer { stream, from, doors, waiting } = self;
        let what = doors.announcements.expect(from, PATIENCE).await?;
        drop(waiting);
        let place = doors.places.try_acquire_owned().ok()?;
        Some((stream, what, Place(place)))
    }
}

impl<T> Clone for Doors<T> {
    fn clone(&self) -> Self {
        Doors {
            announcements: Arc::clone(&self.announcements),
            waiting: Arc::clone(&self.waiting),
            places: Arc::clone(&self.places),
        }
    }
}

/// How long nothing is accepted when the machine has no room.
const NO_ROOM: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn who_was_announced_is_let_in_while_there_is_a_place() {
        let runtime = runtime();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Doors::<u8>::open(&runtime, listener).unwrap();
        let doors = Doors::new(1);
        let come = |what| {
            let client = std::net::TcpStream::connect(address).unwrap();
            doors.announce(client.local_addr().unwrap(), what);
            let admitted = runtime.block_on(async { doors.next(&listener).await.admitted().await });
            admitted.map(|(_, what, place)| (what, place))
        };
        let first = come(1);
        assert_eq!(first.as_ref().map(|(what, _)| *what), Some(1));
        assert!(come(2).is_none());
        drop(first);
        assert_eq!(come(3).map(|(what, _)| what), Some(3));
    }
}
