//! The memory that large leaving messages take while they are given away: a slow server may make each of them wait for an hour and more.
//!
//! What always holds: all of them together take no more than there is, and those for one destination a quarter of it or one message
//! (row Q02); small messages need no room, so large ones keep none of them waiting.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cargomail_protocol::limits;

/// Room for large messages, octets.
pub(super) struct Room {
    all: u64,
    taken: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    octets: u64,
    destinations: HashMap<String, u64>,
}

/// Room that a message has. Dropped, it is free again.
pub(super) struct Taken<'r> {
    room: &'r Room,
    destination: String,
    octets: u64,
}

impl Room {
    /// Room for so many octets.
    pub(super) fn new(all: usize) -> Self {
        Self {
            all: all as u64,
            taken: Mutex::default(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Places> {
        // No critical section panics between two numbers that belong together.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for a message of so many octets, unless there is not enough at this moment. A small one needs none.
    pub(super) fn take(&self, destination: &str, octets: u64) -> Option<Taken<'_>> {
        let octets = match octets > limits::SMTP_SMALL as u64 {
            true => octets,
            false => 0,
        };
        let mut taken = self.taken();
        let there = taken.destinations.get(destination).copied().unwrap_or(0);
        let has_some = there > 0 && octets > 0;
        if octets > 0 && taken.octets > 0 && taken.octets.saturating_add(octets) > self.all
            || has_some && there.saturating_add(octets) > self.all / 4
        {
            return None;
        }
        taken.octets += octets;
        if octets > 0 {
            taken.destinations.insert(destination.to_owned(), there + octets);
        }
        Some(Taken {
            room: self,
            destination: destination.to_owned(),
            octets,
        })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        taken.octets -= self.octets;
        if let Some(there) = taken.destinations.get_mut(&self.destination) {
            *there -= self.octets;
            if *there == 0 {
                taken.destinations.remove(&self.destination);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn q02_large_messages_that_leave_share_a_room_and_small_ones_pass_them() {
        let room = Room::new(128 * 1024 * 1024);
        let (one, other) = (room.take("a.test", 64 * MIB), room.take("b.test", 60 * MIB));
        assert!(one.is_some() && other.is_some());
        assert!(room.take("c.test", 5 * MIB).is_none());
        let small = room.take("a.test", MIB);
        assert!(small.is_some());
        drop((other, small));
        assert!(room.take("c.test", 60 * MIB).is_some(), "it was given back");
        assert!(room.take("c.test", 1000 * MIB).is_none());
        drop(one);
        assert!(
            room.take("c.test", 1000 * MIB).is_some(),
            "larger than all, and alone"
        );
        assert_eq!(room.taken().octets, 0);
        assert!(room.taken().destinations.is_empty());
    }

    #[test]
    fn q02_a_slow_destination_has_a_quarter_of_the_room_or_one_message() {
        let room = Room::new(128 * 1024 * 1024);
        let slow: Vec<_> = (0..4).filter_map(|_| room.take("slow.test", 16 * MIB)).collect();
        assert_eq!(slow.len(), 2);
        let largest = room.take("other.test", 64 * MIB);
        assert!(largest.is_some() && room.take("other.test", 2 * MIB).is_none());
        assert!(room.take("bar.test", 25 * MIB).is_some());
    }
}
