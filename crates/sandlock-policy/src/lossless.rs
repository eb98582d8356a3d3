//! Bytes as a string in serialised form, without loss: for paths and names that need not be UTF-8. Times as well.
//!
//! A byte that is not part of UTF-8 becomes `\xNN` and a backslash `\\`; all else stays readable. A string,
//! because every format has those.

use std::fmt::Write;

/// For `#[serde(with)]` on a `Vec<u8>`.
pub(crate) mod bytes {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::decode(&text).ok_or_else(|| de::Error::custom("a backslash that escapes nothing"))
    }
}

/// For `#[serde(with)]` on a `PathBuf`.
pub(crate) mod path {
    use std::path::{Path, PathBuf};

    use serde::{Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        super::bytes::serialize(path.as_os_str().as_encoded_bytes(), serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        let bytes = super::bytes::deserialize(deserializer)?;
        super::path_from(bytes).ok_or_else(|| de::Error::custom("not a path on this system"))
    }
}

/// For `#[serde(with)]` on a `Duration`: `"1h 30m"`.
pub(crate) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        humantime::parse_duration(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// For `#[serde(with)]` on a list of byte strings.
pub(crate) mod list {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|bytes| super::encode(bytes)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let decoded = texts.iter().map(|text| super::decode(text)).collect::<Option<_>>();
        decoded.ok_or_else(|| de::Error::custom("a backslash that escapes nothing"))
    }
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', r"\\"));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        rest = if let Some(after) = after.strip_prefix('\\') {
            bytes.push(b'\\');
            after
        } else {
            let (digits, after) = after.strip_prefix('x')?.split_at_checked(2)?;
            bytes.push(hex(digits)?);
            after
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

fn hex(digits: &str) -> Option<u8> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u8::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(unix)]
pub(crate) fn path_from(bytes: Vec<u8>) -> Option<std::path::PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Some(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
pub(crate) fn path_from(bytes: Vec<u8>) -> Option<std::path::PathBuf> {
    String::from_utf8(bytes).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn readable_text_stays_readable() {
        assert_eq!(encode("/run/é.sock".as_bytes()), "/run/é.sock");
        assert_eq!(encode(b"/run/\xff\\"), r"/run/\xff\\");
    }

    #[test]
    fn malformed_escapes_are_refused() {
        for text in [r"\", r"\x", r"\x1", r"\xg0", r"\x+1", r"\n", r"\xé"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }
}
