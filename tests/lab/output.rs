//! What a run printed, and how programs of the lab print.

use std::fmt::{self, Display};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::Errno;

/// How a run ended and what it printed.
pub struct Output {
    /// The command line, for messages.
    pub(crate) shown: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Output {
    /// The exit code; 128 and the signal for one that was killed.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// The value that the program reported under this key.
    ///
    /// # Panics
    ///
    /// When it reported none.
    pub fn value(&self, key: &str) -> &str {
        self.find(key).unwrap_or_else(|| panic!("no `{key}=` was reported\n{self}"))
    }

    /// The value that the program reported under this key, if any.
    pub fn find(&self, key: &str) -> Option<&str> {
        self.stdout.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    /// Demands that the program reported this.
    ///
    /// # Panics
    ///
    /// When it did not.
    #[track_caller]
    pub fn expect(&self, key: &str, value: impl Display) -> &Self {
        let (found, value) = (self.value(key), value.to_string());
        assert!(found == value, "`{key}={found}` was reported, expected `{key}={value}`\n{self}");
        self
    }

    /// Demands this exit code.
    ///
    /// # Panics
    ///
    /// When it is another.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert!(self.code() == code, "exit code {}, expected {code}\n{self}", self.code());
        self
    }

    /// Demands that standard error contains this.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[track_caller]
    pub fn expect_said(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "standard error does not say {text:?}\n{self}");
        self
    }
}

impl Display for Output {
    /// The transcript.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ {}\n[{}]\n{}{}", self.shown, self.status, self.stdout, self.stderr)
    }
}

/// In a program: prints `key=value`.
pub fn report(key: impl Display, value: impl Display) {
    // One write, so that lines of several threads and processes stay whole.
    let line = format!("{key}={value}\n");
    let mut out = std::io::stdout();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).unwrap();
}

/// In a program: what a call answered; `ok` for success without a value of interest, else the errno's name.
pub fn shown<T>(result: Result<T, Errno>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(errno) => errno.to_string(),
    }
}
