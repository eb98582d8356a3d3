//! Profiles: policies in files.

use std::io;
use std::path::{Path, PathBuf};

use sandlock_core::Policy;
use toml_edit::{Array, DocumentMut, Item, Value};

use crate::ask::Grant;

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
    /// It cannot be written.
    #[error("--profile {}: the rule cannot be added", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
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

/// Adds a rule to what a profile allows, and leaves the rest of the file as it is. Whoever reads it meanwhile sees it whole,
/// without or with the rule.
///
/// # Errors
///
/// [`ProfileError`].
pub(crate) fn allow(path: &Path, rule: &Grant) -> Result<(), ProfileError> {
    let failed = |source: io::Error| ProfileError::Write { path: path.to_owned(), source };
    let malformed = || failed(io::ErrorKind::InvalidData.into());
    // Where a link leads.
    let real = path.canonicalize().map_err(failed)?;
    let text = std::fs::read_to_string(&real).map_err(failed)?;
    let mut document: DocumentMut = text.parse().map_err(|_| malformed())?;
    let kind = match rule {
        Grant::Net(_) => "network",
        Grant::Bind(_) => "bind",
    };
    let rules = document.entry(kind).or_insert(toml_edit::table());
    let rules = rules.as_table_like_mut().ok_or_else(malformed)?;
    let allow = rules.entry("allow").or_insert(Item::Value(Value::Array(Array::new())));
    let allow = allow.as_array_mut().ok_or_else(malformed)?;
    let rule = rule.to_string();
    if allow.iter().any(|one| one.as_str() == Some(&rule)) {
        return Ok(());
    }
    allow.push(rule);
    let directory = real.parent().unwrap_or(Path::new("/"));
    let mut new = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    io::Write::write_all(&mut new, document.to_string().as_bytes()).map_err(failed)?;
    let permissions = std::fs::metadata(&real).map_err(failed)?.permissions();
    new.as_file().set_permissions(permissions).map_err(failed)?;
    new.persist(&real).map_err(|error| failed(error.error))?;
    Ok(())
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
    fn a_rule_that_is_added_leaves_the_rest_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("profile.toml");
        let rule = |text: &str| Grant::Net(text.parse().unwrap());
        for (before, after) in [
            ("", "[network]\nallow = [\"a.test:1\"]\n"),
            ("# mine\n[network]\nallow = [\n  \"b.test:2\", # why\n]\n", ""),
            ("network.deny = [\"c.test:3\"]\n", ""),
        ] {
            std::fs::write(&path, before).unwrap();
            allow(&path, &rule("a.test:1")).unwrap();
            allow(&path, &rule("a.test:1")).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(after.is_empty() || text == after, "{text}");
            assert_eq!(text.matches("a.test:1").count(), 1, "{text}");
            assert!(!before.contains('#') || text.contains("# mine") && text.contains("# why"), "{text}");
            assert!(read(&path).unwrap().network.allow.contains(&"a.test:1".parse().unwrap()), "{text}");
        }
        allow(&path, &Grant::Bind("udp://53".parse().unwrap())).unwrap();
        assert_eq!(read(&path).unwrap().bind.allow, ["udp://53".parse().unwrap()]);
        std::fs::write(&path, "network = 1").unwrap();
        assert!(allow(&path, &rule("a.test:1")).is_err());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        assert!(said("\n[network]\nallow = [\"x:http\"]\n").starts_with("3: "));
        assert!(said("[network]\nalow = []").starts_with("2: unknown field `alow`"));
        assert!(said("network = ").starts_with("1: "));
    }
}
