//! The one runtime of this crate's making: a single thread, and others only for `getaddrinfo`.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::system::MOST_THREADS;

pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MOST_THREADS)
        .thread_name("getaddrinfo")
        .build()
}
