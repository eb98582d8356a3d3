//! The private temporary directory of a run.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

/// A directory for one run, removed with it.
#[derive(Debug)]
pub(crate) struct Temporary(TempDir);

impl Temporary {
    /// Makes one that only its owner may enter, where `TMPDIR` says.
    ///
    /// # Errors
    ///
    /// That of `mkdir(2)`.
    pub(crate) fn make() -> io::Result<Self> {
        let owner_only = Permissions::from_mode(0o700);
        tempfile::Builder::new().prefix("sandlock-").permissions(owner_only).tempdir().map(Temporary)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Removes it with all that the command left there, which nobody uses any more.
    pub(crate) fn remove(self) {
        let place = self.path();
        if fs::remove_dir(place).is_err() && fs::remove_dir_all(place).is_err() {
            open_up(place);
        }
        // A second time, for what could not be entered before. What stays is not ours to remove.
        let _ = self.0.close();
    }
}

/// Gives the owner back what the command took: a directory that cannot be listed cannot be emptied.
fn open_up(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // The type of the entry itself: a symlink is not followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_entered_is_removed_too_and_nothing_behind_a_link() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        fs::set_permissions(outside.path(), Permissions::from_mode(0o750)).unwrap();
        let temporary = Temporary::make().unwrap();
        let place = temporary.path().to_owned();
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
        fs::create_dir_all(place.join("a/b/c")).unwrap();
        std::os::unix::fs::symlink(outside.path(), place.join("a/link")).unwrap();
        fs::set_permissions(place.join("a/b"), Permissions::from_mode(0o000)).unwrap();
        temporary.remove();
        assert!(!place.exists());
        assert!(outside.path().join("kept").exists());
        assert_eq!(fs::metadata(outside.path()).unwrap().permissions().mode() & 0o777, 0o750);
    }
}
