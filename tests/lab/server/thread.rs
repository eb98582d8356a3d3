//! The thread of a server: pumps what has come, until the server is dropped.
//!
//! Asking what was seen pumps as well, so the answer holds all that had arrived when it was asked, however busy the
//! machine is.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::raw;

/// Something that takes in what has come.
pub(crate) trait Pump: Send + 'static {
    /// What to wait for.
    fn sources(&self) -> Vec<RawFd>;
    /// Takes in what is there, without waiting.
    fn pump(&mut self);
}

/// A [`Pump`] and its thread.
pub(crate) struct Served<P: Pump> {
    pump: Arc<Mutex<P>>,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl<P: Pump> Served<P> {
    pub(crate) fn start(pump: P) -> Self {
        let pump = Arc::new(Mutex::new(pump));
        let (stopped, stop) = std::io::pipe().unwrap();
        let thread = std::thread::spawn({
            let pump = Arc::clone(&pump);
            move || serve(&pump, &stopped)
        });
        Served { pump, stop: Some(stop), thread: Some(thread) }
    }

    /// Takes in what is there, and looks at it.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&P) -> T) -> T {
        let mut pump = self.pump.lock().unwrap();
        pump.pump();
        at(&pump)
    }
}

fn serve<P: Pump>(pump: &Mutex<P>, stopped: &PipeReader) {
    loop {
        let mut sources = pump.lock().unwrap().sources();
        sources.push(stopped.as_raw_fd());
        // Bounded, since asking what was seen may have changed what there is to wait for.
        raw::poll_readable(&sources, Duration::from_millis(100));
        if raw::poll_readable(&[stopped.as_raw_fd()], Duration::ZERO) {
            return;
        }
        pump.lock().unwrap().pump();
    }
}

impl<P: Pump> Drop for Served<P> {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
