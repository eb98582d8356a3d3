//! Whether a file's mode, owner, times or attributes may change. The facts are gathered elsewhere.

use crate::{Allowed, Denied};

/// A file whose metadata somebody wants to change, pinned so that it cannot be exchanged for another.
pub trait MetadataTarget {
    /// What the decision rests on.
    fn facts(&self) -> MetadataFacts;

    /// What to report when it is refused.
    fn denied(&self) -> Denied;
}

/// What the decision on metadata rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataFacts {
    /// It is, or is below, a path that may be written.
    pub below_writable: bool,
    /// It was named by a descriptor that is open for writing, which only what may be written can be.
    pub open_for_writing: bool,
    /// It is a device: writing to it is one thing, changing who may is another.
    pub device: bool,
    /// It is a pipe that is in no directory: whoever has an end of it.
    pub pipe: bool,
}

/// Whether the metadata of `target` may change.
///
/// # Errors
/// What [`MetadataTarget::denied`] says when it may not.
pub fn check_metadata<T: MetadataTarget>(target: T) -> Result<Allowed<T>, Denied> {
    let facts = target.facts();
    let writable = facts.below_writable || (facts.open_for_writing && !facts.device) || facts.pipe;
    if writable { Ok(Allowed::new(target)) } else { Err(target.denied()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct File(MetadataFacts);

    impl MetadataTarget for File {
        fn facts(&self) -> MetadataFacts {
            self.0
        }

        fn denied(&self) -> Denied {
            Denied::Metadata("/etc/passwd".into())
        }
    }

    fn is_allowed(below_writable: bool, open_for_writing: bool, device: bool) -> bool {
        check_metadata(File(MetadataFacts { below_writable, open_for_writing, device, pipe: false })).is_ok()
    }

    #[test]
    fn what_may_be_written_may_be_changed_but_devices_only_by_their_place() {
        assert!(
            is_allowed(true, false, false) && is_allowed(true, false, true) && is_allowed(false, true, false)
        );
        assert!(!is_allowed(false, false, false) && !is_allowed(false, true, true));
    }
}
