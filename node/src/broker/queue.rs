//! Which entry is worked on next: the earliest that is due, of a destination that answers, with bounds on how much is done
//! at once in all and for one destination.
//!
//! Only the order is kept here, in memory; the entries themselves are records, from which the queue is made anew at each
//! start. What always holds: an entry waits once; a destination that is dead or slow holds at most a quarter of the places; so do
//! all reports together, wherever they go, because strangers decide how many there are and to whom.

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
    quarter: usize,
}

/// What an entry is, as far as places go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Somebody's message.
    Mail,
    /// A report, which nobody has sent.
    Report,
}

#[derive(Default)]
struct Inner {
    lanes: HashMap<String, Lane>,
    waiting: HashMap<Uuid, (String, Kind, Timestamp)>,
    /// The places that are taken, and whose answer is waited for at each.
    running: HashMap<Place, (String, Kind)>,
    /// How many of them reports have.
    reporting: usize,
    /// The last place that was given.
    last: u64,
}

/// A place at which one step of one entry is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place(u64);

/// The entries of one destination.
#[derive(Default)]
struct Lane {
    mail: BTreeSet<(Timestamp, Uuid)>,
    reports: BTreeSet<(Timestamp, Uuid)>,
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
            quarter: (places / 4).max(1),
        }
    }

    /// Lets an entry wait until then; if it waited already, only this holds.
    pub(super) fn put(&self, id: Uuid, lane: &str, kind: Kind, due: Timestamp) {
        let mut inner = self.lock();
        if let Some((lane, kind, due)) = inner.waiting.remove(&id) {
            if let Some(left) = inner.lanes.get_mut(&lane) {
                left.waiting(kind).remove(&(due, id));
            }
            inner.tidy(&lane);
        }
        inner.waiting.insert(id, (lane.to_owned(), kind, due));
        inner
            .lanes
            .entry(lane.to_owned())
            .or_default()
            .waiting(kind)
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
            if lane.running >= most {
                return None;
            }
            let mail = lane.mail.first().map(|first| (first, Kind::Mail));
            let report = lane.reports.first().filter(|_| inner.reporting < self.quarter);
            let (&(due, id), kind) = mail
                .into_iter()
                .chain(report.map(|first| (first, Kind::Report)))
                .min()?;
            let ready = due.max(lane.breaker.ready(Timestamp::from_millis(0)));
            Some((ready, due, id, name, kind))
        });
        let Some((ready, due, id, name, kind)) = open.min() else {
            return Next::Wait(None);
        };
        if ready > now {
            return Next::Wait(Some(ready));
        }
        let name = name.clone();
        inner.waiting.remove(&id);
        if let Some(lane) = inner.lanes.get_mut(&name) {
            lane.waiting(kind).remove(&(due, id));
            lane.running += 1;
        }
        inner.reporting += usize::from(kind == Kind::Report);
        inner.last += 1;
        let at = Place(inner.last);
        inner.running.insert(at, (name, kind));
        Next::Work { id, at }
    }

    /// Lets a place be one of another destination from now on, if that one may be asked at once; else nothing changes.
    pub(super) fn enter(&self, at: Place, lane: &str, now: Timestamp) -> bool {
        let mut inner = self.lock();
        let most = self.bound(lane);
        let open = inner.lanes.get(lane).is_none_or(|lane| {
            lane.running < most && !lane.breaker.is_probing() && lane.breaker.ready(now) <= now
        });
        let Some((before, _)) = inner.running.get_mut(&at).filter(|_| open) else {
            return false;
        };
        let before = std::mem::replace(before, lane.to_owned());
        inner.leave(&before);
        inner.lanes.entry(lane.to_owned()).or_default().running += 1;
        drop(inner);
        self.changed.notify_one();
        true
    }

    /// Lets the entry of a place wait once more, for the destination whose place it is.
    pub(super) fn put_back(&self, id: Uuid, at: Place, due: Timestamp) {
        let whose = self.lock().running.get(&at).cloned();
        if let Some((lane, kind)) = whose {
            self.put(id, &lane, kind, due);
        }
    }

    /// Gives a place back; put the entry again before, if it is to wait.
    pub(super) fn done(&self, at: Place, touch: Touch, now: Timestamp, random: u32) {
        let mut inner = self.lock();
        let Some((lane, kind)) = inner.running.remove(&at) else {
            return;
        };
        inner.reporting -= usize::from(kind == Kind::Report);
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
            self.quarter
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
        let empty = |lane: &Lane| lane.mail.is_empty() && lane.reports.is_empty() && lane.running == 0;
        if self.lanes.get(lane).is_some_and(empty) {
            self.lanes.remove(lane);
        }
    }
}

