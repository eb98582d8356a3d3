//! Keeps a name of the rules true: asks again when its answer ends, and keeps the last good one when that fails.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sandlock_policy::Denied;
use tokio::time::sleep_until;

use crate::Happening;
use crate::run::Run;

const BACK_OFF_LEAST: Duration = Duration::from_secs(1);
const BACK_OFF_MOST: Duration = Duration::from_secs(60);

/// One name that is kept true.
pub(crate) struct Refresh {
    name: String,
    back_off: Duration,
    failing: bool,
    /// Refused answers that were told and did not change.
    refused: HashSet<Denied>,
}

impl Refresh {
    /// `failing` when that is known already, and which answers were refused.
    pub(crate) fn new(name: String, failing: bool, refused: HashSet<Denied>) -> Refresh {
        Refresh { name, back_off: BACK_OFF_LEAST, failing, refused }
    }

    pub(crate) async fn keep(mut self, run: Rc<Run>) {
        let mut due = match self.failing {
            true => self.back_off(),
            false => run.book.borrow().fresh_until(&self.name).unwrap_or_else(Instant::now),
        };
        loop {
            sleep_until(due.into()).await;
            let (looked, refused) = {
                let _permit = run.refreshing.acquire().await;
                run.look_up(&self.name).await
            };
            self.tell_refused(refused, &run);
            due = match looked {
                Ok(()) => {
                    (self.failing, self.back_off) = (false, BACK_OFF_LEAST);
                    run.book
                        .borrow()
                        .fresh_until(&self.name)
                        .unwrap_or_else(|| Instant::now() + BACK_OFF_LEAST)
                }
                Err(why) => {
                    if !self.failing {
                        run.tell(Happening::NotRefreshed { name: self.name.clone(), why: why.to_string() });
                    }
                    self.failing = true;
                    self.back_off()
                }
            };
        }
    }

    /// When to try again.
    fn back_off(&mut self) -> Instant {
        let due = Instant::now() + self.back_off;
        self.back_off = (self.back_off * 2).min(BACK_OFF_MOST);
        due
    }

    fn tell_refused(&mut self, refused: Vec<Denied>, run: &Run) {
        let refused: HashSet<_> = refused.into_iter().collect();
        for denied in refused.difference(&self.refused) {
            run.tell(Happening::Refused(denied.clone()));
        }
        self.refused = refused;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_tried_again_ever_later_but_every_minute() {
        let mut refresh = Refresh::new("a".into(), true, HashSet::new());
        let mut seconds = || {
            let now = Instant::now();
            (refresh.back_off() - now).as_secs_f64().round() as u64
        };
        let tried: Vec<_> = std::iter::repeat_with(&mut seconds).take(8).collect();
        assert_eq!(tried, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
