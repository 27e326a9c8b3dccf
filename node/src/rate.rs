//! How often somebody may do something.
//!
//! The clock is tokio's: nobody sets it, and a simulation moves it.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The time since then.
#[derive(Clone)]
struct Since(Instant);

impl Clock for Since {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What each of several may do.
pub(crate) struct Rate<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, DefaultKeyedStateStore<K>, Since, NoOpMiddleware<Duration>>,
    clock: Since,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// So many at once, and one more after each such time.
    pub(crate) fn new(burst: u32, pause: Duration) -> Self {
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(pause).unwrap_or(Quota::per_second(burst));
        let clock = Since(Instant::now());
        Self {
            limiter: RateLimiter::dashmap_with_clock(quota.allow_burst(burst), clock.clone()),
            clock,
        }
    }

    /// Lets one pass, or says how long to wait.
    pub(crate) fn pass(&self, who: &K) -> Result<(), Duration> {
        let passed = self.limiter.check_key(who);
        passed.map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets those who have rested, when there are more than so many.
    pub(crate) fn tidy(&self, most: usize) {
        if self.limiter.len() > most {
            self.limiter.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_pass_at_once_and_one_more_after_each_pause() {
        let rate = Rate::new(3, Duration::from_secs(10));
        let passed = |who: &'static str| (0..9).filter(|_| rate.pass(&who).is_ok()).count();
        assert_eq!((passed("alice"), passed("bob")), (3, 3));
        assert_eq!(rate.pass(&"alice"), Err(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(rate.pass(&"alice"), Err(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!((passed("alice"), passed("bob")), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_rested_is_forgotten_when_there_are_too_many_and_nobody_else() {
        let rate = Rate::new(1, Duration::from_secs(10));
        for who in 0..5 {
            rate.pass(&who).unwrap();
        }
        tokio::time::advance(Duration::from_secs(30)).await;
        rate.pass(&5).unwrap();
        rate.tidy(6);
        assert_eq!(rate.limiter.len(), 6);
        rate.tidy(5);
        assert_eq!(rate.limiter.len(), 1);
        assert!(rate.pass(&5).is_err());
    }
}
