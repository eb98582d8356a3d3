//! The threads that take questions: one waits for the next while others decide.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::RecvFlags;
use sandlock_supervisor::decision::Asking;
use sandlock_supervisor::message::Link;

use super::answer::{Answer, Unanswered};
use super::{Decisions, consult};
use crate::RunRules;

/// The launcher's side of the questions. Dropped, nobody is asked any more.
pub(crate) struct Listening(Arc<Shared>);

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listening").field(&self.0.decisions).finish()
    }
}

struct Shared {
    link: Arc<Link>,
    decisions: Decisions,
    rules: RunRules,
    threads: AtomicUsize,
    /// Threads that wait for the next question.
    idle: AtomicUsize,
    /// Questions that somebody may still be thinking about.
    open: Mutex<HashMap<u64, Unanswered>>,
}

impl Listening {
    /// # Errors
    ///
    /// When there can be no thread.
    pub(crate) fn start(link: Link, decisions: Decisions, rules: RunRules) -> io::Result<Listening> {
        let shared = Arc::new(Shared {
            link: Arc::new(link),
            decisions,
            rules,
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            open: Mutex::default(),
        });
        Shared::spawn(&shared)?;
        Ok(Listening(shared))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Threads that wait wake up and end; one that decides finds nobody to tell.
        let _ = rustix::net::shutdown(self.0.link.as_fd(), rustix::net::Shutdown::Both);
        self.0.open().drain().for_each(|(_, answer)| answer.withdraw());
    }
}

impl Shared {
    fn spawn(shared: &Arc<Shared>) -> io::Result<()> {
        let this = Arc::clone(shared);
        shared.threads.fetch_add(1, Ordering::Relaxed);
        shared.idle.fetch_add(1, Ordering::Relaxed);
        let spawned = std::thread::Builder::new().name("decisions".to_owned()).spawn(move || {
            Self::listen(&this);
            this.threads.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            shared.threads.fetch_sub(1, Ordering::Relaxed);
            shared.idle.fetch_sub(1, Ordering::Relaxed);
        }
        spawned.map(drop)
    }

    fn listen(shared: &Arc<Shared>) {
        let mut bytes = vec![0; LONGEST];
        loop {
            let asking = match rustix::net::recv(shared.link.as_fd(), &mut bytes[..], RecvFlags::empty()) {
                Ok((_, 0)) => return,
                Ok((read, _)) => serde_json::from_slice(&bytes[..read]),
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
            };
            // One that is too long is not whole, and nobody is asked.
            let Ok(asking) = asking else {
                continue;
            };
            match asking {
                Asking::Withdrawn(id) => {
                    if let Some(answer) = shared.open().remove(&id) {
                        answer.withdraw();
                    }
                }
                Asking::Caller { id, caller } => {
                    if let Some(answer) = shared.open().get(&id) {
                        answer.describe(caller);
                    }
                }
                Asking::Question { id, question } => {
                    let answer = Answer::to_supervisor(Arc::clone(&shared.link), id);
                    // Somebody has to listen while this thread decides. The last thread decides nothing itself.
                    let last = shared.idle.fetch_sub(1, Ordering::Relaxed) == 1;
                    let alone = last
                        && (shared.threads.load(Ordering::Relaxed) > MOST_DECIDING
                            || Self::spawn(shared).is_err());
                    if alone {
                        answer.deny();
                    } else {
                        shared.remember(id, &answer);
                        consult(&*shared.decisions.decide, &shared.rules, &question, answer);
                    }
                    shared.idle.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn remember(&self, id: u64, answer: &Answer) {
        let mut open = self.open();
        if open.len() >= MOST_REMEMBERED {
            open.retain(|_, answer| answer.is_there());
        }
        open.insert(id, answer.unanswered());
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Unanswered>> {
        // What is in it is whole at any moment.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many questions as the supervisor has open at once; more threads than that decide about what it gave up.
const MOST_DECIDING: usize = 64;
/// More than a question can be: the arguments of an execution are cut.
const LONGEST: usize = 128 * 1024;
const MOST_REMEMBERED: usize = 256;
