//! The one place that writes: data to standard output, talk to standard error.

use std::io::Write;

/// Writes data. A reader that has gone away (`| head`) is no failure.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes to standard error; there is nobody to tell when that fails.
pub(crate) fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
