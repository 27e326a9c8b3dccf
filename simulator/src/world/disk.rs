//! A virtual machine's disk: blocks and records that become durable a moment after they were written, several at once, as a sync of
//! a real disk makes them.
//!
//! What always holds: what was acknowledged is there after any crash. What was written and not acknowledged may be: of records a
//! beginning, in their order; of blocks any of them. Whoever holds the disk of a machine that has crashed waits for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::cid::Cid;
use async_trait::async_trait;
use bytes::Bytes;
use cargomail_node::store::{
    BlockStore, Change, CommitError, Cond, Key, Op, Record, RecordStore, StoreError, Version,
};
use cargomail_protocol::dag::{VerifiedBlock, cid};
use cargomail_protocol::limits;
use tokio::time::{Instant, sleep_until};

use super::time::Seeded;
use crate::provider::Needles;

/// What one sync takes.
const SYNC: Duration = Duration::from_millis(2);

/// Changes that are remembered: as at a real store, whoever asks for older ones is told that they are gone.
const REMEMBERED: usize = 256;

type Digest = [u8; 32];
type IsGone = bool;

/// What is on a disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

/// How far some records of a disk have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    mounts: u64,
    version: Version,
}

impl Mark {
    /// Whether anything has ever changed it.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.version != Version::default()
    }
}

#[derive(Default)]
struct State {
    /// How often the machine has started, stopped or crashed.
    mounts: u64,
    /// How often it was asked for something.
    asked: u64,
    blocks: BTreeMap<Digest, Bytes>,
    condemned: BTreeSet<Digest>,
    records: BTreeMap<Key, (Version, Bytes)>,
    /// The last changes, and up to which version they are forgotten.
    changes: VecDeque<Change>,
    forgotten: Version,
    /// The last change of records of each kind, which is how their keys begin, and of each list of a person among them.
    kinds: HashMap<String, Version>,
    /// The last commit that was taken, durable or not.
    version: Version,
    /// The commit that will have changed a record last, and whether the record is gone then, while that is not durable.
    ahead: BTreeMap<Key, (Version, IsGone)>,
    /// What is not durable yet.
    written: VecDeque<(Instant, Written)>,
    /// When the last sync that was asked for ends.
    synced: Option<Instant>,
    /// There is no room for blocks that are asked for before they come; what comes all the same finds its place.
    is_tight: bool,
    /// There is no room for anything.
    is_full: bool,
}

