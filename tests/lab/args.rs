//! The arguments of a program of the lab.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::path::Path;
use std::str::FromStr;

/// The arguments of a program, without its name.
pub struct Args(Vec<OsString>);

impl Args {
    pub(crate) fn new(words: Vec<OsString>) -> Self {
        Args(words)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// One as it came.
    pub fn os(&self, index: usize) -> &OsStr {
        self.0.get(index).unwrap_or_else(|| panic!("argument {index} is missing"))
    }

    /// One as a path.
    pub fn path(&self, index: usize) -> &Path {
        Path::new(self.os(index))
    }

    /// One as text.
    pub fn text(&self, index: usize) -> &str {
        self.os(index).to_str().unwrap()
    }

    /// One as a number, an address, or whatever else is wanted.
    pub fn get<T: FromStr<Err: Debug>>(&self, index: usize) -> T {
        self.text(index).parse().unwrap()
    }
}
