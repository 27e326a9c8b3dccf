//! When which retrieval is due. Only in memory: the jobs themselves say when they are due, and are read at each start.
//!
//! What always holds: a job is under way once at a time, and of the jobs of one message from one origin one: what it brings, the
//! others find here. One origin never takes all places, and one that does not answer is left alone for a while, however many
//! notifications name it (row Q10).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::limits;
use cargomail_protocol::queue::Breaker;
use cargomail_protocol::timestamp::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::jobs::Job;
use super::who;
use crate::clock::Clock;

/// The longest sleep: the clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(30);

/// What is brought, whence, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Load {
    origin: Locator,
    message_id: String,
    /// As it stands in keys: however it is spelled, it is one person.
    recipient: String,
}

/// What is under way.
struct Running {
    load: Load,
    stop: CancellationToken,
}

/// What is due when.
#[derive(Default)]
pub(super) struct Agenda {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// What waits, and what is under way, by origin: with many jobs there are still few origins.
    lanes: HashMap<Locator, Lane>,
    waiting: HashMap<String, (Timestamp, Load)>,
    running: HashMap<String, Running>,
    /// Jobs of one origin that are under way at once.
    per_origin: usize,
}

/// The jobs of one origin.
#[derive(Default)]
struct Lane {
    due: BTreeSet<(Timestamp, String)>,
    /// The messages whose jobs are under way.
    running: Vec<String>,
    breaker: Breaker,
    /// How many jobs there are for each recipient, waiting or under way.
    recipients: HashMap<String, u32>,
}

impl Agenda {
    /// For so many jobs at once, one of which at least is never the same origin's.
    pub(super) fn new(places: usize) -> Self {
        let per_origin = limits::RETRIEVALS_PER_ORIGIN.min(places.saturating_sub(1)).max(1);
        let agenda = Self::default();
        agenda.state().per_origin = per_origin;
        agenda
    }

    /// Sets when a job is due; one that is under way becomes due again when it is done.
    pub(super) fn put(&self, job: &Job, due: Timestamp) {
        let load = Load {
            origin: job.origin.clone(),
            message_id: job.message_id.clone(),
            recipient: who(&job.recipient),
        };
        self.state().put(&job.id, load, due);
        self.changed.notify_one();
    }

    /// How many jobs of an origin there are for a recipient.
    pub(super) fn open(&self, origin: &Locator, recipient: &Address) -> u32 {
        let state = self.state();
        let lane = state.lanes.get(origin);
        let count = lane.and_then(|lane| lane.recipients.get(&who(recipient)));
        count.copied().unwrap_or(0)
    }