enum Written {
    Blocks(Vec<(Digest, Bytes)>),
    Commit(Version, Vec<Op>),
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle(Instant::now());
        state
    }

    /// The disk as the machine sees it until it stops or crashes.
    #[must_use]
    pub fn mount(&self) -> Mounted {
        let mut state = self.state();
        state.mounts += 1;
        let mounts = state.mounts;
        drop(state);
        Mounted {
            disk: self.clone(),
            mounts,
        }
    }

    /// The machine has stopped in order: what it has written is durable, and whoever still holds the disk waits for ever.
    pub fn unmount(&self) {
        let mut state = self.state();
        let written = std::mem::take(&mut state.written);
        for (_, written) in written {
            match written {
                Written::Blocks(blocks) => state.blocks.extend(blocks),
                Written::Commit(version, ops) => state.apply(version, ops),
            }
        }
        state.mounts += 1;
        (state.synced, state.condemned) = (None, BTreeSet::new());
    }

    /// The machine loses its power: what was not durable is gone, or is not, as chance will have it.
    pub fn crash(&self, seed: u64) {
        let chance = Seeded::new(seed);
        let mut state = self.state();
        state.mounts += 1;
        let written = std::mem::take(&mut state.written);
        let mut is_torn = false;
        for (_, written) in written {
            match written {
                Written::Blocks(blocks) => {
                    let some = blocks.into_iter().filter(|_| chance.number().is_multiple_of(2));
                    state.blocks.extend(some);
                }
                Written::Commit(version, ops) => {
                    is_torn = is_torn || chance.number().is_multiple_of(2);
                    if !is_torn {
                        state.apply(version, ops);
                    }
                }
            }
        }
        state.ahead.clear();
        state.version = state
            .changes
            .back()
            .map_or(state.forgotten, |change| change.version);
        (state.synced, state.condemned) = (None, BTreeSet::new());
    }

    /// Changes whenever what its machine can see of such records does: of one kind, as in `job`, or of one list of a person among them,
    /// as in `folder/bob@bar.test/inbox`. A new message is known by the folder that it is put into.
    #[must_use]
    pub fn mark(&self, kind: &str) -> Mark {
        let state = self.state();
        Mark {
            mounts: state.mounts,
            version: state.kinds.get(kind).copied().unwrap_or_default(),
        }
    }

    /// How often its machine has read from it, listed, or written to it.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.state().asked
    }

    /// Says whether there is no room from now on for blocks that are asked for before they come.
    pub fn set_tight(&self, is_tight: bool) {
        self.state().is_tight = is_tight;
    }

    /// Says whether there is no room from now on: blocks that are not here and commits that write anything are refused then; what is
    /// removed can be.
    pub fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    /// In which of its blocks and records these octets stand, and how many octets were looked at.
    #[must_use]
    pub fn search(&self, needles: &Needles) -> (u64, Vec<String>) {
        let state = self.state();
        let (mut octets, mut found) = (0, Vec::new());
        for (name, value) in state.contents() {
            octets += value.len() as u64;
            if needles.stand_in(value) {
                found.push(name());
            }
        }
        (octets, found)
    }

    /// How many of these blocks are on it, by the SHA-256 of their octets.
    #[must_use]
    pub fn held<'a>(&self, blocks: impl IntoIterator<Item = &'a [u8; 32]>) -> usize {
        let state = self.state();
        let blocks = blocks.into_iter();
        blocks.filter(|digest| state.blocks.contains_key(*digest)).count()
    }

    /// Everything that is on it.
    #[must_use]
    pub fn contents(&self) -> Vec<Bytes> {
        self.state()
            .contents()
            .map(|(_, octets)| octets.clone())
            .collect()
    }

    /// Whether they stand in any.
    #[must_use]
    pub fn has(&self, needles: &Needles) -> bool {
        self.state().contents().any(|(_, value)| needles.stand_in(value))
    }

    /// The last of the records whose keys begin so, as far as it is durable.
    #[must_use]
    pub fn last(&self, prefix: &str) -> Option<(Key, Bytes)> {
        let state = self.state();
        let from = state
            .records
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let theirs = from.take_while(|(key, _)| key.starts_with(prefix));
        let (key, (_, value)) = theirs.last()?;
        Some((key.clone(), value.clone()))
    }
}

impl State {
    /// Everything that is on it, with its name.
    fn contents(&self) -> impl Iterator<Item = (impl Fn() -> String, &Bytes)> {
        let blocks = self.blocks.iter().map(|(digest, octets)| (Err(digest), octets));
        let records = self.records.iter().map(|(key, (_, value))| (Ok(key), value));
        blocks.chain(records).map(|(name, octets)| {
            let name = move || match name {
                Ok(key) => key.clone(),
                Err(digest) => data_encoding::HEXLOWER.encode(digest),
            };
            (name, octets)
        })
    }

    /// Makes durable what is due.
    fn settle(&mut self, now: Instant) {
        while let Some((due, _)) = self.written.front()
            && *due <= now
            && let Some((_, written)) = self.written.pop_front()
        {
            match written {
                Written::Blocks(blocks) => self.blocks.extend(blocks),
                Written::Commit(version, ops) => self.apply(version, ops),
            }
        }
    }

    fn apply(&mut self, version: Version, ops: Vec<Op>) {
        for op in ops {
            let (key, value, is_new) = match op {
                Op::Put(key, value) => {
                    let value = copied(&value);
                    let before = self.records.insert(key.clone(), (version, value.clone()));
                    (key, Some(value), before.is_none())
                }
                Op::Delete(key) => {
                    self.records.remove(&key);
                    (key, None, false)
                }
            };
            if self.ahead.get(&key).is_some_and(|(last, _)| *last == version) {
                self.ahead.remove(&key);
            }
            for kind in kinds(&key, is_new) {
                match self.kinds.get_mut(kind) {
                    Some(last) => *last = version,
                    None => drop(self.kinds.insert(kind.to_owned(), version)),
                }
            }
            self.changes.push_back(Change { version, key, value });
        }
        while self.changes.len() > REMEMBERED
            && let Some(change) = self.changes.pop_front()
        {
            self.forgotten = change.version;
        }
    }

