//! The index of an open store, what is newer than it, and the thread that takes the one into the other.
//!
//! What always holds: nobody who writes waits for the index, unless so much is newer that there is no room for more; an
//! index that fails is thrown away and made anew from packs and journal, also while the store is open, and until that
//! succeeds nobody is told anything from it; the CHECKPOINT never tells more of the index than it holds durably.
//!
//! Locks are taken in this order: `open`, `fresh`, `folder`, `checkpoint`, `flow`.

mod flow;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cargomail_protocol::limits;

use super::checkpoint::{Checkpoint, Known, Left};
use super::folder::Folder;
use super::fresh::{Batch, Fresh, weight};
use super::home::Reached;
use super::index::{self, Changes, Index, IndexKind};
use super::log::Log;
use super::recover::{self, Extent};
use super::view::View;
use super::{StoreError, Version};
use flow::{End, Flow};

/// How long an index that failed again is left alone: at least this, and so many times as long as making it anew took.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSES: u32 = 10;
/// How long the thread waits before it tries again what failed.
const RETRY: Duration = Duration::from_millis(100);

/// The index that is open, if it does what it should.
struct Open {
    index: Option<Box<dyn Index>>,
    /// How often it was made anew.
    generation: u64,
    /// Before this it is not tried again.
    pause: Option<Instant>,
}

/// The index and what belongs to it.
pub(super) struct Kept {
    /// None when the store is closed.
    open: RwLock<Option<Open>>,
    fresh: RwLock<Fresh>,
    flow: Mutex<Flow>,
    /// There is work for the thread.
    work: Condvar,
    /// The thread did some.
    done: Condvar,
    packs: Arc<Log>,
    journal: Arc<Log>,
    kind: IndexKind,
    cache: u64,
    checkpoint: Mutex<Checkpoint>,
    /// None when the store is closed, so that it can be opened again.
    folder: Mutex<Option<Folder>>,
    /// Something durable came that neither index nor [`Fresh`] was told of: the index is made anew before anybody is told
    /// anything from it.
    torn: AtomicBool,
    /// The index is changing, and whoever asks it may wait.
    changing: AtomicBool,
    /// The index is being made anew: who waits for room in what is newer waits on.
    making: AtomicBool,
}

/// What is kept, as it is opened.
pub(super) struct Opening {
    pub(super) folder: Folder,
    pub(super) packs: Arc<Log>,
    pub(super) journal: Arc<Log>,
    pub(super) index: Box<dyn Index>,
    pub(super) kind: IndexKind,
    pub(super) cache: u64,
    pub(super) checkpoint: Checkpoint,
}

impl Kept {
    /// The index holds everything up to the checkpoint's positions.
    pub(super) fn new(opening: Opening) -> Self {
        let checkpoint = opening.checkpoint;
        Self {
            open: RwLock::new(Some(Open {
                index: Some(opening.index),
                generation: 0,
                pause: None,
            })),
            fresh: RwLock::new(Fresh::new(checkpoint.version)),
            flow: Mutex::new(Flow::new(&checkpoint)),
            work: Condvar::new(),
            done: Condvar::new(),
            packs: opening.packs,
            journal: opening.journal,
            kind: opening.kind,
            cache: opening.cache,
            checkpoint: Mutex::new(checkpoint),
            folder: Mutex::new(Some(opening.folder)),
            torn: AtomicBool::new(false),
            changing: AtomicBool::new(false),
            making: AtomicBool::new(false),
        }
    }

