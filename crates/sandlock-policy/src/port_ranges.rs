//! Sets of ports as ranges: for rules about a run's own ports, of which there may be tens of thousands.

use std::fmt;

use crate::RuleErrorKind;

/// A set of ports, as ranges. 0 in it stands for "one that the kernel chooses".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortRanges {
    /// Sorted, apart by at least one port, each from a first to a last port, which may be the same.
    ranges: Vec<(u16, u16)>,
}

impl PortRanges {
    pub(crate) const NONE: PortRanges = PortRanges { ranges: Vec::new() };

    /// Every port, and 0.
    #[must_use]
    pub fn all() -> PortRanges {
        PortRanges { ranges: vec![(0, u16::MAX)] }
    }

    pub(crate) fn one(port: u16) -> PortRanges {
        PortRanges { ranges: vec![(port, port)] }
    }

    /// Parses `8080`, `8000-8099,0` or `*`. Blanks around an item are ignored.
    pub(crate) fn parse(text: &str) -> Result<PortRanges, RuleErrorKind> {
        let items: Vec<_> = text.split(',').map(|item| item.trim_matches([' ', '\t'])).collect();
        if items.iter().all(|item| *item == "*") {
            return Ok(PortRanges::all());
        }
        if items.contains(&"*") {
            return Err(RuleErrorKind::MixedPorts);
        }
        let ranges = items.into_iter().map(parse_item).collect::<Result<Vec<_>, _>>()?;
        Ok(PortRanges::from_ranges(ranges))
    }

    fn from_ranges(mut ranges: Vec<(u16, u16)>) -> PortRanges {
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if u32::from(first) <= u32::from(before.1) + 1 => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        PortRanges { ranges: joined }
    }

    /// Whether `port` is in it.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= port);
        after > 0 && self.ranges[after - 1].1 >= port
    }

    /// Whether every port is in it, and 0.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.ranges == [(0, u16::MAX)]
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many are in it, 0 among them if it is.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ranges.iter().map(|(first, last)| usize::from(last - first) + 1).sum()
    }

    /// All that are in it.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }

    pub(crate) fn extend(&mut self, other: &PortRanges) {
        let ranges = self.ranges.iter().chain(&other.ranges).copied().collect();
        *self = PortRanges::from_ranges(ranges);
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub(crate) fn without(&self, other: &PortRanges) -> PortRanges {
        let mut left = Vec::new();
        for &(first, last) in &self.ranges {
            let mut next = u32::from(first);
            for &(gone_first, gone_last) in &other.ranges {
                if gone_last < first || gone_first > last {
                    continue;
                }
                // Ports fit: they are below one that is in the range.
                if u32::from(gone_first) > next {
                    left.push((next as u16, gone_first - 1));
                }
                next = u32::from(gone_last) + 1;
            }
            if next <= u32::from(last) {
                left.push((next as u16, last));
            }
        }
        PortRanges { ranges: left }
    }
}

impl fmt::Display for PortRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("*");
        }
        let mut comma = "";
        for &(first, last) in &self.ranges {
            // 0 is no port to begin a range with.
            match (first, last) {
                (0, 0) => write!(f, "{comma}0")?,
                (0, 1) => write!(f, "{comma}0,1")?,
                (0, last) => write!(f, "{comma}0,1-{last}")?,
                _ if first == last => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

fn parse_item(item: &str) -> Result<(u16, u16), RuleErrorKind> {
    let invalid = || RuleErrorKind::InvalidOwnPort(item.to_owned());
    let Some((first, last)) = item.split_once('-') else {
        let port = number(item).ok_or_else(invalid)?;
        return Ok((port, port));
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first == 0 || first > last => {
            Err(RuleErrorKind::InvalidPortRange(item.to_owned()))
        }
        (Some(first), Some(last)) => Ok((first, last)),
        _ => Err(invalid()),
    }
}

fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ports(text: &str) -> PortRanges {
        PortRanges::parse(text).unwrap()
    }

    #[test]
    fn ranges_that_touch_are_one() {
        for (text, shown) in [
            ("8080", "8080"),
            ("0", "0"),
            ("0,1", "0,1"),
            ("3-5, 1,2\t,0", "0,1-5"),
            ("80,443,81-90,85-100", "80-100,443"),
            ("1-65535", "1-65535"),
            ("1-65535,0", "*"),
            ("* ,*", "*"),
            ("65535", "65535"),
        ] {
            assert_eq!(ports(text).to_string(), shown);
            assert_eq!(ports(shown), ports(text));
        }
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for item in ["", "+80", "-1", "80-", "x", "65536", "0x50", "8 0", "٨٠", "1-2-3", "*-3"] {
            assert_eq!(PortRanges::parse(item), Err(RuleErrorKind::InvalidOwnPort(item.into())), "{item}");
        }
        for item in ["9-8", "0-80", "0-0"] {
            assert_eq!(PortRanges::parse(item), Err(RuleErrorKind::InvalidPortRange(item.into())), "{item}");
        }
        assert_eq!(PortRanges::parse("*,80"), Err(RuleErrorKind::MixedPorts));
    }

    proptest! {
        #[test]
        fn sets_are_as_sets_of_numbers(
            one in prop::collection::vec((0u16..50, 0u16..20), 0..6),
            other in prop::collection::vec((0u16..50, 0u16..20), 0..6),
            high: bool,
        ) {
            // At the upper end as well.
            let lift = |(first, len): &(u16, u16)| {
                if high { (u16::MAX - first.saturating_add(*len), u16::MAX - first) } else { (*first, first + len) }
            };
            let set = |ranges: &[(u16, u16)]| PortRanges::from_ranges(ranges.iter().map(lift).collect());
            let naive = |port: u16, ranges: &[(u16, u16)]| {
                ranges.iter().map(lift).any(|(first, last)| first <= port && port <= last)
            };
            let (left, both) = (set(&one).without(&set(&other)), {
                let mut both = set(&one);
                both.extend(&set(&other));
                both
            });
            let range = if high { u16::MAX - 80..=u16::MAX } else { 0..=80 };
            for port in range {
                prop_assert_eq!(set(&one).contains(port), naive(port, &one));
                prop_assert_eq!(left.contains(port), naive(port, &one) && !naive(port, &other));
                prop_assert_eq!(both.contains(port), naive(port, &one) || naive(port, &other));
            }
            prop_assert_eq!(left.iter().count(), left.count());
        }
    }
}