    /// When what is written now is durable: with the sync that begins when the running one ends.
    fn write(&mut self, written: Written) -> Instant {
        let now = Instant::now();
        let due = match self.synced {
            Some(ends) if ends > now + SYNC => ends,
            Some(ends) if ends > now => ends + SYNC,
            _ => now + SYNC,
        };
        self.synced = Some(due);
        self.written.push_back((due, written));
        due
    }

    /// The version that a record has, or is about to have.
    fn latest(&self, key: &str) -> Option<Version> {
        match self.ahead.get(key) {
            Some((version, is_gone)) => (!is_gone).then_some(*version),
            None => self.records.get(key).map(|(version, _)| *version),
        }
    }

    fn take(&mut self, when: Vec<Cond>, then: Vec<Op>) -> Result<Version, CommitError> {
        for cond in when {
            match cond {
                Cond::Absent(key) if self.latest(&key).is_some() => return Err(CommitError::Conflict(key)),
                Cond::Is(key, version) if self.latest(&key) != Some(version) => {
                    return Err(CommitError::Conflict(key));
                }
                _ => {}
            }
        }
        if then.is_empty() {
            return Ok(self.version);
        }
        if self.is_full && then.iter().any(|op| matches!(op, Op::Put(..))) {
            return Err(full().into());
        }
        self.version += 1;
        let version = self.version;
        for op in &then {
            match op {
                Op::Put(key, _) => self.ahead.insert(key.clone(), (version, false)),
                Op::Delete(key) => self.ahead.insert(key.clone(), (version, true)),
            };
        }
        self.write(Written::Commit(version, then));
        Ok(version)
    }
}

/// What [`Disk::mark`] knows a record by: the first segment of its key; and where the second is a person, those two, in a folder with the
/// folder. A new message is known by its folder alone.
fn kinds(key: &str, is_new: bool) -> impl Iterator<Item = &str> {
    let mut ends = key.match_indices('/').map(|(at, _)| at);
    let kind = ends.next().and_then(|end| key.get(..end));
    let of = match kind {
        Some("message") if is_new => None,
        Some("folder") => ends.nth(1),
        _ => Some(ends.next().unwrap_or(key.len())),
    };
    let theirs = of
        .and_then(|end| key.get(..end))
        .filter(|theirs| theirs.contains('@'));
    [kind, theirs].into_iter().flatten()
}

fn full() -> StoreError {
    StoreError::Full {
        path: "the virtual disk".to_owned(),
        why: "it is full".to_owned(),
    }
}

/// What a disk holds of octets: a copy. Whoever wrote them may have cut them out of something much larger.
fn copied(octets: &[u8]) -> Bytes {
    Bytes::copy_from_slice(octets)
}

/// A disk, until its machine stops or crashes.
#[derive(Clone)]
pub struct Mounted {
    disk: Disk,
    mounts: u64,
}

impl Mounted {
    /// The disk, while the machine lives; nothing afterwards.
    fn alive(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.disk.state();
        (state.mounts == self.mounts).then_some(state)
    }

    async fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        if let Some(mut state) = self.alive() {
            state.asked += 1;
            return work(&mut state);
        }
        std::future::pending().await
    }

    async fn until(&self, due: Option<Instant>) {
        if let Some(due) = due {
            sleep_until(due).await;
        }
        // Nobody who has crashed is told of anything.
        if self.alive().is_none() {
            std::future::pending::<()>().await;
        }
    }
}

fn digest(cid: &Cid) -> Option<Digest> {
    cid::digest(cid).ok()
}

#[async_trait]
impl BlockStore for Mounted {
    fn room(&self, _octets: u64) -> Result<(), StoreError> {
        let state = self.disk.state();
        match state.is_tight || state.is_full {
            false => Ok(()),
            true => Err(full()),
        }
    }

