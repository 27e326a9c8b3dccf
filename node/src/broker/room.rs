//! The memory that leaving messages take while they are given away: each may wait for a slow server for the better part of an hour.
//!
//! What always holds: small messages need no room, so large ones keep none of them waiting; the largest finds room once nothing else
//! has it.

use cargomail_protocol::limits;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Room is counted in so many octets.
const UNIT: usize = 16 * 1024;

/// Room for large messages.
pub(super) struct Room {
    free: Semaphore,
    units: usize,
}

/// Room that a message has: none if it is small. Dropped, it is free again.
#[derive(Debug)]
pub(super) struct Taken<'r> {
    _permit: Option<SemaphorePermit<'r>>,
}

impl Room {
    /// Room for so many octets.
    pub(super) fn new(octets: usize) -> Self {
        let units = octets / UNIT;
        Self {
            free: Semaphore::new(units),
            units,
        }
    }

    /// Room for a message of so many octets, unless there is not enough at this moment.
    pub(super) fn take(&self, octets: u64) -> Option<Taken<'_>> {
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        if octets <= limits::SMTP_SMALL {
            return Some(Taken { _permit: None });
        }
        let units = octets.div_ceil(UNIT).min(self.units);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = self.free.try_acquire_many(units);
        permit.ok().map(|permit| Taken {
            _permit: Some(permit),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn q02_large_messages_that_leave_share_a_room_and_small_ones_pass_them() {
        let room = Room::new(128 * 1024 * 1024);
        let (one, other) = (room.take(64 * MIB), room.take(60 * MIB));
        assert!(one.is_some() && other.is_some());
        assert!(room.take(5 * MIB).is_none());
        assert!(room.take(MIB).is_some(), "a small one");
        drop(other);
        assert!(room.take(60 * MIB).is_some(), "it was given back");
        assert!(room.take(1000 * MIB).is_none());
        drop(one);
        assert!(room.take(1000 * MIB).is_some(), "larger than all, and alone");
    }
}
