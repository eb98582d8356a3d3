//! Which files a run may reach.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The files that a run may reach. The default is the standard base alone.
///
/// A path that is not UTF-8 can be used but not serialised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileRules {
    /// What is readable without being named.
    pub base: Base,
    /// Readable and executable, with all below it.
    pub read: Vec<PathBuf>,
    /// Readable, executable and writable, with all below it.
    pub write: Vec<PathBuf>,
    /// Readable and executable. With any, only these and the base can be executed, and not what `read` and `write` name.
    pub execute: Vec<PathBuf>,
    /// Neither readable nor writable, whatever grants it, with all below it.
    pub deny: Vec<PathBuf>,
    /// What may be written cannot be executed.
    pub writable_not_executable: bool,
    /// In `/proc` there are the run's own processes and sockets, and no others. `open` has to be looked at for that.
    pub own_proc: bool,
}

impl FileRules {
    /// Whether not all that may be read or written may be executed.
    #[must_use]
    pub fn restrict_execution(&self) -> bool {
        self.writable_not_executable || !self.execute.is_empty()
    }
}

/// What is readable without being named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// The [tables](crate::base): what programs of a common distribution need to start.
    #[default]
    Standard,
    /// Nothing.
    Bare,
}