    async fn put(&self, batch: Vec<VerifiedBlock>) -> Result<(), StoreError> {
        let due = self
            .with(|state| {
                let mut blocks = Vec::new();
                for block in &batch {
                    let Some(digest) = digest(block.cid()) else {
                        continue;
                    };
                    state.condemned.remove(&digest);
                    if !state.blocks.contains_key(&digest) {
                        blocks.push((digest, copied(block.bytes())));
                    }
                }
                match blocks.is_empty() {
                    true => Ok(None),
                    false if state.is_full => Err(full()),
                    false => Ok(Some(state.write(Written::Blocks(blocks)))),
                }
            })
            .await;
        self.until(due?).await;
        Ok(())
    }

    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        let found = |state: &mut State| digest(cid).and_then(|digest| state.blocks.get(&digest).cloned());
        Ok(self.with(found).await)
    }

    async fn has(&self, cids: &[Cid]) -> Result<Vec<bool>, StoreError> {
        let here = |state: &mut State| {
            let one = |cid| digest(cid).is_some_and(|digest| state.blocks.contains_key(&digest));
            cids.iter().map(one).collect()
        };
        Ok(self.with(here).await)
    }

    async fn keep(&self, cids: &[Cid]) -> Result<Vec<bool>, StoreError> {
        let kept = |state: &mut State| {
            let mut keep = |cid| {
                let Some(digest) = digest(cid) else { return false };
                state.condemned.remove(&digest);
                state.blocks.contains_key(&digest)
            };
            cids.iter().map(&mut keep).collect()
        };
        Ok(self.with(kept).await)
    }

    async fn condemn(&self, cids: &[Cid]) -> Result<(), StoreError> {
        self.with(|state| state.condemned = cids.iter().filter_map(digest).collect())
            .await;
        Ok(())
    }

    async fn sweep(&self, cids: &[Cid]) -> Result<Vec<bool>, StoreError> {
        let swept = |state: &mut State| {
            let mut sweep = |cid| {
                let condemned = digest(cid).filter(|digest| state.condemned.remove(digest));
                condemned.is_some_and(|digest| state.blocks.remove(&digest).is_some())
            };
            cids.iter().map(&mut sweep).collect()
        };
        Ok(self.with(swept).await)
    }

    async fn list(&self, after: Option<Digest>, limit: usize) -> Result<Vec<(Digest, u32)>, StoreError> {
        let listed = |state: &mut State| {
            let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let blocks = state.blocks.range((from, std::ops::Bound::Unbounded)).take(limit);
            blocks
                .map(|(digest, octets)| (*digest, u32::try_from(octets.len()).unwrap_or(u32::MAX)))
                .collect()
        };
        Ok(self.with(listed).await)
    }
}

#[async_trait]
impl RecordStore for Mounted {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        let found = |state: &mut State| {
            let one = |key: &Key| {
                let (version, value) = state.records.get(key)?;
                Some(Record {
                    key: key.clone(),
                    version: *version,
                    value: value.clone(),
                })
            };
            keys.iter().map(one).collect()
        };
        Ok(self.with(found).await)
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>, StoreError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = match after {
            Some(after) if after >= prefix => Excluded(after),
            _ => Included(prefix),
        };
        let listed = |state: &mut State| {
            let records = state.records.range::<str, _>((from, Unbounded));
            records
                .take_while(|(key, _)| key.starts_with(prefix))
                .take(limit)
                .map(|(key, (version, value))| Record {
                    key: key.clone(),
                    version: *version,
                    value: value.clone(),
                })
                .collect()
        };
        Ok(self.with(listed).await)
    }

    async fn commit(&self, when: Vec<Cond>, then: Vec<Op>) -> Result<Version, CommitError> {
        check(&then)?;
        let (taken, due) = self
            .with(|state| {
                let taken = state.take(when, then);
                // Also who is refused is answered in turn: it was judged against what is not durable yet.
                (taken, state.written.back().map(|(due, _)| *due))
            })
            .await;
        self.until(due).await;
        taken
    }

    async fn changes(&self, after: Version, limit: usize) -> Result<Vec<Change>, StoreError> {
        let told = |state: &mut State| {
            if after < state.forgotten {
                return Err(StoreError::Compacted);
            }
            let from = state.changes.partition_point(|change| change.version <= after);
            let rest = state.changes.range(from..);
            let last = rest.clone().nth(limit.saturating_sub(1));
            let last = last.map(|change| change.version);
            let within = |change: &&Change| last.is_none_or(|last| change.version <= last);
            Ok(rest.take_while(within).cloned().collect())
        };
        self.with(told).await
    }
}

fn check(ops: &[Op]) -> Result<(), StoreError> {
    let within = |what, size: usize, limit: usize| match size <= limit {
        true => Ok(()),
        false => Err(StoreError::TooLarge { what, limit }),
    };
    let mut all = 0;
    for op in ops {
        let (key, value) = match op {
            Op::Put(key, value) => (key, value.len()),
            Op::Delete(key) => (key, 0),
        };
        within("a key", key.len(), limits::RECORD_KEY)?;
        within("a record", value, limits::RECORD)?;
        all += key.len() + value;
    }
    within("a commit", all, limits::COMMIT)
}
