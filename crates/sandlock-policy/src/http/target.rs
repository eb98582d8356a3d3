//! The path and query of a request, in the one form that is judged and forwarded.

use std::fmt::Write;

use super::Malformed;

/// A path in normal form, and a query as it was sent.
///
/// Escapes of unreserved characters are decoded, all others are kept, in upper case; dot segments and duplicate slashes
/// are gone. The form is a fixed point: reading it again gives the same.
///
/// ```
/// let target = sandlock_policy::RequestTarget::parse(b"/a//b/../%7Euser/%c3%a9?x=%zz")?;
/// assert_eq!(target.as_str(), "/a/~user/%C3%A9?x=%zz");
/// # Ok::<(), sandlock_policy::Malformed>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestTarget {
    forwarded: String,
    path_length: usize,
    path: String,
}

impl RequestTarget {
    /// Reads a target in origin form: `/PATH[?QUERY]`.
    ///
    /// # Errors
    /// [`Malformed`] for all that two servers could read differently.
    pub fn parse(target: &[u8]) -> Result<RequestTarget, Malformed> {
        let end = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
        let (path, query) = target.split_at(end);
        if target.contains(&b'#') {
            return Err(Malformed::Fragment);
        }
        if path.first() != Some(&b'/') {
            return Err(Malformed::NotAbsolute);
        }
        path.iter().chain(query).try_for_each(|byte| check_raw(*byte))?;
        let characters = decode(path)?;
        check_decoded(&characters)?;
        let (segments, directory) = resolve_dots(&characters)?;
        let mut forwarded = write_path(&segments, directory, write_forwarded);
        let path_length = forwarded.len();
        query.iter().for_each(|byte| write_query(&mut forwarded, *byte));
        let path = write_path(&segments, directory, |text, character| write_matched(text, character.byte));
        Ok(RequestTarget { forwarded, path_length, path })
    }

    /// The path as rules see it: decoded once. It is visible ASCII; the escape of any other character stays, in upper
    /// case, and so does `%25`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is forwarded: path and query.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.forwarded
    }

    /// The path as it is forwarded.
    #[must_use]
    pub fn forwarded_path(&self) -> &str {
        &self.forwarded[..self.path_length]
    }

    /// The query, without the `?`. Rules do not speak of it.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.forwarded[self.path_length..].strip_prefix('?')
    }
}

/// A character of a path, decoded once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Character {
    pub(crate) byte: u8,
    /// Whether it was written as an escape.
    pub(crate) escaped: bool,
}

/// What may stand in a target at all.
pub(crate) fn check_raw(byte: u8) -> Result<(), Malformed> {
    match byte {
        0..=b' ' | 0x7f => Err(Malformed::ControlByte),
        0x80.. => Err(Malformed::NonAscii),
        _ => Ok(()),
    }
}

pub(crate) fn decode(path: &[u8]) -> Result<Vec<Character>, Malformed> {
    let mut characters = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            characters.push(Character { byte: first, escaped: false });
            rest = after;
            continue;
        }
        let Some((&[high, low], after)) = after.split_first_chunk::<2>() else {
            return Err(Malformed::BadEscape);
        };
        let (high, low) = hex(high).zip(hex(low)).ok_or(Malformed::BadEscape)?;
        characters.push(Character { byte: high << 4 | low, escaped: true });
        rest = after;
    }
    Ok(characters)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// What servers are known to read in different ways.
pub(crate) fn check_decoded(characters: &[Character]) -> Result<(), Malformed> {
    for character in characters {
        match (character.byte, character.escaped) {
            (b'/', true) => return Err(Malformed::EncodedSlash),
            (0, _) => return Err(Malformed::EncodedNul),
            (b'\\', _) => return Err(Malformed::Backslash),
            (byte, _) if byte.is_ascii_control() => return Err(Malformed::ControlByte),
            _ => {}
        }
    }
    let bytes: Vec<u8> = characters.iter().map(|character| character.byte).collect();
    let escape =
        |bytes: &[u8]| bytes[0] == b'%' && bytes[1].is_ascii_hexdigit() && bytes[2].is_ascii_hexdigit();
    if bytes.windows(3).any(escape) {
        return Err(Malformed::EncodedTwice);
    }
    match str::from_utf8(&bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err(Malformed::NotUtf8),
    }
}

/// The segments that are left, and whether the path ends in a slash.
fn resolve_dots(path: &[Character]) -> Result<(Vec<&[Character]>, bool), Malformed> {
    let mut segments = Vec::new();
    let mut directory = true;
    for segment in path.split(|character| character.byte == b'/') {
        directory = true;
        match kind_of(segment) {
            Segment::Empty | Segment::Dot => {}
            Segment::DotDot => drop(segments.pop().ok_or(Malformed::AboveRoot)?),
            Segment::Hidden => return Err(Malformed::HiddenDots),
            Segment::Named => {
                segments.push(segment);
                directory = false;
            }
        }
    }
    Ok((segments, directory))
}

/// What a segment is for whoever resolves dots.
pub(crate) enum Segment {
    Empty,
    Dot,
    DotDot,
    /// It becomes one of those when its parameters are cut off.
    Hidden,
    Named,
}

pub(crate) fn kind_of(segment: &[Character]) -> Segment {
    let bytes: Vec<u8> = segment.iter().map(|character| character.byte).collect();
    let name = bytes.split(|byte| *byte == b';').next().unwrap_or_default();
    match bytes.as_slice() {
        b"" => Segment::Empty,
        b"." => Segment::Dot,
        b".." => Segment::DotDot,
        _ if matches!(name, b"" | b"." | b"..") => Segment::Hidden,
        _ => Segment::Named,
    }
}

fn write_path(segments: &[&[Character]], directory: bool, write: impl Fn(&mut String, Character)) -> String {
    let mut text = String::new();
    for segment in segments {
        text.push('/');
        segment.iter().for_each(|character| write(&mut text, *character));
    }
    if directory {
        text.push('/');
    }
    text
}

/// Reserved characters and their escapes are different to a server: both stay as they were sent. What no URI may hold
/// is escaped.
fn write_forwarded(text: &mut String, character: Character) {
    let Character { byte, escaped } = character;
    let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let reserved = b"!$&'()*+,;=:@".contains(&byte);
    if unreserved || (reserved && !escaped) {
        text.push(char::from(byte));
    } else {
        write_escape(text, byte);
    }
}

/// One spelling for each byte.
pub(crate) fn write_matched(text: &mut String, byte: u8) {
    if byte.is_ascii_graphic() && byte != b'%' {
        text.push(char::from(byte));
    } else {
        write_escape(text, byte);
    }
}

/// All stays that a URI may hold, and what commonly is in queries although none may.
fn write_query(text: &mut String, byte: u8) {
    match byte {
        b'"' | b'<' | b'>' => write_escape(text, byte),
        _ => text.push(char::from(byte)),
    }
}

pub(crate) fn write_escape(text: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(text, "%{byte:02X}");
}
