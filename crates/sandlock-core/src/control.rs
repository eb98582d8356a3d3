//! Runs seen from outside: each has a name, a record of what it may do, and a socket at which it is asked and told things.
//!
//! They are files of one directory of the user's, `NAME.json` and `NAME.sock`. The record is all that listing and looking
//! needs, so that these work whatever state a run is in; the socket, whose protocol `docs/control.md` describes, is there
//! while its launcher lives, and proves by that that the record is true.

mod client;
mod directory;
mod error;
mod name;
mod protocol;
mod record;
mod server;
mod visitor;

use std::path::PathBuf;

pub use client::Client;
pub use directory::Directory;
pub use error::ControlError;
pub use protocol::{Answer, Request, VERSION};
pub use record::Record;
pub(crate) use server::{Server, Wish};

/// Under which name a run can be found, and where.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Control {
    /// The user's directory for such things, which `XDG_RUNTIME_DIR` names. Without, a directory in `/tmp`.
    pub runtime_directory: Option<PathBuf>,
    /// A name that must be had; without one, that of the command, with a number behind if it is taken.
    pub name: Option<String>,
    /// The process that launches does nothing else: it may be continued if it was stopped.
    pub of_a_command: bool,
}

impl Control {
    /// As the environment of this process says.
    #[must_use]
    pub fn of_environment() -> Control {
        let runtime_directory = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Control { runtime_directory, ..Control::default() }
    }
}
