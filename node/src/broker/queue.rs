//! Which entry is worked on next: the earliest that is due, of a destination that answers, with bounds on how much is done
//! at once in all and for one destination.
//!
//! Only the order is kept here, in memory; the entries themselves are records, from which the queue is made anew at each
//! start. What always holds: an entry waits once; a destination that is dead or slow holds at most a quarter of the places.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cargomail_protocol::queue::Breaker;
use cargomail_protocol::timestamp::Timestamp;
use tokio::sync::Notify;
use uuid::Uuid;

/// Entries in the order of their times, by destination.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
    places: usize,
    per_lane: usize,
}

#[derive(Default)]
struct Inner {
    lanes: HashMap<String, Lane>,
    waiting: HashMap<Uuid, (String, Timestamp)>,
    /// The places that are taken, and whose answer is waited for at each.
    running: HashMap<Place, String>,
    /// The last place that was given.
    last: u64,
}

/// A place at which one step of one entry is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place(u64);

/// The entries of one destination.
#[derive(Default)]
struct Lane {
    waiting: BTreeSet<(Timestamp, Uuid)>,
    running: usize,
    breaker: Breaker,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This entry, at this place, which is taken until [`Queue::done`].
    Work { id: Uuid, at: Place },
    /// Nothing until then, or until something changes.
    Wait(Option<Timestamp>),
}

/// What a step found out about its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// It was not asked.
    Nothing,
    /// It answered, whatever it said.
    Answered,
    /// It could not be reached, or did not answer in time.
    Away,
}

impl Queue {
    pub(super) fn new(places: usize) -> Self {
        Self {
            inner: Mutex::default(),
            changed: Notify::new(),
            places,
            per_lane: (places / 4).max(1),
        }
    }

    /// Lets an entry wait until then; if it waited already, only this holds.
    pub(super) fn put(&self, id: Uuid, lane: &str, due: Timestamp) {
        let mut inner = self.lock();
        if let Some((lane, due)) = inner.waiting.remove(&id) {
            if let Some(left) = inner.lanes.get_mut(&lane) {
                left.waiting.remove(&(due, id));
            }
            inner.tidy(&lane);
        }
        inner.waiting.insert(id, (lane.to_owned(), due));
        inner
            .lanes
            .entry(lane.to_owned())
            .or_default()
            .waiting
            .insert((due, id));
        drop(inner);
        self.changed.notify_one();
    }

    /// The next entry that may be worked on.
    pub(super) fn take(&self, now: Timestamp) -> Next {
        let mut inner = self.lock();
        if inner.running.len() >= self.places {
            return Next::Wait(None);
        }
        let open = inner.lanes.iter().filter_map(|(name, lane)| {
            let most = if lane.breaker.is_probing() {
                1
            } else {
                self.bound(name)
            };
            let (due, id) = lane.waiting.first().filter(|_| lane.running < most)?;
            Some((
                (*due).max(lane.breaker.ready(Timestamp::from_millis(0))),
                *due,
                *id,
                name,
            ))
        });
        let Some((ready, due, id, name)) = open.min() else {
            return Next::Wait(None);
        };
        if ready > now {
            return Next::Wait(Some(ready));
        }
        let name = name.clone();
        inner.waiting.remove(&id);
        if let Some(lane) = inner.lanes.get_mut(&name) {
            lane.waiting.remove(&(due, id));
            lane.running += 1;
        }
        inner.last += 1;
        let at = Place(inner.last);
        inner.running.insert(at, name);
        Next::Work { id, at }
    }

    /// Lets a place be one of another destination from now on, if that one may be asked at once; else nothing changes.
    pub(super) fn enter(&self, at: Place, lane: &str, now: Timestamp) -> bool {
        let mut inner = self.lock();
        let most = self.bound(lane);
        let open = inner.lanes.get(lane).is_none_or(|lane| {
            lane.running < most && !lane.breaker.is_probing() && lane.breaker.ready(now) <= now
        });
        let Some(before) = inner.running.get_mut(&at).filter(|_| open) else {
            return false;
        };
        let before = std::mem::replace(before, lane.to_owned());
        inner.leave(&before);
        inner.lanes.entry(lane.to_owned()).or_default().running += 1;
        drop(inner);
        self.changed.notify_one();
        true
    }

    /// Whose place it is.
    pub(super) fn lane(&self, at: Place) -> String {
        self.lock().running.get(&at).cloned().unwrap_or_default()
    }

    /// Gives a place back; put the entry again before, if it is to wait.
    pub(super) fn done(&self, at: Place, touch: Touch, now: Timestamp, random: u32) {
        let mut inner = self.lock();
        let Some(lane) = inner.running.remove(&at) else {
            return;
        };
        if let Some(left) = inner.lanes.get_mut(&lane) {
            match touch {
                Touch::Nothing => {}
                Touch::Answered => left.breaker.answered(),
                Touch::Away => left.breaker.failed(now, random),
            }
        }
        inner.leave(&lane);
        drop(inner);
        self.changed.notify_one();
    }

