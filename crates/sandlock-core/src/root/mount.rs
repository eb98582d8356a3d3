//! The grammar of mounts: `VIRTUAL:HOST[:ro]` and `VIRTUAL[:SIZE]`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

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
    /// How many bytes it holds at most; half of the machine's memory if none.
    pub size: Option<u64>,
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
    #[error("a size is a number of bytes, or of K, M or G")]
    Size,
}

impl Mount {
    /// A mount from how it is written: `VIRTUAL:HOST`, or `VIRTUAL:HOST:ro`.
    ///
    /// # Errors
    ///
    /// [`MountError`].
    pub fn parse(text: &OsStr) -> Result<Self, MountError> {
        let bytes = text.as_bytes();
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
        Ok(Mount { at: place(at)?, source: PathBuf::from(OsStr::from_bytes(source)), read_only })
    }
}

impl Tmpfs {
    /// One from how it is written: `VIRTUAL`, or `VIRTUAL:SIZE`.
    ///
    /// # Errors
    ///
    /// [`MountError`].
    pub fn parse(text: &OsStr) -> Result<Self, MountError> {
        let bytes = text.as_bytes();
        let Some(colon) = bytes.iter().position(|byte| *byte == b':') else {
            return Ok(Tmpfs { at: place(bytes)?, size: None });
        };
        let size = std::str::from_utf8(&bytes[colon + 1..]).map_err(|_| MountError::Size)?;
        Ok(Tmpfs { at: place(&bytes[..colon])?, size: Some(bytes_of(size)?) })
    }
}

fn place(path: &[u8]) -> Result<PathBuf, MountError> {
    let path = Path::new(OsStr::from_bytes(path));
    let mut parts = path.components();
    let names = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    if parts.next() != Some(Component::RootDir) || parts.next().is_none() || !names {
        return Err(MountError::Virtual);
    }
    Ok(path.components().collect())
}

fn bytes_of(text: &str) -> Result<u64, MountError> {
    let unit = text.bytes().last().map_or(0, |last| match last.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        _ => 0,
    });
    let number = if unit == 0 { text } else { &text[..text.len() - 1] };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let bytes =
        number.parse::<u64>().ok().filter(|_| digits).and_then(|number| number.checked_mul(1 << unit));
    bytes.filter(|bytes| *bytes > 0).ok_or(MountError::Size)
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
        let parse = |text: &str| Tmpfs::parse(OsStr::new(text)).map(|parsed| parsed.size);
        assert_eq!(parse("/a"), Ok(None));
        assert_eq!(parse("/a:4096"), Ok(Some(4096)));
        assert_eq!(parse("/a:64m"), Ok(Some(64 << 20)));
        assert_eq!(parse("/a:1G"), Ok(Some(1 << 30)));
        for text in ["/a:", "/a:0", "/a:m", "/a:-1", "/a:+1", "/a:1T", "/a:20000000000G", "/a:1:2"] {
            assert_eq!(parse(text), Err(MountError::Size), "{text}");
        }
        assert_eq!(parse("a:1"), Err(MountError::Virtual));
    }
}
