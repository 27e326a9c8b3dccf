//! The ledger performed: entries are committed together with the records that they tell of, or not at all.
//!
//! Not here: the form of entries, which is [`cargomail_protocol::ledger`]'s. What always holds: one commit holds the
//! service's own records, the entries and the new head; so nothing happens without its entry, and no entry without its
//! act. Changes that are asked for while one is being made durable are made together in the next one, as far as none of them
//! touches what another one of them writes; the conditions of each are judged for it alone.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, PoisonError};

use cargomail_protocol::ledger::{Checker, Entry, Event, Head, LedgerError};
use cargomail_protocol::limits;
use tokio::sync::{Mutex, oneshot};
use tracing::Instrument;

use crate::clock::Clock;
use crate::store::{CommitError, Cond, Key, Op, RecordStore, StoreError, Version, typed};

/// `ledger/<index, 20 digits>` → the entry's octets.
const ENTRIES: &str = "ledger/";
/// The head, apart from the entries.
const HEAD: &str = "ledger-head";
/// Entries read at a time.
const PAGE: usize = 256;
/// Octets of a change above which no other one is made with it: far below what a commit may have.
const TOGETHER: usize = limits::COMMIT / 8;
/// How often a change is made anew because another process wrote the head.
const ROUNDS: usize = 32;

/// Why a ledger cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It was changed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The ledger of this node. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    records: Arc<dyn RecordStore>,
    clock: Arc<dyn Clock>,
    /// The head with its record's version; whoever holds the lock writes the next entry.
    head: Arc<Mutex<(Head, Option<Version>)>>,
    /// Changes that wait for whoever holds the lock.
    waiting: Arc<std::sync::Mutex<VecDeque<Asked>>>,
}

/// A change that somebody waits for.
struct Asked {
    when: Vec<Cond>,
    then: Vec<Op>,
    events: Vec<Event>,
    answer: oneshot::Sender<Result<Version, CommitError>>,
}

impl Ledger {
    /// The ledger in these records.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(records: Arc<dyn RecordStore>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let head = read_head(&*records).await?;
        Ok(Self {
            records,
            clock,
            head: Arc::new(Mutex::new(head)),
            waiting: Arc::default(),
        })
    }

    /// Makes the changes and writes the entries that tell of them, all or none.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit(
        &self,
        when: Vec<Cond>,
        then: Vec<Op>,
        events: Vec<Event>,
    ) -> Result<Version, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.waiting().push_back(Asked {
            when,
            then,
            events,
            answer,
        });
        // A task of its own: whoever asks may go away, and others' changes are made with this one.
        let ledger = self.clone();
        tokio::spawn(async move { ledger.work().await }.in_current_span());
        answered
            .await
            .map_err(|_| CommitError::Store(StoreError::Closed))?
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<Asked>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one group of the changes that wait, if there are any.
    async fn work(&self) {
        let mut head = self.head.lock().await;
        let group = group(&mut self.waiting());
        if !group.is_empty() {
            self.write(&mut head, group).await;
        }
    }

    /// Makes the changes of a group, except those whose conditions do not hold.
    async fn write(&self, head: &mut (Head, Option<Version>), mut group: Vec<Asked>) {
        let mut rounds = 0;
        while !group.is_empty() {
            let (mut next, version) = *head;
            let (mut when, mut then) = (Vec::new(), Vec::new());
            for asked in &group {
                when.extend(asked.when.iter().cloned());
                then.extend(asked.then.iter().cloned());
                for event in &asked.events {
                    let key = format!("{ENTRIES}{:020}", next.entries);
                    let (octets, after) = next.next(self.clock.now(), event.clone());
                    then.push(Op::Put(key, octets.into()));
                    next = after;
                }
            }
            when.push(match version {
                Some(version) => Cond::Is(HEAD.to_owned(), version),
                None => Cond::Absent(HEAD.to_owned()),
            });
            then.push(Op::Put(HEAD.to_owned(), typed::encode(&next)));
            match self.records.commit(when, then).await {
                Ok(version) => {
                    *head = (next, Some(version));
                    return answer(group, |_| Ok(version));
                }
                // Another process of the same deployment wrote: begin from what is there.
                Err(CommitError::Conflict(key)) if key == HEAD => {
                    rounds += 1;
                    match read_head(&*self.records).await {
                        Ok(found) if rounds < ROUNDS => *head = found,
                        Ok(found) => {
                            *head = found;
                            return answer(group, |_| Err(CommitError::Conflict(HEAD.to_owned())));
                        }
                        Err(error) => return fail(group, error),
                    }
                }
                Err(CommitError::Conflict(key)) => {
                    let (refused, rest) = group
                        .into_iter()
                        .partition(|asked| asked.when.iter().any(|cond| *subject(cond) == key));
                    answer(refused, |_| Err(CommitError::Conflict(key.clone())));
                    group = rest;
                }
                Err(CommitError::Store(error)) => return fail(group, error),
            }
        }
    }

    /// The octets of entries from `first` on, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn entries(&self, first: u64, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let after = first.checked_sub(1).map(|index| format!("{ENTRIES}{index:020}"));
        let page = self.records.list(ENTRIES, after.as_deref(), limit).await?;
        Ok(page.into_iter().map(|record| record.value.to_vec()).collect())
    }

    /// The head.
    pub async fn head(&self) -> Head {
        self.head.lock().await.0
    }

    /// Reads and checks every entry, and gives each to `each`.
    ///
    /// # Errors
    /// [`VerifyError::Ledger`] names the first entry that is not what was written.
    pub async fn verify(&self, mut each: impl FnMut(&Entry)) -> Result<Head, VerifyError> {
        let head = self.head().await;
        let mut checker = Checker::new();
        let mut next = 0;
        while next < head.entries {
            let page = self.entries(next, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for octets in page
                .iter()
                .take(usize::try_from(head.entries - next).unwrap_or(PAGE))
            {
                each(&checker.push(octets)?);
                next += 1;
            }
        }
        checker.finish(&head)?;
        Ok(head)
    }
}

