//! The ports for time and randomness. Waiting is tokio's, which a virtual world can pause.

use std::time::{SystemTime, UNIX_EPOCH};

use cargomail_protocol::timestamp::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// Gives random octets.
pub trait Randomness: Send + Sync + 'static {
    /// Fills `buffer` with unpredictable octets.
    fn fill(&self, buffer: &mut [u8]);
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer)
            .expect("the operating system's random source does not fail once it is seeded");
    }
}

/// A UUIDv7 (RFC 9562 §5.7): sortable by time, unguessable in its last 74 bits.
pub fn uuid(clock: &dyn Clock, randomness: &dyn Randomness) -> uuid::Uuid {
    let mut random = [0_u8; 10];
    randomness.fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(clock.now().millis(), &random).into_uuid()
}
