//! When which retrieval is due. Only in memory: the jobs themselves say when they are due, and are read at each start.
//!
//! What always holds: a job is under way once at a time, and of the jobs of one message from one origin one: what it brings, the
//! others find here. One origin never takes all places, and one that does not answer is left alone for a while, however many
//! notifications name it (row Q10).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cargomail_protocol::address::Locator;
use cargomail_protocol::limits;
use cargomail_protocol::queue::Breaker;
use cargomail_protocol::timestamp::Timestamp;
use tokio::sync::Notify;

use super::jobs::Job;
use crate::clock::Clock;

/// The longest sleep: the clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(30);

/// What is brought, and whence.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Load {
    origin: Locator,
    message_id: String,
}

/// What is due when.
#[derive(Default)]
pub(super) struct Agenda {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    due: BTreeSet<(Timestamp, String)>,
    waiting: HashMap<String, (Timestamp, Load)>,
    running: HashMap<String, Load>,
    breakers: HashMap<Locator, Breaker>,
    /// Jobs of one origin that are under way at once.
    per_origin: usize,
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
        };
        self.state().put(&job.id, load, due);
        self.changed.notify_one();
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
                () = changed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// A job is no longer under way; `next` says when it is due again.
    pub(super) fn done(&self, id: &str, next: Option<Timestamp>) {
        let mut state = self.state();
        let load = state.running.remove(id);
        if let (Some(due), Some(load), false) = (next, load, state.waiting.contains_key(id)) {
            state.put(id, load, due);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// An origin answered, whatever it said.
    pub(super) fn answered(&self, origin: &Locator) {
        self.state().breakers.remove(origin);
    }

    /// An origin could not be reached.
    pub(super) fn failed(&self, origin: &Locator, now: Timestamp, random: u32) {
        self.state()
            .breakers
            .entry(origin.clone())
            .or_default()
            .failed(now, random);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No critical section panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, id: &str, load: Load, due: Timestamp) {
        if let Some((before, _)) = self.waiting.insert(id.to_owned(), (due, load)) {
            self.due.remove(&(before, id.to_owned()));
        }
        self.due.insert((due, id.to_owned()));
    }

    /// The first job that may begin, or when to look again.
    fn take(&mut self, now: Timestamp) -> Result<String, Option<Timestamp>> {
        self.put_off(now);
        let chosen = self
            .due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .find(|(_, id)| self.may_begin(id))
            .cloned();
        let Some((due, id)) = chosen else {
            let later = self.due.iter().find(|(due, _)| *due > now);
            return Err(later.map(|(due, _)| *due));
        };
        self.due.remove(&(due, id.clone()));
        if let Some((_, load)) = self.waiting.remove(&id) {
            self.running.insert(id.clone(), load);
        }
        Ok(id)
    }

    /// Moves what is due at an origin that does not answer to when it is tried again.
    fn put_off(&mut self, now: Timestamp) {
        let closed: Vec<(String, Load, Timestamp)> = self
            .due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .filter_map(|(_, id)| {
                let (_, load) = self.waiting.get(id)?;
                let ready = self.breakers.get(&load.origin)?.ready(now);
                (ready > now).then(|| (id.clone(), load.clone(), ready))
            })
            .collect();
        for (id, load, ready) in closed {
            self.put(&id, load, ready);
        }
    }

    fn may_begin(&self, id: &str) -> bool {
        let Some((_, load)) = self.waiting.get(id) else {
            return false;
        };
        let probing = self.breakers.get(&load.origin).is_some_and(Breaker::is_probing);
        let most = if probing { 1 } else { self.per_origin };
        let there = self.running.values().filter(|other| other.origin == load.origin);
        let alike = there.clone().any(|other| other == load);
        !self.running.contains_key(id) && !alike && there.count() < most
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
