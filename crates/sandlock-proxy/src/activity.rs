//! Whether somebody still does his part on a connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use crate::limits::Patience;

/// What happens on a connection of a program.
#[derive(Debug)]
pub(crate) struct Activity {
    under_way: AtomicUsize,
    times: Mutex<Times>,
}

#[derive(Debug)]
struct Times {
    /// When the last request ended.
    idle: Instant,
    /// When the head began that has not come whole.
    head: Option<Instant>,
}

impl Activity {
    pub(crate) fn begin() -> Arc<Activity> {
        let times = Times { idle: Instant::now(), head: None };
        Arc::new(Activity { under_way: AtomicUsize::new(0), times: Mutex::new(times) })
    }

    /// A request is under way, as long as the guard is kept, and takes one of the run's places.
    pub(crate) fn request(self: &Arc<Activity>, place: OwnedSemaphorePermit) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self), place)
    }

    /// Whether part of a head has come, but not all of it.
    pub(crate) fn in_head(&self, is: bool) {
        let mut times = self.times();
        match (is, times.head) {
            (true, None) => times.head = Some(Instant::now()),
            (false, Some(_)) => times.head = None,
            _ => {}
        }
    }

    /// Ends when the patience does.
    pub(crate) async fn watch(&self, patience: Patience) {
        loop {
            let now = Instant::now();
            let (idle, head) = {
                let times = self.times();
                (times.idle, times.head)
            };
            let is_idle = self.under_way.load(Ordering::Relaxed) == 0;
            let left = match head {
                Some(since) => patience.head.saturating_sub(now - since),
                None if is_idle => patience.idle.saturating_sub(now - idle),
                None => patience.head,
            };
            if left.is_zero() {
                return;
            }
            // A head may begin meanwhile.
            sleep(left.min(patience.head)).await;
        }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Activity>, #[allow(dead_code)] OwnedSemaphorePermit);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.times().idle = Instant::now();
        }
    }
}
