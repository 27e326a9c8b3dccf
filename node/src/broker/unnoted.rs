//! What came of giving a message to another server, where it could not be noted: the store took no writes. It is noted as soon as
//! the store takes them again, and the message is not given a second time.
//!
//! Only this process knows, and it knows few: while the store takes no writes nothing more is given. What always holds: a
//! message goes out twice only when the machine fails between the other server's answer and the commit that notes it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::Broker;

/// By entry.
pub(super) struct Unnoted<T>(Mutex<HashMap<Uuid, T>>);

impl<T> Default for Unnoted<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Unnoted<T> {
    /// What is still to be noted of this entry; whoever takes it notes it, or keeps it again.
    pub(super) fn take(&self, id: Uuid) -> Option<T> {
        self.lock().remove(&id)
    }

    pub(super) fn keep(&self, id: Uuid, what: T) {
        self.lock().insert(id, what);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, T>> {
        // Each critical section is one operation.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Whether the store took the last change. If not, an entry is committed as it is before anything is given: that shows it.
    pub(super) fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Relaxed)
    }
}
