//! How often something may happen: so many times a minute in all, and so many for each of those who ask.
//!
//! What always holds: no more askers are remembered than times are allowed in all, and none longer than a minute.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// Counts what happens in the running minute.
#[derive(Debug)]
pub(crate) struct Pace<Asker> {
    in_all: u32,
    each: u32,
    since: Instant,
    total: u32,
    counts: HashMap<Asker, u32>,
}

impl<Asker: Eq + Hash> Pace<Asker> {
    /// So many a minute in all, and so many for each.
    pub(crate) fn new(in_all: u32, each: u32, now: Instant) -> Self {
        Self {
            in_all,
            each,
            since: now,
            total: 0,
            counts: HashMap::new(),
        }
    }

    /// Whether it may happen once more, and if so counts it.
    pub(crate) fn take(&mut self, asker: Asker, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= MINUTE {
            self.since = now;
            self.total = 0;
            self.counts = HashMap::new();
        }
        if self.total >= self.in_all {
            return false;
        }
        let count = self.counts.entry(asker).or_default();
        if *count >= self.each {
            return false;
        }
        *count += 1;
        self.total += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_share_and_all_have_theirs_until_the_minute_is_over() {
        let start = Instant::now();
        let mut pace = Pace::new(5, 2, start);
        let mut take = |asker, second| pace.take(asker, start + Duration::from_secs(second));
        assert!(take("alice", 0) && take("alice", 1) && !take("alice", 2));
        assert!(take("bob", 3) && take("bob", 4) && take("carol", 5));
        assert!(!take("carol", 59));
        assert!(take("alice", 60));
    }

    #[test]
    fn a_crowd_of_askers_is_not_remembered_beyond_the_bound() {
        let start = Instant::now();
        let mut pace = Pace::new(10, 1, start);
        for asker in 0..100_000 {
            pace.take(asker, start);
        }
        assert_eq!(pace.counts.len(), 10);
    }
}
