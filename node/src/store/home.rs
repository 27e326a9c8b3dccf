//! What packs and journal share: the folder, the view, the checkpoint, and whether writing has failed.
//!
//! What always holds: the view shows whole commits, and only what is durable. One that fails is thrown away and made anew
//! from packs and journal, also while the store is open; until that succeeds nobody is told anything from it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::checkpoint::{Checkpoint, Left};
use super::folder::Folder;
use super::index::{self, Changes, Index, IndexKind};
use super::log::{Log, Position};
use super::recover::{self, Extent};
use super::{EmbeddedOptions, StoreError, Version};

/// How long a view that failed again is left alone: at least this, and so many times as long as making it anew took.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSES: u32 = 10;

/// Threads that read for one store at a time: more only wait for the same disk.
const READERS: usize = 16;

/// The view that is open, if it does what it should.
struct Open {
    view: Option<Box<dyn Index>>,
    /// How often it was made anew.
    generation: u64,
    /// Before this it is not tried again.
    pause: Option<Instant>,
    /// Of the last commit that the view holds.
    version: Version,
}

/// How far a log is durable with what a group changed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reached {
    /// The packs, and records of the last one.
    Packs(Position, u64),
    /// The journal, and its last commit.
    Journal(Position, Version),
}

/// A store that is open, until it is closed.
pub(super) struct Home {
    /// Who writes has the lock alone, so that a commit is seen whole or not at all. None when the store is closed.
    open: RwLock<Option<Open>>,
    pub(super) packs: Arc<Log>,
    pub(super) journal: Arc<Log>,
    kind: IndexKind,
    /// Octets of memory for the view.
    cache: u64,
    checkpoint: Mutex<Checkpoint>,
    failure: OnceLock<String>,
    readers: Semaphore,
    /// None when the store is closed, so that it can be opened again.
    folder: Mutex<Option<Folder>>,
}

impl Home {
    pub(super) fn new(
        folder: Folder,
        packs: Arc<Log>,
        journal: Arc<Log>,
        view: Box<dyn Index>,
        options: &EmbeddedOptions,
        checkpoint: Checkpoint,
    ) -> Self {
        Self {
            open: RwLock::new(Some(Open {
                view: Some(view),
                generation: 0,
                pause: None,
                version: checkpoint.version,
            })),
            packs,
            journal,
            kind: options.index,
            cache: options.cache,
            checkpoint: Mutex::new(checkpoint),
            failure: OnceLock::new(),
            readers: Semaphore::new(READERS),
            folder: Mutex::new(Some(folder)),
        }
    }

    /// Work that waits for the disk, on one of the threads that read.
    pub(super) async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _place = self.readers.acquire().await.map_err(|_| StoreError::Closed)?;
        super::on_thread(work).await
    }

    /// Reads the view as it is after a whole number of commits, the last of which is given.
    pub(super) fn read<T>(
        &self,
        read: impl Fn(&dyn Index, Version) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let attempt = || {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            let open = open.as_ref().ok_or(StoreError::Closed)?;
            let read = open.view.as_ref().map(|view| read(view.as_ref(), open.version));
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

    /// Notes how far a log is durable, and shows to everybody what came with that.
    pub(super) fn apply(&self, changes: Changes, reached: Reached) -> Result<(), StoreError> {
        self.note(|checkpoint| match reached {
            Reached::Packs(position, records) => {
                checkpoint.packs = position;
                checkpoint.pack_records = records;
            }
            Reached::Journal(position, version) => {
                checkpoint.journal = position;
                checkpoint.version = version;
            }
        });
        let generation = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            let open = open.as_mut().ok_or(StoreError::Closed)?;
            if let Some(view) = &open.view
                && view.apply(&changes).is_ok()
            {
                if let Reached::Journal(_, version) = reached {
                    open.version = version;
                }
                return Ok(());
            }
            // It may hold a part of a commit.
            open.view = None;
            open.generation
        };
        self.mend(generation)
    }

    /// Makes the view anew, up to what was noted, unless somebody else did since `generation`.
    fn mend(&self, generation: u64) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut().ok_or(StoreError::Closed)?;
        if open.generation != generation {
            return Ok(());
        }
        let begin = Instant::now();
        if open.pause.is_some_and(|until| begin < until) {
            return Err(no_view());
        }
        tracing::error!("the view fails and is made anew from packs and journal");
        open.view = None;
        let made = self.make();
        open.pause = Some(Instant::now() + PAUSE.max(begin.elapsed() * PAUSES));
        let (view, version) =
            made.inspect_err(|error| tracing::error!(%error, "the view is not made anew"))?;
        open.view = Some(view);
        open.version = version;
        open.generation += 1;
        Ok(())
    }

    fn make(&self) -> Result<(Box<dyn Index>, Version), StoreError> {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = folder.as_ref().ok_or(StoreError::Closed)?;
        let noted = *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let view = index::create(self.kind, folder.path(), self.cache)?;
        recover::blocks(&self.packs, Extent::Known(noted.packs), view.as_ref())?;
        recover::records(&self.journal, Extent::Known(noted.journal), view.as_ref())?;
        Ok((view, noted.version))
    }

    /// Notes how far something is durable. The file is written only by [`Home::save`] and at the end.
    pub(super) fn note(&self, note: impl FnOnce(&mut Checkpoint)) {
        note(&mut self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes the checkpoint as it was noted.
    pub(super) fn save(&self) -> Result<(), StoreError> {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = folder.as_ref().ok_or(StoreError::Closed)?;
        let checkpoint = *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        checkpoint.write(&folder.join("CHECKPOINT"))
    }

    /// Ends all writing.
    pub(super) fn fail(&self, error: &StoreError) {
        if self.failure.set(error.to_string()).is_ok() {
            tracing::error!(%error, "a write failed: the store is read-only until the node is restarted");
        }
    }

    /// Why nothing is written any more.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    /// Leaves view and checkpoint in order, unless something failed, and lets go of the folder.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        let mut slot = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(open), Some(folder)) = (slot.take(), folder.take()) else {
            return Ok(());
        };
        let view = open.view.filter(|_| self.failure.get().is_none());
        let Some(view) = view else {
            index::is_free(self.kind, folder.path());
            return Ok(());
        };
        let stamp = rand::random();
        view.settle(stamp)?;
        view.close()?;
        let mut checkpoint = *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        checkpoint.left = Left::Closed { stamp };
        checkpoint.write(&folder.join("CHECKPOINT"))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let folder = self
            .folder
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let (Some(open), Some(folder)) = (open, folder) {
            // The lock is the last thing that goes: nobody may find files of this view still being written.
            drop(open);
            index::is_free(self.kind, folder.path());
        }
    }
}

fn no_view() -> StoreError {
    StoreError::Damaged {
        what: "the view".to_owned(),
        why: "it could not be made anew from packs and journal; that is tried again".to_owned(),
    }
}