    /// The next job that is due, which is under way from now on. Waits for it.
    pub(super) async fn next(&self, clock: &dyn Clock) -> String {
        loop {
            let changed = self.changed.notified();
            let now = clock.now();
            let taken = self.state().take(now);
            let pause = match taken {
                Ok(id) => return id,
                Err(due) => due.map_or(NAP, |due| due.since(now).min(NAP)),
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// A job is no longer under way; `next` says when it is due again.
    pub(super) fn done(&self, id: &str, next: Option<Timestamp>) {
        self.state().end(id, next);
        self.changed.notify_one();
    }

    /// Says when a job that is under way has to be left.
    pub(super) fn stopping(&self, id: &str) -> CancellationToken {
        let state = self.state();
        let running = state.running.get(id);
        running.map_or_else(CancellationToken::new, |running| running.stop.clone())
    }

    /// A job has come to its end otherwise: it is left, and does not wait any more.
    pub(super) fn stop(&self, id: &str) {
        self.state().stop(id);
        self.changed.notify_one();
    }

    /// An origin answered, whatever it said.
    pub(super) fn answered(&self, origin: &Locator) {
        if let Some(lane) = self.state().lanes.get_mut(origin) {
            lane.breaker.answered();
        }
    }

    /// An origin could not be reached.
    pub(super) fn failed(&self, origin: &Locator, now: Timestamp, random: u32) {
        if let Some(lane) = self.state().lanes.get_mut(origin) {
            lane.breaker.failed(now, random);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No critical section panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, id: &str, load: Load, due: Timestamp) {
        let is_new = self.take_out(id).is_none() && !self.running.contains_key(id);
        let lane = self.lanes.entry(load.origin.clone()).or_default();
        if is_new {
            *lane.recipients.entry(load.recipient.clone()).or_default() += 1;
        }
        lane.due.insert((due, id.to_owned()));
        self.waiting.insert(id.to_owned(), (due, load));
    }

    /// A job does not wait any more.
    fn take_out(&mut self, id: &str) -> Option<Load> {
        let (due, load) = self.waiting.remove(id)?;
        if let Some(lane) = self.lanes.get_mut(&load.origin) {
            lane.due.remove(&(due, id.to_owned()));
        }
        Some(load)
    }

    /// The first job that may begin, or when to look again.
    fn take(&mut self, now: Timestamp) -> Result<String, Option<Timestamp>> {
        let chosen = self.lanes.values().filter_map(|lane| self.first(lane)).min();
        let Some((ready, _, id)) = chosen else {
            return Err(None);
        };
        if ready > now {
            return Err(Some(ready));
        }
        let id = id.clone();
        if let Some(load) = self.take_out(&id) {
            let lane = self.lanes.entry(load.origin.clone()).or_default();
            lane.running.push(load.message_id.clone());
            let stop = CancellationToken::new();
            self.running.insert(id.clone(), Running { load, stop });
        }
        Ok(id)
    }

    /// The first job of an origin that may begin: from when on, and when it is due.
    fn first<'a>(&self, lane: &'a Lane) -> Option<(Timestamp, Timestamp, &'a String)> {
        let most = match lane.breaker.is_probing() {
            true => 1,
            false => self.per_origin,
        };
        if lane.running.len() >= most {
            return None;
        }
        let may_begin = |id: &String| {
            let (_, load) = self.waiting.get(id)?;
            let alike = lane.running.contains(&load.message_id);
            (!alike && !self.running.contains_key(id)).then_some(())
        };
        let (due, id) = lane.due.iter().find(|(_, id)| may_begin(id).is_some())?;
        // An origin that does not answer is left alone until then.
        let ready = lane.breaker.ready(Timestamp::from_millis(0));
        Some((ready.max(*due), *due, id))
    }

    /// A job is not under way any more, and waits until then. What is known of an origin lasts as long as there are jobs of it.
    fn end(&mut self, id: &str, next: Option<Timestamp>) {
        let again = next.filter(|_| !self.waiting.contains_key(id));
        let load = self.running.get(id).map(|running| running.load.clone());
        if let (Some(due), Some(load)) = (again, load) {
            self.put(id, load, due);
        }
        let Some(Running { load, .. }) = self.running.remove(id) else {
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&load.origin)
            && let Some(at) = lane.running.iter().position(|other| *other == load.message_id)
        {
            lane.running.swap_remove(at);
        }
        if !self.waiting.contains_key(id) {
            self.leave(&load);
        }
    }

    fn stop(&mut self, id: &str) {
        let waited = self.take_out(id);
        match (self.running.get(id), waited) {
            (Some(running), _) => running.stop.cancel(),
            (None, Some(load)) => self.leave(&load),
            (None, None) => {}
        }
    }

    /// A job neither waits nor is under way, and is counted no more.
    fn leave(&mut self, load: &Load) {
        let Some(lane) = self.lanes.get_mut(&load.origin) else {
            return;
        };
        if let Some(count) = lane.recipients.get_mut(&load.recipient) {
            *count = count.saturating_sub(1);
            lane.recipients.retain(|_, count| *count > 0);
        }
        if lane.due.is_empty() && lane.running.is_empty() {
            self.lanes.remove(&load.origin);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOON: Timestamp = Timestamp::from_seconds(1_796_389_501);

    fn hospital() -> Locator {
        Locator::parse("mailbox.hospital.test").unwrap()
    }

    /// Of a message of its own.
    fn load(id: &str, origin: &Locator) -> Load {
        Load {
            origin: origin.clone(),
            message_id: format!("<{id}@foo.test>"),
            recipient: "bob@bar.test".to_owned(),
        }
    }

    fn put(agenda: &Agenda, id: &str, origin: &Locator, due: Timestamp) {
        agenda.state().put(id, load(id, origin), due);
    }

    fn later(seconds: u64) -> Timestamp {
        NOON.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_due_first_comes_first_and_once_at_a_time() {
        let agenda = Agenda::new(limits::RETRIEVALS_PER_ORIGIN + 1);
        put(&agenda, "b", &hospital(), later(2));
        put(&agenda, "a", &hospital(), later(1));
        let take = |now| agenda.state().take(now);
        assert_eq!(take(NOON), Err(Some(later(1))));
        assert_eq!(take(later(5)), Ok("a".to_owned()));
        put(&agenda, "a", &hospital(), later(3));
        assert_eq!(take(later(5)), Ok("b".to_owned()));
        assert_eq!(take(later(5)), Err(None));
        // Due again meanwhile: what its end says does not move it.
        agenda.done("a", Some(later(100)));
        assert_eq!(take(later(5)), Ok("a".to_owned()));
        agenda.done("a", None);
        agenda.done("b", Some(later(7)));
        assert_eq!(take(later(5)), Err(Some(later(7))));
    }

    #[test]
    fn every_job_is_counted_once_while_it_waits_or_is_under_way() {
        let agenda = Agenda::new(limits::RETRIEVALS_PER_ORIGIN + 1);
        let bob = Address::parse("bob@bar.test").unwrap();
        let open = || agenda.open(&hospital(), &bob);
        put(&agenda, "a", &hospital(), NOON);
        put(&agenda, "a", &hospital(), later(1));
        put(&agenda, "b", &hospital(), later(2));
        assert_eq!(open(), 2);
        assert!(agenda.state().take(later(5)).is_ok());
        assert_eq!(open(), 2);
        // Due again while it is under way, and again when it is done.
        put(&agenda, "a", &hospital(), later(3));
        assert_eq!(open(), 2);
        agenda.done("a", Some(later(100)));
        assert_eq!(open(), 2);
        for id in ["b", "a"] {
            assert_eq!(agenda.state().take(later(5)), Ok(id.to_owned()));
        }
        agenda.done("a", Some(later(9)));
        assert_eq!(open(), 2);
        agenda.done("b", None);
        assert_eq!(open(), 1);
        assert!(agenda.state().take(later(9)).is_ok());
        agenda.done("a", None);
        assert_eq!(open(), 0);
        assert!(
            agenda.state().lanes.is_empty(),
            "nothing is left of an origin without jobs"
        );
    }

    #[test]
    fn a_job_that_is_stopped_is_left_and_counted_no_more() {
        let agenda = Agenda::new(limits::RETRIEVALS_PER_ORIGIN + 1);
        let bob = Address::parse("bob@bar.test").unwrap();
        let open = || agenda.open(&hospital(), &bob);
        put(&agenda, "a", &hospital(), NOON);
        put(&agenda, "b", &hospital(), later(1));
        assert_eq!(agenda.state().take(NOON), Ok("a".to_owned()));
        let (stopping, other) = (agenda.stopping("a"), agenda.stopping("b"));
        agenda.stop("b");
        assert_eq!(open(), 1);
        // Due again while it is under way.
        put(&agenda, "a", &hospital(), later(1));
        agenda.stop("a");
        assert!(stopping.is_cancelled() && !other.is_cancelled());
        assert_eq!(open(), 1, "it is under way until it is left");
        agenda.done("a", None);
        assert_eq!(open(), 0);
        agenda.stop("a");
        assert_eq!(agenda.state().take(later(9)), Err(None));
        assert!(agenda.state().lanes.is_empty());
    }

    #[test]
    fn q10_of_few_places_one_is_left_to_others() {
        for (places, theirs) in [(1, 1), (2, 1), (4, 3), (99, limits::RETRIEVALS_PER_ORIGIN)] {
            let agenda = Agenda::new(places);
            (0..9).for_each(|job| put(&agenda, &format!("{job}"), &hospital(), NOON));
            let taken = (0..9).filter(|_| agenda.state().take(NOON).is_ok()).count();
            assert_eq!(taken, theirs, "{places}");
        }
    }

    #[test]
    fn of_the_jobs_of_one_message_from_one_origin_one_is_under_way() {
        let agenda = Agenda::new(limits::RETRIEVALS_PER_ORIGIN + 1);
        let clinic = Locator::parse("mailbox.clinic.test").unwrap();
        for id in ["a", "b"] {
            agenda.state().put(id, load("one", &hospital()), NOON);
        }
        agenda.state().put("c", load("one", &clinic), NOON);
        agenda.state().put("d", load("another", &hospital()), NOON);
        let take = || agenda.state().take(NOON);
        assert_eq!(
            [take(), take(), take()],
            ["a", "c", "d"].map(|id| Ok(id.to_owned()))
        );
        assert_eq!(take(), Err(None));
        agenda.done("a", None);
        assert_eq!(take(), Ok("b".to_owned()));
    }

    #[test]
    fn q10_one_origin_never_takes_all_places_and_a_dead_one_is_left_alone() {
        let agenda = Agenda::new(limits::RETRIEVALS_PER_ORIGIN + 1);
        let other = Locator::parse("mailbox.clinic.test").unwrap();
        for job in 0..20 {
            put(&agenda, &format!("a{job:02}"), &hospital(), NOON);
        }
        put(&agenda, "b", &other, NOON);
        let take = |now| agenda.state().take(now);
        for _ in 0..limits::RETRIEVALS_PER_ORIGIN {
            assert!(take(NOON).unwrap().starts_with('a'));
        }
        assert_eq!(take(NOON), Ok("b".to_owned()));
        assert_eq!(take(NOON), Err(None));
        for job in 0..limits::RETRIEVALS_PER_ORIGIN {
            agenda.failed(&hospital(), NOON, 0);
            agenda.done(&format!("a{job:02}"), None);
        }
        // Everything else for this origin moved behind the pause, and then one at a time is tried.
        let Err(Some(ready)) = take(NOON) else {
            panic!("nothing is put off")
        };
        assert!(ready > NOON);
        assert!(take(ready).is_ok());
        assert_eq!(take(ready), Err(None));
        agenda.answered(&hospital());
        assert!(take(ready).is_ok());
    }
}
