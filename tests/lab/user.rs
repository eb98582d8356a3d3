//! As whom tests run.

use std::fmt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A user that tests run as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum User {
    /// User 0.
    Root,
    /// User and group 65534, no other group.
    Nobody,
    /// Whoever started the tests, when that is not root.
    Own,
}

impl User {
    /// Both kinds when root runs the tests, else the one that there is.
    pub(crate) fn all() -> &'static [User] {
        if crate::raw::euid() == 0 { &[User::Root, User::Nobody] } else { &[User::Own] }
    }

    /// Whether it is user 0.
    pub fn is_root(self) -> bool {
        self == User::Root
    }

    /// Makes a command run as this user.
    pub(crate) fn become_in(self, command: &mut Command) {
        if self == User::Nobody {
            // Without other groups: `uid` clears them when root calls it.
            command.uid(NOBODY).gid(NOBODY);
        }
    }

    /// Gives a file or directory to this user.
    pub(crate) fn own(self, path: &Path) {
        if self == User::Nobody {
            std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            User::Root => "root",
            User::Nobody => "nobody",
            User::Own => "own",
        })
    }
}

const NOBODY: u32 = 65534;
