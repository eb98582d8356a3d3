//! What all connections of a run share.

use std::sync::{Arc, Mutex, PoisonError};

use sandlock_policy::{Denied, HttpHost, HttpRules};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use crate::auth::Auths;
use crate::certificates::Certificates;
use crate::limits::{Patience, TOLD_AT_ONCE, TOLD_EVERY};
use crate::upstream::Upstreams;
use crate::{Happened, NamesOf};

pub(crate) struct Run {
    pub(crate) rules: Arc<HttpRules>,
    pub(crate) names: Arc<dyn NamesOf>,
    pub(crate) upstreams: Upstreams,
    pub(crate) auths: Auths,
    /// Places for requests.
    pub(crate) requests: Arc<Semaphore>,
    /// What TLS is served with, if it is looked into.
    pub(crate) certificates: Option<Arc<Certificates>>,
    /// Hosts whose TLS is not.
    pub(crate) passthrough: Vec<HttpHost>,
    pub(crate) patience: Patience,
    pub(crate) outbox: Box<dyn Fn(Happened) + Send + Sync>,
    pub(crate) next_told: Mutex<Instant>,
}

impl Run {
    /// Tells of a refusal. Programs cannot make things be told faster than they are read: the answer waits for it.
    pub(crate) async fn tell_refused(&self, denied: Denied) {
        self.tell(Happened::Refused(denied)).await;
    }

    pub(crate) async fn tell(&self, happened: Happened) {
        let now = Instant::now();
        let turn = {
            let mut next = self.next_told.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(now.checked_sub(TOLD_EVERY * TOLD_AT_ONCE).unwrap_or(now));
            *next = turn + TOLD_EVERY;
            turn
        };
        if turn > now {
            sleep_until(turn).await;
        }
        (self.outbox)(happened);
    }
}
