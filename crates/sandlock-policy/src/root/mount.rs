//! The grammar of mounts: `VIRTUAL:HOST[:ro]` and `VIRTUAL[:SIZE]`.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::Size;
use crate::lossless::path_from;

/// A place of the machine in the root of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Mount {
    /// Where the command finds it.
    pub at: PathBuf,
    /// What it is on the machine.
    pub source: PathBuf,
    /// Whether nothing there can be changed.
    pub read_only: bool,
}

/// An empty place in memory in the root of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Tmpfs {
    /// Where the command finds it.
    pub at: PathBuf,
    /// How much it holds at most; half of the machine's memory if none.
    pub size: Option<Size>,
}

/// What is wrong with a mount as it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The parts are not those of a mount.
    #[error("a mount is written VIRTUAL:HOST or VIRTUAL:HOST:ro")]
    Form,
    /// The path inside is relative, the root itself, or has `..`.
    #[error("the path inside begins with a slash, has no .., and is not the root itself")]
    Virtual,
    /// A size that is none.
    #[error("a size is a number of bytes, or of K, M, G or T")]
    Size,
}

impl Mount {
    /// A mount from how it is written: `VIRTUAL:HOST`, or `VIRTUAL:HOST:ro`.
    ///
    /// # Errors
    ///
    /// [`MountError`].
    pub fn parse(text: &OsStr) -> Result<Self, MountError> {
        let bytes = text.as_encoded_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':').ok_or(MountError::Form)?;
        let (at, rest) = (&bytes[..colon], &bytes[colon + 1..]);
        let (source, read_only) = match rest.strip_suffix(b":ro") {
            Some(source) => (source, true),
            None => (rest.strip_suffix(b":rw").unwrap_or(rest), false),
        };
        // A colon more is a mode that nobody knows, rather than a part of a name.
        if source.is_empty() || source.contains(&b':') {
            return Err(MountError::Form);
        }
        let source = path_from(source.to_vec()).ok_or(MountError::Form)?;
        Ok(Mount { at: place(at)?, source, read_only })
    }
}

impl Tmpfs {
    /// One from how it is written: `VIRTUAL`, or `VIRTUAL:SIZE`.
    ///
    /// # Errors
    ///
    /// [`MountError`].
    pub fn parse(text: &OsStr) -> Result<Self, MountError> {
        let bytes = text.as_encoded_bytes();
        let Some(colon) = bytes.iter().position(|byte| *byte == b':') else {
            return Ok(Tmpfs { at: place(bytes)?, size: None });
        };
        let size = std::str::from_utf8(&bytes[colon + 1..]).ok().and_then(|size| size.parse().ok());
        Ok(Tmpfs { at: place(&bytes[..colon])?, size: Some(size.ok_or(MountError::Size)?) })
    }
}

impl Serialize for Mount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mode = if self.read_only { ":ro" } else { "" };
        serializer.collect_str(&format_args!("{}:{}{mode}", text(&self.at)?, text(&self.source)?))
    }
}

impl<'de> Deserialize<'de> for Mount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Mount::parse(String::deserialize(deserializer)?.as_ref()).map_err(de::Error::custom)
    }
}

impl Serialize for Tmpfs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = text(&self.at)?;
        match self.size {
            Some(size) => serializer.collect_str(&format_args!("{at}:{size}")),
            None => serializer.serialize_str(at),
        }
    }
}

impl<'de> Deserialize<'de> for Tmpfs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Tmpfs::parse(String::deserialize(deserializer)?.as_ref()).map_err(de::Error::custom)
    }
}

fn text<E: ser::Error>(path: &Path) -> Result<&str, E> {
    path.to_str().ok_or_else(|| E::custom("a path that is not UTF-8"))
}

fn place(path: &[u8]) -> Result<PathBuf, MountError> {
    let path = path_from(path.to_vec()).ok_or(MountError::Virtual)?;
    let mut parts = path.components();
    let names = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    if parts.next() != Some(Component::RootDir) || parts.next().is_none() || !names {
        return Err(MountError::Virtual);
    }
    Ok(path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_says_where_what_and_whether_it_can_be_changed() {
        let parse = |text: &str| Mount::parse(OsStr::new(text));
        let mount = |at: &str, source: &str, read_only| {
            Ok(Mount { at: PathBuf::from(at), source: PathBuf::from(source), read_only })
        };
        assert_eq!(parse("/data:/srv/data"), mount("/data", "/srv/data", false));
        assert_eq!(parse("/data:/srv/data:rw"), mount("/data", "/srv/data", false));
        assert_eq!(parse("//a//b/:.:ro"), mount("/a/b", ".", true));
        for text in ["", "/data", "/data:", "/data::ro", "/data:/srv:rO", "/a:/b:/c", "/a:ro:ro:x"] {
            assert_eq!(parse(text), Err(MountError::Form), "{text}");
        }
        for text in ["data:/srv", ":/srv", "/:/srv", "/a/../b:/srv", "..:/srv", "/..:/srv"] {
            assert_eq!(parse(text), Err(MountError::Virtual), "{text}");
        }
    }

    #[test]
    fn a_size_has_a_unit_or_is_in_bytes() {
        let parse = |text: &str| Tmpfs::parse(OsStr::new(text)).map(|parsed| parsed.size.map(Size::bytes));
        assert_eq!(parse("/a"), Ok(None));
        assert_eq!(parse("/a:4096"), Ok(Some(4096)));
        assert_eq!(parse("/a:64m"), Ok(Some(64 << 20)));
        assert_eq!(parse("/a:1G"), Ok(Some(1 << 30)));
        for text in ["/a:", "/a:0", "/a:m", "/a:-1", "/a:+1", "/a:1X", "/a:20000000000G", "/a:1:2"] {
            assert_eq!(parse(text), Err(MountError::Size), "{text}");
        }
        assert_eq!(parse("a:1"), Err(MountError::Virtual));
    }
}
