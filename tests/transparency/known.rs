//! The differences that are known: each with its reason, and each in docs/security/limits.md.

/// A difference that is expected.
pub(crate) struct Known {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Why it is so.
    pub(crate) reason: &'static str,
    /// Whether a pair of lines is it: the call (without its answer), the bare answer, the answer inside.
    pub(crate) is: fn(call: &str, bare: &str, inside: &str) -> bool,
}

pub(crate) const KNOWN: &[Known] = &[];
