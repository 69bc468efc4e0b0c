//! Mutexes whose values a panic elsewhere leaves nothing half-done in.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever happened to others who did.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
