//! A rule, whatever it is about, and the words that it was written with.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::RuleError;

/// What a kind of rule can mean. Its [`Display`](fmt::Display) form is the canonical one, and parses to an equal meaning.
pub trait Meaning: Sized + fmt::Display {
    /// The flag that such a rule is given with, unless it says another.
    const FLAG: &'static str;
    /// What can be wrong with the text of one.
    type Wrong: fmt::Display;

    /// Reads what a rule means.
    ///
    /// # Errors
    /// What is wrong with it.
    fn parse(spec: &str) -> Result<Self, Self::Wrong>;
}

/// A rule as a user wrote it.
///
/// Two rules are equal when they mean the same, however they were written.
#[derive(Clone, Debug)]
pub struct Written<M> {
    pub(crate) meaning: M,
    flag: Box<str>,
    spec: Box<str>,
}

impl<M: Meaning> Written<M> {
    /// Parses `spec`, which the user gave with `flag`: an error names both.
    ///
    /// # Errors
    /// [`RuleError`] when `spec` is not in the grammar.
    pub fn parse_flag(flag: &str, spec: &str) -> Result<Self, RuleError<M::Wrong>> {
        let meaning = M::parse(spec).map_err(|kind| RuleError::new(flag, spec, kind))?;
        Ok(Written { meaning, flag: flag.into(), spec: spec.into() })
    }

    /// The flag that it was given with; the usual one when it was not parsed from a flag.
    #[must_use]
    pub fn flag(&self) -> &str {
        &self.flag
    }

    /// The rule as the user wrote it.
    #[must_use]
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// The flag and the rule as written, to begin a message with: `--net-allow "Example.com:80"`.
    #[must_use]
    pub fn written(&self) -> String {
        format!("{} {:?}", self.flag, self.spec)
    }

    /// A rule of another kind that this one amounts to, as this one was written.
    pub(crate) fn as_kind<N>(&self, meaning: N) -> Written<N> {
        Written { meaning, flag: self.flag.clone(), spec: self.spec.clone() }
    }
}

impl<M: Meaning> FromStr for Written<M> {
    type Err = RuleError<M::Wrong>;

    fn from_str(spec: &str) -> Result<Self, Self::Err> {
        Written::parse_flag(M::FLAG, spec)
    }
}

impl<M: fmt::Display> fmt::Display for Written<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.meaning.fmt(f)
    }
}

impl<M: PartialEq> PartialEq for Written<M> {
    fn eq(&self, other: &Self) -> bool {
        self.meaning == other.meaning
    }
}

impl<M: Eq> Eq for Written<M> {}

impl<M: Hash> Hash for Written<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.meaning.hash(state);
    }
}

impl<M: fmt::Display> Serialize for Written<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, M: Meaning> Deserialize<'de> for Written<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
