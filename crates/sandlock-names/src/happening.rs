//! What is worth telling somebody.

use sandlock_policy::Denied;

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// A program asked for a name that no rule grants, or an answer had an address that is not taken.
    Refused(Denied),
    /// A name could not be resolved, or not again; what it stood for before is kept. Told once, until it works again.
    NotRefreshed {
        /// The name.
        name: String,
        /// Why.
        why: String,
    },
}