    fn is_torn(&self) -> bool {
        self.torn.load(Ordering::SeqCst)
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checkpoint(&self) -> MutexGuard<'_, Checkpoint> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one moment: everything after a whole number of commits, the last of which is given.
    pub(super) fn read<T>(
        &self,
        read: impl Fn(&View<'_>, Version) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let attempt = || {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            let open = open.as_ref().ok_or(StoreError::Closed)?;
            let fresh = self.fresh.read().unwrap_or_else(PoisonError::into_inner);
            let index = open.index.as_ref().filter(|_| !self.is_torn());
            let read = index.map(|index| read(&View::new(index.as_ref(), &fresh), fresh.version()));
            Ok::<_, StoreError>((open.generation, read))
        };
        match attempt()? {
            (_, Some(Ok(read))) => return Ok(read),
            (generation, _) => self.mend(generation)?,
        }
        match attempt()?.1 {
            Some(read) => read,
            None => Err(no_view()),
        }
    }

    /// The same, when that can be had without waiting for whoever writes; none otherwise, and when the index fails.
    pub(super) fn read_at_once<T>(&self, read: impl FnOnce(&View<'_>) -> Result<T, StoreError>) -> Option<T> {
        if self.changing.load(Ordering::SeqCst) || self.is_torn() {
            return None;
        }
        let open = self.open.try_read().ok()?;
        let index = open.as_ref()?.index.as_ref()?;
        let fresh = self.fresh.try_read().ok()?;
        read(&View::new(index.as_ref(), &fresh)).ok()
    }

    /// Shows to everybody what became durable and was noted. Waits while there is no room for more. What cannot be shown is
    /// seen once the index has been made anew, before which nothing is. `reached` is none for what only the index is to know.
    pub(super) fn add(&self, changes: Changes, reached: Option<Reached>) -> Result<(), StoreError> {
        self.admit(weight(&changes))
            .inspect_err(|_| self.torn.store(true, Ordering::SeqCst))?;
        let mut fresh = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
        fresh.add(changes, reached);
        let mut flow = self.flow();
        if std::mem::replace(&mut flow.idle, false) {
            flow.begun = Instant::now();
            self.work.notify_one();
        } else if flow.weight >= limits::STORE_INDEX_GATHERED {
            self.work.notify_one();
        }
        Ok(())
    }

    fn admit(&self, weight: usize) -> Result<(), StoreError> {
        let mut flow = self.flow();
        let mut applied = flow.applied;
        let mut until = Instant::now() + limits::STORE_INDEX_STALLED;
        while flow.weight > 0 && flow.weight + weight > limits::STORE_FRESH {
            if flow.end != End::NotYet {
                return Err(StoreError::Closed);
            }
            if self.making.load(Ordering::SeqCst) {
                until = Instant::now() + limits::STORE_INDEX_STALLED;
            } else if flow.is_broken {
                return Err(no_view());
            } else if Instant::now() > until {
                return Err(stalled());
            }
            flow = self
                .done
                .wait_timeout(flow, RETRY)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if flow.applied != applied {
                applied = flow.applied;
                until = Instant::now() + limits::STORE_INDEX_STALLED;
            }
        }
        flow.weight += weight;
        Ok(())
    }

    /// The thread's work, until it is told to end.
    pub(super) fn run(&self) {
        while self.wait_for_work() {
            if let Err(generation) = self.step()
                && self.mend(generation).is_err()
            {
                let flow = self.flow();
                if flow.end == End::NotYet {
                    drop(self.work.wait_timeout(flow, RETRY));
                }
            }
        }
    }

    /// Whether there is any; none comes any more when not.
    fn wait_for_work(&self) -> bool {
        let mut flow = self.flow();
        loop {
            let is_due = flow.asked.is_some()
                || flow
                    .since
                    .is_some_and(|since| since.elapsed() >= limits::STORE_SETTLE);
            match flow.end {
                End::Now => return false,
                End::Done if flow.idle || flow.is_broken => return false,
                End::Done => return true,
                End::NotYet if is_due => return true,
                End::NotYet => {}
            }
            let gathering = flow.gathering();
            if gathering.is_zero() {
                return true;
            }
            let settling = flow.since.map_or(Duration::MAX, |since| {
                limits::STORE_SETTLE.saturating_sub(since.elapsed())
            });
            let patience = gathering.min(settling);
            flow = if patience == Duration::MAX {
                self.work.wait(flow).unwrap_or_else(PoisonError::into_inner)
            } else {
                let woken = self.work.wait_timeout(flow, patience);
                woken.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// Has the index take in some of what is newer, and settle when that is due. An error tells which index failed.
    fn step(&self) -> Result<(), u64> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = open.as_ref() else {
            return Ok(());
        };
        let Some(index) = open.index.as_ref().filter(|_| !self.is_torn()) else {
            return Err(open.generation);
        };
        let batch = {
            let mut fresh = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
            let batch = fresh.take(limits::STORE_INDEX_BATCH);
            if fresh.is_empty() {
                self.flow().idle = true;
            }
            batch
        };
        let _changing = Raised::new(&self.changing);
        if batch.upto > 0 {
            self.take_in(index.as_ref(), &batch)
                .map_err(|_| open.generation)?;
        }
        let is_due = {
            let flow = self.flow();
            flow.asked.is_some_and(|asked| asked <= flow.applied)
                || flow.unsettled >= limits::STORE_SETTLE_ENTRIES
                || flow
                    .since
                    .is_some_and(|since| since.elapsed() >= limits::STORE_SETTLE)
        };
        if is_due {
            self.settle_now(index.as_ref()).map_err(|_| open.generation)?;
        }
        Ok(())
    }

    fn take_in(&self, index: &dyn Index, batch: &Batch) -> Result<(), StoreError> {
        let applied = if batch.changes.len() == 0 {
            Ok(())
        } else {
            index.apply(&batch.changes)
        };
        if applied.is_ok() {
            self.fresh
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .forget(batch);
        }
        let mut flow = self.flow();
        flow.weight = flow.weight.saturating_sub(batch.weight);
        flow.applied = batch.upto;
        if applied.is_ok() {
            for reached in &batch.reached {
                match *reached {
                    Reached::Packs(position, _) => flow.covered.packs = position,
                    Reached::Journal(_, version) => flow.covered.version = version,
                }
            }
            flow.unsettled += batch.changes.len();
            flow.since.get_or_insert_with(Instant::now);
        }
        self.done.notify_all();
        applied
    }

    /// Makes the index durable and tells so in the CHECKPOINT.
    fn settle_now(&self, index: &dyn Index) -> Result<(), StoreError> {
        let covered = self.flow().covered;
        let stamp = rand::random();
        let settled = index.settle(stamp);
        if settled.is_ok() {
            self.checkpoint().index = Some(Known { stamp, covered });
        }
        let saved = self.save();
        let mut flow = self.flow();
        flow.asked = flow.asked.filter(|asked| *asked > flow.applied);
        (flow.unsettled, flow.since) = (0, None);
        self.done.notify_all();
        if let Err(error) = saved {
            tracing::warn!(%error, "the checkpoint was not written");
        }
        settled
    }

    /// Asks the thread to settle everything that came so far.
    pub(super) fn ask_to_settle(&self) {
        let last = self.fresh.read().unwrap_or_else(PoisonError::into_inner).last();
        let mut flow = self.flow();
        flow.asked = Some(flow.asked.map_or(last, |asked| asked.max(last)));
        self.work.notify_one();
    }

    /// Makes the view anew, up to what was noted, unless somebody else did since `generation`.
    fn mend(&self, generation: u64) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut().ok_or(StoreError::Closed)?;
        if open.generation != generation {
            return Ok(());
        }
        // It lacks something, or holds a part of a commit.
        open.index = None;
        let begin = Instant::now();
        if open.pause.is_some_and(|until| begin < until) {
            self.flow().is_broken = true;
            return Err(no_view());
        }
        let _making = Raised::new(&self.making);
        tracing::error!("the view fails and is made anew from packs and journal");
        let mut fresh = self.fresh.write().unwrap_or_else(PoisonError::into_inner);
        let made = self.make();
        open.pause = Some(Instant::now() + PAUSE.max(begin.elapsed() * PAUSES));
        let mut flow = self.flow();
        flow.is_broken = made.is_err();
        let (index, noted) =
            made.inspect_err(|error| tracing::error!(%error, "the view is not made anew"))?;
        open.index = Some(index);
        open.generation += 1;
        // Everything that came was noted before, and is in the index now.
        flow.applied = fresh.last();
        flow.weight = flow.weight.saturating_sub(fresh.clear(noted.version));
        flow.covered = noted.covered();
        flow.asked = Some(flow.applied);
        flow.idle = true;
        self.done.notify_all();
        self.work.notify_one();
        Ok(())
    }

    fn make(&self) -> Result<(Box<dyn Index>, Checkpoint), StoreError> {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = folder.as_ref().ok_or(StoreError::Closed)?;
        // Before it is read how far it is to come: what is noted later and cannot be shown tears it again.
        self.torn.store(false, Ordering::SeqCst);
        let noted = {
            let mut checkpoint = self.checkpoint();
            checkpoint.index = None;
            *checkpoint
        };
        let index = index::create(self.kind, folder.path(), self.cache)?;
        let _files = (self.packs.hold(), self.journal.hold());
        recover::fill(
            (&self.packs, Extent::Known(noted.packs)),
            (&self.journal, Extent::Known(noted.journal)),
            index.as_ref(),
        )?;
        Ok((index, noted))
    }

    /// Notes how far something is durable.
    pub(super) fn note(&self, note: impl FnOnce(&mut Checkpoint)) {
        note(&mut self.checkpoint());
    }

    /// Writes the checkpoint as it was noted.
    pub(super) fn save(&self) -> Result<(), StoreError> {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = folder.as_ref().ok_or(StoreError::Closed)?;
        let checkpoint = *self.checkpoint();
        checkpoint.write(&folder.join("CHECKPOINT"))
    }

    /// Has the thread end: at once, or when the index has everything.
    pub(super) fn end(&self, at_once: bool) {
        self.flow().end = if at_once { End::Now } else { End::Done };
        self.work.notify_one();
        self.done.notify_all();
    }

    /// Lets go of everything. With `in_order`, and when the index has everything, the next opening will find it so. The thread has ended.
    pub(super) fn close(&self, in_order: bool) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let has_everything = self
            .fresh
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(open), Some(folder)) = (open.take(), folder.take()) else {
            return Ok(());
        };
        let index = open
            .index
            .filter(|_| in_order && has_everything && !self.is_torn());
        let Some(index) = index else {
            // The lock is the last thing that goes: nobody may find files of this index still being written.
            index::is_free(self.kind, folder.path());
            return Ok(());
        };
        let stamp = rand::random();
        index.settle(stamp)?;
        index.close()?;
        let mut checkpoint = *self.checkpoint();
        checkpoint.left = Left::Closed { stamp };
        checkpoint.index = Some(Known {
            stamp,
            covered: checkpoint.covered(),
        });
        checkpoint.write(&folder.join("CHECKPOINT"))
    }
}

/// A flag that is up as long as this lives.
struct Raised<'a>(&'a AtomicBool);

impl<'a> Raised<'a> {
    fn new(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::SeqCst);
        Self(flag)
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

fn stalled() -> StoreError {
    StoreError::Damaged {
        what: "the view".to_owned(),
        why: "its engine does not come back; restart the node".to_owned(),
    }
}

fn no_view() -> StoreError {
    StoreError::Damaged {
        what: "the view".to_owned(),
        why: "it could not be made anew from packs and journal; that is tried again".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests;
