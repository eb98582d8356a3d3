//! Whom the service tells what it learns.

use sandlock_policy::NameState;

use crate::Happening;

/// What the service tells others. It is called in the service's thread, and must not block.
pub trait Outbox: Send {
    /// A name stands for something else: what is known of it is replaced by `state`, in which an empty one forgets it.
    /// [`Service::enforced`](crate::Service::enforced) with `serial` is to be called when it has effect.
    fn name(&mut self, serial: u64, state: &NameState);

    /// Something happened.
    fn happened(&mut self, happening: Happening);
}
