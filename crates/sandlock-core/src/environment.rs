//! The environment of the command.

use std::collections::BTreeMap;
use std::ffi::{CString, NulError, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What the command's environment is made of: the caller's, whole or only the harmless part, and additions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Take over only [`Environment::HARMLESS`] of the caller's.
    pub clean: bool,
    /// Take over these too, if `clean`. A `*` at the end stands for the rest of names.
    pub pass: Vec<OsString>,
    /// Take these in place of the caller's, of which only those about the terminal stay, and those to pass.
    pub instead: Option<Vec<(OsString, OsString)>>,
    /// Take these of the caller's away.
    pub unset: Vec<OsString>,
    /// Set these, in place of the caller's.
    pub set: Vec<(OsString, OsString)>,
}

impl Environment {
    /// What `clean` takes over: where programs are, who runs them, what their terminal and language are.
    pub const HARMLESS: [&str; 12] = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "TERM",
        "COLORTERM",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "NO_COLOR",
    ];

    /// The variables, later settings winning; `private` ones only where the person set none.
    pub(crate) fn variables(&self, private: &[(OsString, OsString)]) -> BTreeMap<OsString, OsString> {
        let inherited = std::env::vars_os()
            .filter(|(name, _)| !(self.clean || self.instead.is_some()) || self.passes(name))
            .filter(|(name, _)| !self.unset.contains(name));
        let mut variables: BTreeMap<_, _> = inherited.collect();
        variables.extend(self.instead.iter().flatten().cloned());
        variables.extend(private.iter().cloned());
        variables.extend(self.set.iter().cloned());
        variables
    }

    fn passes(&self, name: &OsStr) -> bool {
        let named = |pass: &OsString| match pass.as_bytes().strip_suffix(b"*") {
            Some(start) => name.as_bytes().starts_with(start),
            None => name == pass,
        };
        let harmless = if self.instead.is_some() { &TERMINAL[..] } else { &Self::HARMLESS[..] };
        harmless.iter().any(|harmless| name == *harmless) || self.pass.iter().any(named)
    }
}

impl Environment {
    /// Adds variables where the person set none, and takes away those that hold a secret, unless they were set for the
    /// command by name.
    pub(crate) fn adapt<'a>(
        &self,
        variables: &mut BTreeMap<OsString, OsString>,
        added: &[(OsString, OsString)],
        secret: impl Iterator<Item = &'a OsStr>,
    ) {
        for (name, value) in added {
            variables.entry(name.clone()).or_insert_with(|| value.clone());
        }
        for name in secret.filter(|name| !self.set.iter().any(|(set, _)| set == name)) {
            variables.remove(name);
        }
    }
}

/// Of the harmless ones those that are about where the command's output goes.
const TERMINAL: [&str; 3] = ["TERM", "COLORTERM", "NO_COLOR"];

/// As `execve` takes them.
pub(crate) fn as_strings(variables: BTreeMap<OsString, OsString>) -> Result<Vec<CString>, NulError> {
    variables
        .into_iter()
        .map(|(name, value)| CString::new([name.into_vec(), b"=".to_vec(), value.into_vec()].concat()))
        .collect()
}

/// A string as `execve` takes it.
pub(crate) fn as_string(text: &OsStr) -> Result<CString, NulError> {
    CString::new(text.as_encoded_bytes())
}
