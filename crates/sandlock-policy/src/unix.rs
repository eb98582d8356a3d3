//! Whether a unix socket may be reached. The facts are gathered elsewhere; the decision is made here.

use crate::{Allowed, Denied};

/// A unix socket that somebody wants to reach, pinned so that it cannot be exchanged for another.
pub trait UnixTarget {
    /// What the decision rests on.
    fn facts(&self) -> UnixFacts;

    /// What to report when it is refused.
    fn denied(&self) -> Denied;
}

/// What the decision on a unix socket rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixFacts {
    /// It has a path.
    Pathname {
        /// Whether the policy grants writing there.
        writable: bool,
    },
    /// It has an abstract name.
    Abstract,
    /// It has no name: the other end of a pair, or nothing.
    Unnamed,
}

/// Whether `target` may be reached. A path needs a grant to write: to talk to a server is to act through it.
/// An abstract name is allowed, because the kernel keeps those inside of the sandbox by itself; so is no name.
///
/// # Errors
/// What [`UnixTarget::denied`] says when the target may not be reached.
pub fn check_unix<T: UnixTarget>(target: T) -> Result<Allowed<T>, Denied> {
    match target.facts() {
        UnixFacts::Pathname { writable: false } => Err(target.denied()),
        UnixFacts::Pathname { writable: true } | UnixFacts::Abstract | UnixFacts::Unnamed => {
            Ok(Allowed::new(target))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Socket(UnixFacts);

    impl UnixTarget for Socket {
        fn facts(&self) -> UnixFacts {
            self.0
        }

        fn denied(&self) -> Denied {
            Denied::UnixPath("/run/x.sock".into())
        }
    }

    #[test]
    fn only_a_path_that_may_not_be_written_is_refused() {
        for facts in [UnixFacts::Pathname { writable: true }, UnixFacts::Abstract, UnixFacts::Unnamed] {
            assert_eq!(check_unix(Socket(facts)).ok().map(|allowed| allowed.into_inner().0), Some(facts));
        }
        let refused = check_unix(Socket(UnixFacts::Pathname { writable: false })).err();
        assert_eq!(refused, Some(Denied::UnixPath("/run/x.sock".into())));
    }
}
