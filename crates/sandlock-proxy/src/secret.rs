//! A secret: given, or in a file.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use zeroize::{Zeroize, Zeroizing};

use crate::limits::MOST_SECRET;

/// A secret, or where it is. It is overwritten when it is not needed any more, and never shown.
pub enum Secret {
    /// It is known.
    Value(Vec<u8>),
    /// It is in this file, which is read again when it changes.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Value(_) => f.write_str("Value(…)"),
            Secret::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        if let Secret::Value(value) = self {
            value.zeroize();
        }
    }
}

/// A secret, and what was read of it.
#[derive(Debug)]
pub(crate) struct Kept {
    secret: Secret,
    read: Mutex<Option<Content>>,
}

/// What was in a file, and when.
struct Content {
    when: Stamp,
    value: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// By what a file is known to have changed.
#[derive(PartialEq, Eq)]
struct Stamp(u64, u64, u64, i64, i64);

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp(metadata.dev(), metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec())
    }
}

impl Kept {
    pub(crate) fn new(secret: Secret) -> Kept {
        Kept { secret, read: Mutex::new(None) }
    }

    /// What it is now, without the ends of line that editors write.
    pub(crate) fn value(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let path = match &self.secret {
            Secret::Value(value) => return Ok(Zeroizing::new(trimmed(value).to_vec())),
            Secret::File(path) => path,
        };
        let when = Stamp::of(&fs::metadata(path)?);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.as_ref().filter(|known| known.when == when) {
            return Ok(known.value.clone());
        }
        let metadata = fs::metadata(path)?;
        // Others would be waited for.
        if !metadata.is_file() || metadata.len() > MOST_SECRET {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no file, or too long for a secret"));
        }
        let file = File::open(path)?;
        let when = Stamp::of(&file.metadata()?);
        let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_SECRET as usize));
        file.take(MOST_SECRET).read_to_end(&mut bytes)?;
        let value = Zeroizing::new(trimmed(&bytes).to_vec());
        *read = Some(Content { when, value: value.clone() });
        Ok(value)
    }
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let kept = Kept::new(Secret::File(path.clone()));
        assert!(kept.value().is_err());
        fs::write(&path, "one\n").unwrap();
        assert_eq!(**kept.value().unwrap(), *b"one");
        fs::write(directory.path().join("new"), "two").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        assert_eq!(**kept.value().unwrap(), *b"two");
        fs::remove_file(&path).unwrap();
        assert!(kept.value().is_err());
        assert!(Kept::new(Secret::File("/dev/zero".into())).value().is_err());
    }

    #[test]
    fn it_is_never_shown() {
        let kept = Kept::new(Secret::Value(b"hush".to_vec()));
        assert_eq!(**kept.value().unwrap(), *b"hush");
        assert!(!format!("{kept:?}").contains("hush") && !format!("{kept:?}").contains("104"));
    }
}
