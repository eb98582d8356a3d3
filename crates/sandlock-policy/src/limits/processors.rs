//! A list of processors, as people write it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::LimitError;

/// Some processors, at least one, by their numbers: `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Processors(BTreeSet<usize>);

impl Processors {
    /// Their numbers, in order.
    pub fn numbers(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().copied()
    }
}

impl FromStr for Processors {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Processors, LimitError> {
        let mut numbers = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = number(first)?..=number(last)?;
            if range.is_empty() {
                return Err(LimitError::Processors);
            }
            numbers.extend(range);
        }
        Ok(Processors(numbers))
    }
}

fn number(text: &str) -> Result<usize, LimitError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.filter(|number| *number < MOST).ok_or(LimitError::Processors)
}

impl fmt::Display for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.numbers().peekable();
        let mut separator = "";
        while let Some(first) = numbers.next() {
            let mut last = first;
            while let Some(next) = numbers.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last == first {
                true => write!(f, "{separator}{first}")?,
                false => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

impl Serialize for Processors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Processors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Processors, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What `cpu_set_t` has room for.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_shown_in_order() {
        for (text, shown) in
            [("0", "0"), ("3,1,2", "1-3"), ("0,2-3", "0,2-3"), ("5-5,5", "5"), ("1023", "1023")]
        {
            assert_eq!(text.parse::<Processors>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", ",", "0,", "-1", "1-", "3-2", "a", "+1", "1024", "0-1024", " 1", "0--1"] {
            assert_eq!(text.parse::<Processors>(), Err(LimitError::Processors), "{text}");
        }
    }
}
