//! A thread that lives as long as what stands for it.

use std::io;
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

/// A thread. Dropping this tells it to stop, and waits until it has.
#[derive(Debug)]
pub struct Thread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread waits for.
#[derive(Debug)]
pub struct Stopped(oneshot::Receiver<()>);

impl Thread {
    /// Starts `work` in a thread of this name. It is to end soon after [`Stopped::wait`] does.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(name: &str, work: impl FnOnce(Stopped) + Send + 'static) -> io::Result<Thread> {
        let (stop, stopped) = oneshot::channel();
        let thread = Builder::new().name(name.to_owned()).spawn(move || work(Stopped(stopped)))?;
        Ok(Thread { stop: Some(stop), thread: Some(thread) })
    }
}

impl Stopped {
    /// Ends when the [`Thread`] is dropped.
    pub async fn wait(self) {
        let _ = self.0.await;
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
