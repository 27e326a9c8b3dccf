//! Waiting and trying again: when the next try of one thing is due, and whether a destination is to be left alone.
//!
//! Exponential backoff with full jitter between half and the whole of each pause; what the other side asked for
//! (Retry-After) is never undercut. Not here: what is tried, and the clock. What always holds: tries end, at the latest
//! at the moment that was set when the thing was queued.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::timestamp::Timestamp;

/// The tries of one thing so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tries {
    /// How many failed.
    pub failed: u32,
    /// When the next is due.
    pub due: Timestamp,
    /// When trying ends.
    pub until: Timestamp,
}

/// What follows a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another try, at this moment.
    At(Timestamp),
    /// None: its time is over.
    GiveUp,
}

impl Tries {
    /// Nothing tried yet: due at once, and tried for so long.
    #[must_use]
    pub fn new(now: Timestamp, lasting: Duration) -> Self {
        Self {
            failed: 0,
            due: now,
            until: now.plus(lasting),
        }
    }

    /// Whether a try is due.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due <= now
    }

    /// The try that is about to be counted as failed came further than those before: the pauses begin anew.
    pub fn came_further(&mut self) {
        self.failed = 0;
    }

    /// Counts a failed try. `asked` is what the other side wants to be waited; `random` is any number, unpredictable to
    /// others. The last try is made at `until` at the latest.
    pub fn failed(&mut self, now: Timestamp, asked: Option<Duration>, random: u32) -> Next {
        self.failed = self.failed.saturating_add(1);
        if now >= self.until {
            return Next::GiveUp;
        }
        let pause = backoff(self.failed, random).max(asked.unwrap_or_default());
        self.due = now.plus(pause).min(self.until);
        Next::At(self.due)
    }
}

/// The pause after so many failures: between half and the whole of [`limits::BACKOFF_FIRST`], doubled with each failure,
/// up to [`limits::BACKOFF_LONGEST`].
#[must_use]
pub fn backoff(failed: u32, random: u32) -> Duration {
    let doublings = failed.saturating_sub(1).min(20);
    let whole = limits::BACKOFF_FIRST
        .saturating_mul(1 << doublings)
        .min(limits::BACKOFF_LONGEST);
    let half = whole / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Whether a destination answers: after [`limits::BREAKER_FAILURES`] failures in a row it is left alone for a while, then
/// tried with one thing at a time until it answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    closed_until: Option<Timestamp>,
}

impl Breaker {
    /// When the destination may be tried: now, or later.
    #[must_use]
    pub fn ready(&self, now: Timestamp) -> Timestamp {
        self.closed_until.map_or(now, |until| until.max(now))
    }

    /// Whether only one thing at a time is to be tried: it failed lately and has not answered since.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        self.failures >= limits::BREAKER_FAILURES
    }

    /// It answered, whatever it said.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// It could not be reached, or did not answer in time.
    pub fn failed(&mut self, now: Timestamp, random: u32) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= limits::BREAKER_FAILURES {
            let pause = backoff(self.failures - limits::BREAKER_FAILURES + 1, random);
            self.closed_until = Some(now.plus(pause.min(limits::BREAKER_LONGEST)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_seconds(1_796_389_501);

    #[test]
    fn pauses_double_with_jitter_up_to_the_longest() {
        for random in [0, 1 << 31, u32::MAX] {
            let mut whole = limits::BACKOFF_FIRST;
            for failed in 1..40 {
                let pause = backoff(failed, random);
                assert!(pause >= whole / 2 && pause <= whole, "{failed}: {pause:?}");
                whole = (whole * 2).min(limits::BACKOFF_LONGEST);
            }
        }
    }

    #[test]
    fn the_pauses_begin_anew_after_a_try_that_came_further() {
        let mut tries = Tries::new(NOON, limits::SENDING);
        for _ in 0..10 {
            tries.failed(NOON, None, u32::MAX);
        }
        assert!(tries.due > NOON.plus(limits::BACKOFF_FIRST));
        tries.came_further();
        tries.failed(NOON, None, u32::MAX);
        assert_eq!(tries.due, NOON.plus(limits::BACKOFF_FIRST));
    }

    #[test]
    fn tries_end_and_the_last_one_is_made_at_the_end() {
        let mut tries = Tries::new(NOON, limits::SENDING);
        assert!(tries.is_due(NOON));
        let mut now = NOON;
        let mut made = 0;
        while let Next::At(due) = tries.failed(now, None, 7) {
            assert!(due > now && !tries.is_due(now));
            now = due;
            made += 1;
        }
        assert_eq!(now, NOON.plus(limits::SENDING));
        assert!((100..400).contains(&made), "{made}");
    }

    #[test]
    fn what_the_other_side_asks_for_is_waited_but_not_beyond_the_end() {
        let mut tries = Tries::new(NOON, Duration::from_secs(1000));
        let asked = Duration::from_secs(600);
        assert_eq!(tries.failed(NOON, Some(asked), 0), Next::At(NOON.plus(asked)));
        let end = NOON.plus(Duration::from_secs(1000));
        assert_eq!(tries.failed(tries.due, Some(asked), 0), Next::At(end));
        assert_eq!(tries.failed(end, None, 0), Next::GiveUp);
    }

    #[test]
    fn a_destination_that_fails_is_left_alone_and_forgiven_when_it_answers() {
        let mut breaker = Breaker::default();
        for _ in 1..limits::BREAKER_FAILURES {
            breaker.failed(NOON, 0);
            assert_eq!(breaker.ready(NOON), NOON);
        }
        breaker.failed(NOON, 0);
        assert!(breaker.is_probing() && breaker.ready(NOON) > NOON);
        for _ in 0..40 {
            breaker.failed(NOON, u32::MAX);
        }
        assert_eq!(breaker.ready(NOON), NOON.plus(limits::BREAKER_LONGEST));
        breaker.answered();
        assert_eq!(breaker.ready(NOON), NOON);
        assert!(!breaker.is_probing());
    }
}
