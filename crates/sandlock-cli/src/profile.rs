//! Profiles: policies in files.

use std::io;
use std::path::{Path, PathBuf};

use sandlock_core::Policy;

/// Why a profile is none, or cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    /// It cannot be read.
    #[error("--profile {}: the file cannot be read", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is not TOML, or no policy.
    #[error("--profile {}, line {line}: {what}", .path.display())]
    Content { path: PathBuf, line: usize, what: String },
    /// A policy that TOML cannot say: with a path that is not text.
    #[error("the policy cannot be written as TOML")]
    Unsayable(#[source] toml::ser::Error),
}

/// A policy as a profile.
///
/// # Errors
///
/// [`ProfileError::Unsayable`].
pub(crate) fn written(policy: &Policy) -> Result<String, ProfileError> {
    toml::to_string(policy).map_err(ProfileError::Unsayable)
}

/// Reads a profile.
///
/// # Errors
///
/// [`ProfileError`].
pub(crate) fn read(path: &Path) -> Result<Policy, ProfileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ProfileError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        ProfileError::Content { path: path.to_owned(), line, what: error.message().to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        match read(file.path()) {
            Ok(policy) => panic!("{policy:?}"),
            Err(ProfileError::Content { line, what, .. }) => format!("{line}: {what}"),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let policy = Policy::new().allow("a.test:443").unwrap().read("/srv").bare();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), written(&policy).unwrap()).unwrap();
        assert_eq!(read(file.path()).unwrap(), policy);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        assert!(said("\n[network]\nallow = [\"x:http\"]\n").starts_with("3: "));
        assert!(said("[network]\nalow = []").starts_with("2: unknown field `alow`"));
        assert!(said("network = ").starts_with("1: "));
    }
}
