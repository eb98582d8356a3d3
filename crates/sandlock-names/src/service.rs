//! The thread that keeps names true while a run lasts, and answers its programs.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sandlock_policy::{Denied, NameRules, NetworkRules, names_to_resolve};
use sandlock_service::{Doors, Thread};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use crate::connection::{MOST_CONNECTIONS, accept};
use crate::refresh::Refresh;
use crate::run::Run;
use crate::runtime::runtime;
use crate::{Consult, Happening, Outbox, Resolution, Upstream};

/// Keeps names true while a run lasts, and answers its programs, in a thread of its own. Dropping it ends the thread.
#[derive(Debug)]
pub struct Service {
    enforced: watch::Sender<u64>,
    rules: watch::Sender<Option<Arc<NetworkRules>>>,
    doors: Doors<()>,
    _thread: Thread,
}

impl Service {
    /// Goes on from `resolution`. Programs are answered at `listener`, if there is one: only those whose connections are
    /// [announced](Service::announced).
    ///
    /// # Errors
    /// No thread can be started, or the kernel refuses to wait for the listener.
    pub fn start(
        rules: Arc<NetworkRules>,
        how: NameRules,
        upstream: Upstream,
        resolution: Resolution,
        listener: Option<std::net::TcpListener>,
        outbox: Box<dyn Outbox>,
    ) -> io::Result<Service> {
        Self::start_consulting(rules, how, upstream, resolution, listener, outbox, None)
    }

    /// As [`Service::start`], with somebody who is asked about names that no rule grants.
    ///
    /// # Errors
    /// As [`Service::start`].
    pub fn start_consulting(
        rules: Arc<NetworkRules>,
        how: NameRules,
        upstream: Upstream,
        resolution: Resolution,
        listener: Option<std::net::TcpListener>,
        outbox: Box<dyn Outbox>,
        consult: Option<Box<dyn Consult>>,
    ) -> io::Result<Service> {
        let runtime = runtime()?;
        let listener = listener.map(|listener| Doors::<()>::open(&runtime, listener)).transpose()?;
        let (enforced, when_enforced) = watch::channel(0);
        let (new_rules, mut when_rules) = watch::channel(None::<Arc<NetworkRules>>);
        let doors = Doors::new(MOST_CONNECTIONS);
        let entrance = doors.clone();
        let thread = Thread::start("names", move |stopped| {
            let run = Rc::new(Run::new(rules, how, upstream, outbox, when_enforced, consult));
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, async {
                begin(&run, resolution);
                let changing = Rc::clone(&run);
                spawn_local(async move {
                    while when_rules.changed().await.is_ok() {
                        let rules = when_rules.borrow_and_update().clone();
                        rules.into_iter().for_each(|rules| changing.set_rules(rules));
                    }
                });
                if let Some(listener) = listener {
                    spawn_local(accept(Rc::clone(&run), listener, entrance));
                }
                stopped.wait().await;
            });
            drop(tasks);
            // Threads may wait for the C library still, for as long as it likes.
            runtime.shutdown_background();
        })?;
        Ok(Service { enforced, rules: new_rules, doors, _thread: thread })
    }

    /// Everything that was told up to `serial` has effect.
    pub fn enforced(&self, serial: u64) {
        self.enforced.send_if_modified(|known| {
            let later = serial > *known;
            *known = serial.max(*known);
            later
        });
    }

    /// These are the rules from now on.
    pub fn set_rules(&self, rules: Arc<NetworkRules>) {
        self.rules.send_replace(Some(rules));
    }

    /// A connection from this address comes from a program of the run.
    pub fn announced(&self, client: SocketAddr) {
        self.doors.announce(client, ());
    }
}

/// Writes down what is known, and begins to keep it true.
fn begin(run: &Rc<Run>, resolution: Resolution) {
    let (now, clock) = (Instant::now(), SystemTime::now());
    for (name, _) in names_to_resolve(run.rules().iter()) {
        let addresses = resolution.names.addresses(&name).to_vec();
        let until = resolution.until.get(&name).and_then(|until| until.duration_since(clock).ok());
        let failing = addresses.is_empty();
        run.book.borrow_mut().add_literal(&name, addresses, until.unwrap_or(Duration::ZERO), now);
        if !run.how.pinned {
            let refused = resolution.happened.iter().filter_map(|happening| answer_for(&name, happening));
            let refresh = Refresh::new(name.clone(), failing, refused.collect::<HashSet<_>>());
            spawn_local(refresh.keep(Rc::clone(run)));
        }
    }
    let expiring = Rc::clone(run);
    spawn_local(async move { expiring.expire().await });
}

fn answer_for(name: &str, happening: &Happening) -> Option<Denied> {
    match happening {
        Happening::Refused(denied @ Denied::Answer { name: own, .. }) if own == name => Some(denied.clone()),
        _ => None,
    }
}