/// The first change that waits, and those behind it that touch nothing that one before them writes, and do not read it either.
fn group(waiting: &mut VecDeque<Asked>) -> Vec<Asked> {
    let mut group = Vec::new();
    let mut written: HashSet<Key> = HashSet::new();
    let mut octets = 0;
    while let Some(asked) = waiting.front() {
        let touched = asked
            .when
            .iter()
            .map(subject)
            .chain(asked.then.iter().map(target));
        octets += asked.octets();
        let alone = group.is_empty();
        if !alone && (octets > TOGETHER || touched.clone().any(|key| written.contains(key))) {
            break;
        }
        written.extend(touched.cloned());
        group.extend(waiting.pop_front());
    }
    group
}

impl Asked {
    /// Roughly what it adds to a commit.
    fn octets(&self) -> usize {
        let op = |op: &Op| match op {
            Op::Put(key, value) => key.len() + value.len(),
            Op::Delete(key) => key.len(),
        };
        let event = |event: &Event| event.evidence.len() + 1024 + event.resources.len() * 64;
        self.then.iter().map(op).sum::<usize>() + self.events.iter().map(event).sum::<usize>()
    }
}

/// The record that a condition is about.
fn subject(cond: &Cond) -> &Key {
    let (Cond::Absent(key) | Cond::Is(key, _)) = cond;
    key
}

/// The record that an operation writes.
fn target(op: &Op) -> &Key {
    let (Op::Put(key, _) | Op::Delete(key)) = op;
    key
}

fn answer(group: Vec<Asked>, outcome: impl Fn(&Asked) -> Result<Version, CommitError>) {
    for asked in group {
        let outcome = outcome(&asked);
        // Who does not wait any more has no use for the answer.
        let _ = asked.answer.send(outcome);
    }
}

/// The store failed for all of a group.
fn fail(group: Vec<Asked>, error: StoreError) {
    let others = error.again();
    let mut error = Some(error);
    for asked in group {
        let error = error.take().unwrap_or_else(|| others.again());
        let _ = asked.answer.send(Err(CommitError::Store(error)));
    }
}

async fn read_head(records: &dyn RecordStore) -> Result<(Head, Option<Version>), StoreError> {
    Ok(match typed::read::<Head>(records, HEAD).await? {
        Some((version, head)) => (head, Some(version)),
        None => (Head::default(), None),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cargomail_protocol::ledger::Act;
    use futures::future::join_all;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{Embedded, EmbeddedOptions};

    async fn store(folder: &std::path::Path) -> Embedded {
        Embedded::open(folder, EmbeddedOptions::default()).await.unwrap()
    }

    fn event(number: usize) -> Event {
        Event {
            act: Act::Notified,
            parties: vec![format!("bob{number}@bar.test")],
            message_id: format!("<{number}@foo.test>"),
            resources: Vec::new(),
            evidence: String::new(),
        }
    }

    fn put(key: &str) -> Op {
        Op::Put(key.to_owned(), typed::encode(&()))
    }

    #[tokio::test]
    async fn many_who_write_at_once_make_one_chain_and_fewer_commits() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        let ledger = Ledger::open(store.records(), Arc::new(SystemClock))
            .await
            .unwrap();
        let commits = (0..200).map(|number| {
            let key = format!("job/{number}");
            ledger.commit(
                vec![Cond::Absent(key.clone())],
                vec![put(&key)],
                vec![event(number)],
            )
        });
        let versions: HashSet<Version> = join_all(commits).await.into_iter().map(Result::unwrap).collect();
        assert!(versions.len() < 200, "{} commits", versions.len());
        let mut seen = HashSet::new();
        let head = ledger
            .verify(|entry| assert!(seen.insert(entry.event.message_id.clone())))
            .await
            .unwrap();
        assert_eq!((head.entries, seen.len()), (200, 200));
        let again = Ledger::open(store.records(), Arc::new(SystemClock))
            .await
            .unwrap();
        assert_eq!(again.head().await, head);
    }

    #[tokio::test]
    async fn of_those_made_together_only_the_one_whose_condition_fails_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        let ledger = Ledger::open(store.records(), Arc::new(SystemClock))
            .await
            .unwrap();
        ledger
            .commit(Vec::new(), vec![put("job/3")], vec![event(0)])
            .await
            .unwrap();
        // Two of them want the same new record, and one wants a record that is there.
        let keys = ["job/1", "job/2", "job/3", "job/2", "job/4"];
        let commits = keys.iter().enumerate().map(|(number, key)| {
            ledger.commit(
                vec![Cond::Absent((*key).to_owned())],
                vec![put(key)],
                vec![event(number)],
            )
        });
        let outcomes: Vec<bool> = join_all(commits)
            .await
            .into_iter()
            .map(|outcome| outcome.is_ok())
            .collect();
        assert_eq!(outcomes, [true, true, false, false, true]);
        let head = ledger.verify(|_| {}).await.unwrap();
        assert_eq!(head.entries, 4, "nothing is told of what was not done");
    }
}
