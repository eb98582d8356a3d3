//! Why a run cannot be named, found or told something.

use std::io;
use std::path::PathBuf;

use sandlock_policy::escape_terminal;

/// Why a run cannot be named, found or told something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The directory of the runs cannot be had.
    #[error("the directory of runs {} cannot be used", escape_terminal(&.path.to_string_lossy()))]
    Directory {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name that a run cannot have.
    #[error(
        "{name:?} is no name for a run: it is 1 to 64 letters, digits, '-', '_', '.', and does not begin with '.'"
    )]
    BadName {
        /// As it was given.
        name: String,
    },
    /// Another run has the name.
    #[error("a run named {name} is there already")]
    Taken {
        /// The name.
        name: String,
    },
    /// Nobody has the name.
    #[error("there is no run named {name}")]
    NoSuchRun {
        /// The name.
        name: String,
    },
    /// The record or the socket of the run cannot be made or read.
    #[error("the run {name} cannot be reached")]
    Unreachable {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The run does not answer.
    #[error("the run {name} does not answer")]
    NoAnswer {
        /// The name.
        name: String,
    },
    /// The process that launched the run was stopped, and is not this program's to continue.
    #[error("the run {name} cannot answer: process {pid}, which launched it, is stopped")]
    Stopped {
        /// The name.
        name: String,
        /// The process.
        pid: i32,
    },
    /// The run answered with an error.
    #[error("the run {name} refuses: {}", escape_terminal(.why))]
    Refused {
        /// The name.
        name: String,
        /// What it said.
        why: String,
    },
}
