//! As much of DER as a store is made of: elements, one after the other or one in the other.

use crate::TrustError;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const BMP_STRING: u8 = 0x1e;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[0] EXPLICIT`.
pub(crate) const ZERO: u8 = 0xa0;

/// What is left to read.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

/// One element.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    tag: u8,
    /// With its tag and length.
    pub(crate) raw: &'a [u8],
    pub(crate) contents: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, which is to have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Result<Element<'a>, TrustError> {
        let element = self.any().filter(|element| element.tag == tag).ok_or(TrustError::Damaged)?;
        self.0 = &self.0[element.raw.len()..];
        Ok(element)
    }

    fn any(&self) -> Option<Element<'a>> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let contents = rest.get(..length)?;
        let raw = &self.0[..self.0.len() - rest.len() + length];
        Some(Element { tag, raw, contents })
    }
}

impl<'a> Element<'a> {
    /// What is in it.
    pub(crate) fn inside(&self) -> Reader<'a> {
        Reader(self.contents)
    }
}

/// An element of these parts.
pub(crate) fn write(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut element = vec![tag];
    if let Ok(short @ 0..=0x7f) = u8::try_from(length) {
        element.push(short);
    } else {
        let digits = length.to_be_bytes();
        let leading = digits.iter().take_while(|digit| **digit == 0).count();
        // There are 8 of them.
        element.push(0x80 | u8::try_from(digits.len() - leading).unwrap_or(8));
        element.extend(&digits[leading..]);
    }
    parts.iter().for_each(|part| element.extend(*part));
    element
}
