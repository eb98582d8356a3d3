//! The thread that keeps names true while a run lasts, and answers its programs.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use sandlock_policy::{Denied, NameRules, NetworkRules, names_to_resolve};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::{LocalSet, spawn_local};

use crate::announcements::Announcements;
use crate::connection::accept;
use crate::refresh::Refresh;
use crate::run::Run;
use crate::runtime::runtime;
use crate::{Happening, Outbox, Resolution, Upstream};

/// Keeps names true while a run lasts, and answers its programs, in a thread of its own. Dropping it ends the thread.
#[derive(Debug)]
pub struct Service {
    enforced: watch::Sender<u64>,
    announcements: Arc<Announcements>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
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
        let runtime = runtime()?;
        let listener = listener.map(|listener| register(&runtime, listener)).transpose()?;
        let (stop, stopped) = oneshot::channel();
        let (enforced, when_enforced) = watch::channel(0);
        let announcements = Arc::new(Announcements::default());
        let announced = Arc::clone(&announcements);
        let work = move || {
            let run = Rc::new(Run::new(rules, how, upstream, outbox, when_enforced));
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, async {
                begin(&run, resolution);
                if let Some(listener) = listener {
                    spawn_local(accept(Rc::clone(&run), listener, announced));
                }
                // Ended by the sender, whether it sends or is dropped.
                let _ = stopped.await;
            });
            drop(tasks);
            // Threads may wait for the C library still, for as long as it likes.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("names".to_owned()).spawn(work)?;
        Ok(Service { enforced, announcements, stop: Some(stop), thread: Some(thread) })
    }

    /// Everything that was told up to `serial` has effect.
    pub fn enforced(&self, serial: u64) {
        self.enforced.send_if_modified(|known| {
            let later = serial > *known;
            *known = serial.max(*known);
            later
        });
    }

    /// A connection from this address comes from a program of the run.
    pub fn announced(&self, client: SocketAddr) {
        self.announcements.announce(client, Instant::now());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn register(runtime: &Runtime, listener: std::net::TcpListener) -> io::Result<TcpListener> {
    let _context = runtime.enter();
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Writes down what is known, and begins to keep it true.
fn begin(run: &Rc<Run>, resolution: Resolution) {
    let (now, clock) = (Instant::now(), SystemTime::now());
    for (name, _) in names_to_resolve(run.rules.iter()) {
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
