//! The path part of a rule: which paths it speaks of.

use std::fmt;

use super::target::{Character, Segment, check_decoded, decode, kind_of, write_escape, write_matched};
use super::{HttpRuleErrorKind, Malformed};

/// A pattern of paths in normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PathPattern {
    steps: Vec<Step>,
    /// It ended in `/*`: the rest names a directory, which is meant with all that is below.
    below: bool,
    parameters: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// This byte of [`RequestTarget::path`](super::RequestTarget::path).
    Byte(u8),
    /// `*`: anything but a slash.
    Star,
    /// `*` for a whole segment: something, but no slash.
    Segment,
    /// `**`: anything.
    StarStar,
    /// `**/` after a slash: nothing, or anything that ends in a slash. The step after it is its second half.
    Directories,
    /// In the midst of that.
    InDirectories,
}

impl PathPattern {
    pub(crate) fn parse(text: &str) -> Result<PathPattern, HttpRuleErrorKind> {
        if text.contains('?') {
            return Err(HttpRuleErrorKind::Query(text.to_owned()));
        }
        let malformed = |why| HttpRuleErrorKind::Path { path: text.to_owned(), why };
        if text.contains('#') {
            return Err(malformed(Malformed::Fragment));
        }
        let characters = decode(text.as_bytes()).map_err(malformed)?;
        check_decoded(&characters).map_err(malformed)?;
        check_segments(&characters, text)?;
        let below = [&b"/**"[..], b"/*"].into_iter().find_map(|end| strip_suffix(&characters, end));
        let rest = below.unwrap_or(&characters);
        Ok(PathPattern {
            steps: steps(rest),
            below: below.is_some(),
            parameters: rest.iter().any(|character| character.byte == b';'),
        })
    }

    /// Whether it speaks of every path.
    pub(crate) fn is_everything(&self) -> bool {
        self.below && self.steps.is_empty()
    }

    /// Whether a rule that grants this grants `path`: also as a server reads it that cuts parameters off, unless the
    /// pattern itself speaks of parameters.
    pub(crate) fn grants(&self, path: &str) -> bool {
        let plain = |path: &str| self.parameters || self.matches(&without_parameters(path), Letters::Exact);
        self.matches(path, Letters::Exact) && (!path.contains(';') || plain(path))
    }

    /// Whether a rule that refuses this refuses `path`: also in spellings that servers exist to read alike, which are
    /// other cases of letters, a slash at the end, and parameters.
    pub(crate) fn refuses(&self, path: &str) -> bool {
        [path.to_owned(), without_parameters(path)].iter().any(|path| {
            let other = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
            self.matches(path, Letters::AnyCase) || self.matches(&other, Letters::AnyCase)
        })
    }

    fn matches(&self, path: &str, letters: Letters) -> bool {
        let literal = self.steps.iter().take_while(|step| matches!(step, Step::Byte(_))).count();
        let (literal, steps) = self.steps.split_at(literal);
        let Some((head, rest)) = path.as_bytes().split_at_checked(literal.len()) else {
            return false;
        };
        let same = |(step, byte): (&Step, &u8)| matches!(step, Step::Byte(own) if letters.same(*own, *byte));
        if !literal.iter().zip(head).all(same) {
            return false;
        }
        match steps {
            [] => rest.is_empty() || (self.below && rest[0] == b'/'),
            steps => Walk::of(steps, letters).run(rest, self.below),
        }
    }
}

#[derive(Clone, Copy)]
enum Letters {
    Exact,
    AnyCase,
}

impl Letters {
    fn same(self, own: u8, other: u8) -> bool {
        match self {
            Letters::Exact => own == other,
            Letters::AnyCase => own.eq_ignore_ascii_case(&other),
        }
    }
}

/// All places of a pattern where a walk over a path may be. It takes as long as the two lengths multiplied, whatever
/// they contain.
struct Walk<'a> {
    steps: &'a [Step],
    letters: Letters,
    /// Whether the walk may be before a step; the last one stands for the end.
    before: Vec<bool>,
    /// The same after the next byte.
    after: Vec<bool>,
}

