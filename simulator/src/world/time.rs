//! Time and chance in the virtual world: the one is tokio's, which stands still while anybody works and then leaps to whatever is
//! waited for next; the other follows from a seed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cargomail_node::clock::{Clock, Randomness};
use cargomail_protocol::timestamp::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

/// When every virtual world begins: 1 January 2026, midnight UTC, in milliseconds since the epoch.
const BEGIN: u64 = 1_767_225_600_000;

/// By how many milliseconds a machine's clock is wrong. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Wrong(Arc<AtomicI64>);

impl Wrong {
    /// So many seconds from now on.
    pub(super) fn by(&self, seconds: i64) {
        self.0.store(seconds.saturating_mul(1000), Ordering::Relaxed);
    }
}

/// The clock of a machine.
#[derive(Debug, Clone)]
pub(super) struct VirtualClock {
    began: Instant,
    wrong: Wrong,
}

impl VirtualClock {
    /// A clock of a world that began then.
    pub(super) fn new(began: Instant, wrong: Wrong) -> Self {
        Self { began, wrong }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let wrong = self.wrong.0.load(Ordering::Relaxed);
        Timestamp::from_millis(BEGIN.saturating_add(elapsed).saturating_add_signed(wrong))
    }
}

/// Chance of one machine or person: not the operating system's, so that it can be repeated. Never for real keys.
pub(super) struct Seeded(Mutex<StdRng>);

impl Seeded {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// Any number.
    pub(super) fn number(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }
}

impl Randomness for Seeded {
    fn fill(&self, buffer: &mut [u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(buffer);
    }
}