    /// Waits until something was put or done.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Steps within this machine, which have no destination, may fill every place.
    fn bound(&self, lane: &str) -> usize {
        if lane.is_empty() {
            self.places
        } else {
            self.per_lane
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in a critical section panics; were it to, the records still hold every entry.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// One entry less is worked on for a destination.
    fn leave(&mut self, lane: &str) {
        if let Some(left) = self.lanes.get_mut(lane) {
            left.running = left.running.saturating_sub(1);
        }
        self.tidy(lane);
    }

    /// A destination of which nothing is left is forgotten.
    fn tidy(&mut self, lane: &str) {
        let empty = |lane: &Lane| lane.waiting.is_empty() && lane.running == 0;
        if self.lanes.get(lane).is_some_and(empty) {
            self.lanes.remove(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_seconds(1_796_389_501);

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    /// The place at which this one is worked on, and no other.
    fn work(queue: &Queue, number: u128, now: Timestamp) -> Place {
        match queue.take(now) {
            Next::Work { id: next, at } if next == id(number) => at,
            other => panic!("{other:?} instead of {number}"),
        }
    }

    #[test]
    fn the_earliest_that_is_due_comes_first_and_waits_once() {
        let queue = Queue::new(8);
        let later = NOON.plus(std::time::Duration::from_secs(9));
        queue.put(id(1), "bar.test", later);
        queue.put(id(2), "bar.test", NOON);
        queue.put(id(3), "insurance.test", later);
        queue.put(id(3), "insurance.test", NOON);
        work(&queue, 2, NOON);
        work(&queue, 3, NOON);
        assert_eq!(queue.take(NOON), Next::Wait(Some(later)));
        queue.put(id(1), "other.test", NOON);
        work(&queue, 1, NOON);
        assert_eq!(queue.take(NOON), Next::Wait(None));
    }

    #[test]
    fn q02_one_destination_takes_a_quarter_of_the_places_and_a_dead_one_a_single_place() {
        let queue = Queue::new(8);
        for number in 0..20 {
            queue.put(id(number), "dead.test", NOON);
        }
        let first = work(&queue, 0, NOON);
        let second = work(&queue, 1, NOON);
        assert_eq!(queue.take(NOON), Next::Wait(None), "the others' places stay free");
        queue.put(id(99), "bar.test", NOON);
        work(&queue, 99, NOON);
        queue.done(first, Touch::Away, NOON, 0);
        queue.done(second, Touch::Away, NOON, 0);
        let third = work(&queue, 2, NOON);
        queue.done(third, Touch::Away, NOON, 0);
        let Next::Wait(Some(ready)) = queue.take(NOON) else {
            panic!("it failed three times and is left alone");
        };
        assert!(ready > NOON);
        let probe = work(&queue, 3, ready);
        assert_eq!(queue.take(ready), Next::Wait(None), "one probe at a time");
        queue.done(probe, Touch::Answered, ready, 0);
        work(&queue, 4, ready);
        work(&queue, 5, ready);
    }

    #[test]
    fn q02_an_entry_goes_on_to_a_destination_only_where_there_is_a_place() {
        let queue = Queue::new(8);
        let own = |number| {
            queue.put(id(number), "", NOON);
            work(&queue, number, NOON)
        };
        let places = [own(0), own(1), own(2)];
        assert!(queue.enter(places[0], "slow.test", NOON));
        assert!(queue.enter(places[1], "slow.test", NOON));
        assert!(
            !queue.enter(places[2], "slow.test", NOON),
            "a quarter of the places is taken"
        );
        assert!(queue.enter(places[2], "bar.test", NOON));
        assert_eq!(queue.lane(places[2]), "bar.test");
        queue.done(places[0], Touch::Answered, NOON, 0);
        assert!(queue.enter(own(3), "slow.test", NOON));
        // Something waits for it, so what is found out about it is remembered.
        queue.put(id(99), "dead.test", NOON.plus(std::time::Duration::from_secs(9)));
        for number in 4..7 {
            let place = own(number);
            assert!(queue.enter(place, "dead.test", NOON));
            queue.done(place, Touch::Away, NOON, 0);
        }
        assert!(!queue.enter(own(7), "dead.test", NOON), "it is left alone");
    }

    #[test]
    fn no_more_is_done_at_once_than_there_are_places() {
        let queue = Queue::new(2);
        for number in 0..5 {
            queue.put(id(number), "", NOON);
        }
        let first = work(&queue, 0, NOON);
        work(&queue, 1, NOON);
        assert_eq!(queue.take(NOON), Next::Wait(None));
        queue.done(first, Touch::Nothing, NOON, 0);
        work(&queue, 2, NOON);
    }
}
