//! The witness that a check was made.

/// A value that a check of this crate allowed.
///
/// What performs an operation takes only this, never the bare value: so nothing is performed that was not
/// checked, and what is performed is the very value that was checked. Only the checks of this crate make one.
///
/// ```compile_fail,E0423
/// use sandlock_policy::{Allowed, Destination, Protocol};
/// let destination = Destination::new(Protocol::Tcp, [127, 0, 0, 1].into(), 22);
/// let forged = Allowed(destination);
/// ```
///
/// ```compile_fail,E0624
/// use sandlock_policy::{Allowed, Destination, Protocol};
/// let destination = Destination::new(Protocol::Tcp, [127, 0, 0, 1].into(), 22);
/// let forged = Allowed::new(destination);
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Allowed<T>(T);

impl<T> Allowed<T> {
    pub(crate) fn new(value: T) -> Allowed<T> {
        Allowed(value)
    }

    /// What was allowed.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// What was allowed; the witness ends here.
    pub fn into_inner(self) -> T {
        self.0
    }
}