impl Lane {
    fn waiting(&mut self, kind: Kind) -> &mut BTreeSet<(Timestamp, Uuid)> {
        match kind {
            Kind::Mail => &mut self.mail,
            Kind::Report => &mut self.reports,
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
        queue.put(id(1), "bar.test", Kind::Mail, later);
        queue.put(id(2), "bar.test", Kind::Mail, NOON);
        queue.put(id(3), "insurance.test", Kind::Mail, later);
        queue.put(id(3), "insurance.test", Kind::Mail, NOON);
        work(&queue, 2, NOON);
        work(&queue, 3, NOON);
        assert_eq!(queue.take(NOON), Next::Wait(Some(later)));
        queue.put(id(1), "other.test", Kind::Mail, NOON);
        work(&queue, 1, NOON);
        assert_eq!(queue.take(NOON), Next::Wait(None));
    }

    #[test]
    fn q02_one_destination_takes_a_quarter_of_the_places_and_a_dead_one_a_single_place() {
        let queue = Queue::new(8);
        for number in 0..20 {
            queue.put(id(number), "dead.test", Kind::Mail, NOON);
        }
        let first = work(&queue, 0, NOON);
        let second = work(&queue, 1, NOON);
        assert_eq!(queue.take(NOON), Next::Wait(None), "the others' places stay free");
        queue.put(id(99), "bar.test", Kind::Mail, NOON);
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
            queue.put(id(number), "", Kind::Mail, NOON);
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
        queue.put_back(id(2), places[2], NOON);
        work(&queue, 2, NOON);
        assert!(
            !queue.enter(places[0], "bar.test", NOON),
            "it waited where it was, and has both places there"
        );
        queue.done(places[0], Touch::Answered, NOON, 0);
        assert!(queue.enter(own(3), "slow.test", NOON));
        // Something waits for it, so what is found out about it is remembered.
        queue.put(
            id(99),
            "dead.test",
            Kind::Mail,
            NOON.plus(std::time::Duration::from_secs(9)),
        );
        for number in 4..7 {
            let place = own(number);
            assert!(queue.enter(place, "dead.test", NOON));
            queue.done(place, Touch::Away, NOON, 0);
        }
        assert!(!queue.enter(own(7), "dead.test", NOON), "it is left alone");
    }

    #[test]
    fn q02_reports_take_a_quarter_of_the_places_together_however_many_names_they_go_to() {
        let queue = Queue::new(8);
        for number in 0..20 {
            queue.put(id(number), &format!("fresh-{number}.test"), Kind::Report, NOON);
        }
        let first = work(&queue, 0, NOON);
        work(&queue, 1, NOON);
        assert_eq!(
            queue.take(NOON),
            Next::Wait(None),
            "the other places are for people"
        );
        for number in 50..56 {
            queue.put(id(number), &format!("people-{number}.test"), Kind::Mail, NOON);
            work(&queue, number, NOON);
        }
        queue.put_back(id(0), first, NOON);
        queue.done(first, Touch::Away, NOON, 0);
        work(&queue, 0, NOON);
        assert_eq!(queue.take(NOON), Next::Wait(None));
    }

    #[test]
    fn a_report_does_not_stand_in_the_way_of_mail_to_the_same_destination() {
        let queue = Queue::new(4);
        let later = NOON.plus(std::time::Duration::from_secs(9));
        queue.put(id(1), "a.test", Kind::Report, NOON);
        queue.put(id(2), "bar.test", Kind::Report, NOON);
        queue.put(id(3), "bar.test", Kind::Mail, later);
        let report = work(&queue, 1, NOON);
        work(&queue, 3, later);
        queue.done(report, Touch::Answered, later, 0);
        assert_eq!(queue.take(later), Next::Wait(None), "bar.test has its quarter");
    }

    #[test]
    fn no_more_is_done_at_once_than_there_are_places() {
        let queue = Queue::new(2);
        for number in 0..5 {
            queue.put(id(number), "", Kind::Mail, NOON);
        }
        let first = work(&queue, 0, NOON);
        work(&queue, 1, NOON);
        assert_eq!(queue.take(NOON), Next::Wait(None));
        queue.done(first, Touch::Nothing, NOON, 0);
        work(&queue, 2, NOON);
    }
}
