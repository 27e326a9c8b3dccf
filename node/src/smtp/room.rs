//! The memory that the messages take which are coming in, and who has how much of it (row S07).
//!
//! What always holds: all of them together take no more than there is; those of one caller, over however many connections, take a
//! part of it at most; and what is larger than [`limits::SMTP_SMALL`] leaves a part for what is not.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use cargomail_protocol::limits;

/// The memory of one server.
pub(super) struct Memory {
    /// For all messages together.
    all: usize,
    /// For all messages, as far as large ones count.
    large: usize,
    /// For those of one caller.
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    octets: usize,
    callers: HashMap<IpAddr, usize>,
}

impl Memory {
    /// So many octets, for messages of which the largest has `largest`.
    pub(super) fn new(all: usize, largest: usize) -> Arc<Self> {
        let part = all / limits::SMTP_MEMORY_PARTS;
        Arc::new(Self {
            all,
            large: (all - part).max(largest).min(all),
            each: part.max(largest),
            taken: Mutex::default(),
        })
    }

    /// Room for the messages of one connection, one after the other; none is taken yet.
    pub(super) fn room(self: &Arc<Self>, caller: IpAddr) -> Room {
        Room {
            memory: self.clone(),
            caller,
            octets: 0,
        }
    }
}

/// What one connection's message takes; given back with it.
pub(super) struct Room {
    memory: Arc<Memory>,
    caller: IpAddr,
    octets: usize,
}

impl Room {
    /// Makes it so many octets. False when there are none to be had: then it is what it was.
    pub(super) fn resize(&mut self, octets: usize) -> bool {
        if octets == self.octets {
            return true;
        }
        let memory = &self.memory;
        let mut taken = memory.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_caller = taken.callers.get(&self.caller).copied().unwrap_or_default();
        let (of_all, of_caller) = (
            taken.octets - self.octets + octets,
            of_caller - self.octets + octets,
        );
        let most = match octets > limits::SMTP_SMALL {
            true => memory.large,
            false => memory.all,
        };
        if octets > self.octets && (of_all > most || of_caller > memory.each) {
            return false;
        }
        taken.octets = of_all;
        match of_caller {
            0 => taken.callers.remove(&self.caller),
            of_caller => taken.callers.insert(self.caller, of_caller),
        };
        self.octets = octets;
        true
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn caller(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn s07_one_caller_has_a_part_of_the_memory_over_all_of_its_connections() {
        let memory = Memory::new(256 * MIB, 64 * MIB);
        let (mut one, mut other) = (memory.room(caller(1)), memory.room(caller(1)));
        assert!(one.resize(64 * MIB));
        assert!(!other.resize(1));
        let mut bob = memory.room(caller(2));
        assert!(bob.resize(64 * MIB));
        assert!(one.resize(32 * MIB));
        assert!(other.resize(32 * MIB) && !other.resize(32 * MIB + 1));
        drop(one);
        assert!(other.resize(64 * MIB));
    }

    #[test]
    fn s07_large_messages_leave_room_for_small_ones() {
        let memory = Memory::new(256 * MIB, 64 * MIB);
        let mut large: Vec<Room> = (1..=3).map(|last| memory.room(caller(last))).collect();
        assert!(large.iter_mut().all(|room| room.resize(64 * MIB)));
        let mut room = memory.room(caller(4));
        assert!(room.resize(MIB), "a small one");
        assert!(!room.resize(MIB + 1), "which stays small");
        large.pop();
        assert!(room.resize(63 * MIB));
    }

    #[test]
    fn s07_all_together_take_no_more_than_there_is_and_give_everything_back() {
        let memory = Memory::new(10_000, 4_000);
        let mut rooms: Vec<Room> = (1..=3).map(|last| memory.room(caller(last))).collect();
        assert!(rooms[0].resize(4_000) && rooms[1].resize(4_000));
        assert!(!rooms[2].resize(2_001) && rooms[2].resize(2_000));
        rooms.clear();
        let taken = memory.taken.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(taken.octets == 0 && taken.callers.is_empty());
    }

    #[test]
    fn the_largest_message_always_fits_alone() {
        for (all, largest) in [(64, 64), (100, 80), (256 * MIB, 200 * MIB)] {
            let memory = Memory::new(all, largest);
            assert!(memory.room(caller(1)).resize(largest), "{all} {largest}");
        }
    }
}
