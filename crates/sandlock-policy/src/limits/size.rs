//! A number of bytes, as people write it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::LimitError;

/// A number of bytes, at least one. Written with `K`, `M`, `G` or `T` (of 1024), or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

impl Size {
    /// So many bytes; `None` for zero.
    #[must_use]
    pub fn of_bytes(bytes: u64) -> Option<Size> {
        (bytes > 0).then_some(Size(bytes))
    }

    /// The number of bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Size, LimitError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = UNITS
            .iter()
            .find(|(_, letter)| {
                let rest = unit.strip_prefix(|first: char| first.to_ascii_uppercase() == *letter);
                matches!(rest, Some("" | "iB" | "B"))
            })
            .map(|(shift, _)| *shift)
            .or_else(|| matches!(unit, "" | "B").then_some(0));
        let bytes = number.parse::<u64>().ok().zip(shift);
        bytes
            .and_then(|(number, shift)| number.checked_mul(1 << shift))
            .and_then(Size::of_bytes)
            .ok_or(LimitError::Size)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().rev().find(|(shift, _)| self.0.trailing_zeros() >= *shift) {
            Some((shift, letter)) => write!(f, "{}{letter}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

const UNITS: [(u32, char); 4] = [(10, 'K'), (20, 'M'), (30, 'G'), (40, 'T')];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_and_shown_with_its_largest_whole_unit() {
        for (text, bytes, shown) in [
            ("1", 1, "1"),
            ("1000", 1000, "1000"),
            ("2048", 2048, "2K"),
            ("512M", 512 << 20, "512M"),
            ("512mib", 0, ""),
            ("512MiB", 512 << 20, "512M"),
            ("3gB", 3 << 30, "3G"),
            ("1T", 1 << 40, "1T"),
            ("16777215T", 16_777_215 << 40, "16777215T"),
        ] {
            let read = text.parse::<Size>();
            if shown.is_empty() {
                assert_eq!(read, Err(LimitError::Size), "{text}");
                continue;
            }
            assert_eq!(read.map(Size::bytes), Ok(bytes), "{text}");
            assert_eq!(read.unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in
            ["", "0", "0M", "M", "-1", "+1", "1.5G", "1 M", "1X", "1MM", "16777216T", "99999999999999999999"]
        {
            assert_eq!(text.parse::<Size>(), Err(LimitError::Size), "{text}");
        }
    }
}
