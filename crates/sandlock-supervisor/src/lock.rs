//! Locks whose content is whole at any moment.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for a lock. Whoever panicked while holding it left what is in it whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