impl Walk<'_> {
    fn of(steps: &[Step], letters: Letters) -> Walk<'_> {
        let mut walk = Walk {
            steps,
            letters,
            before: vec![false; steps.len() + 1],
            after: vec![false; steps.len() + 1],
        };
        walk.before[0] = true;
        walk.skip();
        walk
    }

    fn run(mut self, path: &[u8], below: bool) -> bool {
        let end = self.steps.len();
        for byte in path {
            if below && self.before[end] && *byte == b'/' {
                return true;
            }
            self.take(*byte);
            if !self.before.contains(&true) {
                return false;
            }
        }
        self.before[end]
    }

    /// Goes over `byte`.
    fn take(&mut self, byte: u8) {
        let after = &mut self.after;
        after.fill(false);
        for (index, step) in self.steps.iter().enumerate().filter(|(index, _)| self.before[*index]) {
            match step {
                Step::Byte(own) => after[index + 1] |= self.letters.same(*own, byte),
                Step::Star => after[index] |= byte != b'/',
                Step::Segment => {
                    after[index] |= byte != b'/';
                    after[index + 1] |= byte != b'/';
                }
                Step::StarStar => after[index] = true,
                Step::Directories => {}
                Step::InDirectories => {
                    after[index] = true;
                    after[index + 1] |= byte == b'/';
                }
            }
        }
        std::mem::swap(&mut self.before, &mut self.after);
        self.skip();
    }

    /// Goes past what may be nothing.
    fn skip(&mut self) {
        for (index, step) in self.steps.iter().enumerate() {
            if self.before[index] {
                match step {
                    Step::Star | Step::StarStar => self.before[index + 1] = true,
                    Step::Directories => {
                        self.before[index + 1] = true;
                        self.before[index + 2] = true;
                    }
                    Step::Byte(_) | Step::Segment | Step::InDirectories => {}
                }
            }
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for step in &self.steps {
            match step {
                Step::Byte(byte @ (b'*' | b'?' | b'#')) => write_escape(&mut text, *byte),
                Step::Byte(byte) => text.push(char::from(*byte)),
                Step::Star | Step::Segment => text.push('*'),
                Step::StarStar | Step::Directories => text.push_str("**"),
                Step::InDirectories => text.push('/'),
            }
        }
        if self.below {
            text.push_str("/*");
        }
        f.write_str(&text)
    }
}

/// The segments of a pattern are those of a path in normal form.
fn check_segments(pattern: &[Character], text: &str) -> Result<(), HttpRuleErrorKind> {
    let segments: Vec<_> = pattern.split(|character| character.byte == b'/').collect();
    let inner = segments.split_first().map_or(&[][..], |(_, rest)| rest);
    for (index, segment) in inner.iter().enumerate() {
        match kind_of(segment) {
            Segment::Named => {}
            Segment::Empty if index + 1 == inner.len() => {}
            _ => return Err(HttpRuleErrorKind::NotNormal(text.to_owned())),
        }
    }
    Ok(())
}

fn steps(pattern: &[Character]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = pattern;
    while let Some((character, after)) = rest.split_first() {
        let begins = matches!(steps.last(), Some(Step::Byte(b'/') | Step::InDirectories));
        if begins && let Some(after) = strip_prefix(rest, b"**/") {
            steps.extend([Step::Directories, Step::InDirectories]);
            rest = after;
        } else if let Some(after) = strip_prefix(rest, b"**") {
            steps.push(Step::StarStar);
            rest = after;
        } else if is(character, b'*') {
            let whole = begins && after.first().is_none_or(|next| next.byte == b'/');
            steps.push(if whole { Step::Segment } else { Step::Star });
            rest = after;
        } else {
            let mut text = String::new();
            write_matched(&mut text, character.byte);
            steps.extend(text.bytes().map(Step::Byte));
            rest = after;
        }
    }
    steps
}

/// An escaped star is a star, not a wildcard.
fn is(character: &Character, byte: u8) -> bool {
    character.byte == byte && !character.escaped
}

fn strip_prefix<'a>(text: &'a [Character], prefix: &[u8]) -> Option<&'a [Character]> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.iter().zip(prefix).all(|(character, byte)| is(character, *byte)).then_some(rest)
}

fn strip_suffix<'a>(text: &'a [Character], suffix: &[u8]) -> Option<&'a [Character]> {
    let (rest, tail) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    tail.iter().zip(suffix).all(|(character, byte)| is(character, *byte)).then_some(rest)
}

fn without_parameters(path: &str) -> String {
    let names = path.split('/').map(|segment| segment.split_once(';').map_or(segment, |(name, _)| name));
    names.collect::<Vec<_>>().join("/")
}
