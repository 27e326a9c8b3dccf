//! What packs and journal share: the folder, the view, the checkpoint, and whether writing has failed.
//!
//! What always holds: the view shows whole commits, and only what is durable.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::Semaphore;

use super::checkpoint::Checkpoint;
use super::index::Changes;
use super::kept::{Kept, Opening};
use super::log::{Log, Position};
use super::reserve::Reserve;
use super::view::View;
use super::{StoreError, Version};

/// Threads that read for one store at a time: more only wait for the same disk.
const READERS: usize = 16;

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
    kept: Arc<Kept>,
    /// It takes into the index what became durable.
    indexer: Mutex<Option<JoinHandle<()>>>,
    pub(super) packs: Arc<Log>,
    pub(super) journal: Arc<Log>,
    failure: OnceLock<String>,
    reserve: Reserve,
    readers: Arc<Semaphore>,
}

impl Home {
    /// # Errors
    /// [`StoreError::Io`] when there is no thread to be had, or when the checkpoint is not written.
    pub(super) fn open(opening: Opening, reserve: Reserve) -> Result<Self, StoreError> {
        let (packs, journal) = (opening.packs.clone(), opening.journal.clone());
        let kept = Arc::new(Kept::new(opening));
        kept.save()?;
        let indexed = kept.clone();
        let indexer = std::thread::Builder::new()
            .name("index".to_owned())
            .spawn(move || indexed.run())
            .map_err(|source| StoreError::Io {
                path: "thread index".to_owned(),
                source,
            })?;
        Ok(Self {
            kept,
            indexer: Mutex::new(Some(indexer)),
            packs,
            journal,
            failure: OnceLock::new(),
            reserve,
            readers: Arc::new(Semaphore::new(READERS)),
        })
    }

    /// The room that is kept free.
    pub(super) fn reserve(&self) -> &Reserve {
        &self.reserve
    }

    /// Work that waits for the disk, on one of the threads that read.
    pub(super) async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = self.readers.clone().acquire_owned().await;
        let place = place.map_err(|_| StoreError::Closed)?;
        super::on_thread(move || {
            // The thread goes on when whoever asked has gone.
            let _place = place;
            work()
        })
        .await
    }

    /// Reads the view as it is after a whole number of commits, the last of which is given.
    pub(super) fn read<T>(
        &self,
        read: impl Fn(&View<'_>, Version) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.kept.read(read)
    }

    /// Reads the view, when that can be had without waiting for anybody.
    pub(super) fn read_at_once<T>(&self, read: impl FnOnce(&View<'_>) -> Result<T, StoreError>) -> Option<T> {
        self.kept.read_at_once(read)
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
        self.kept.add(changes, Some(reached))
    }

    /// Has the index forget what it remembers of the journal up to a file, which is not there any more.
    pub(super) fn forget_journal(&self, file: u32) -> Result<(), StoreError> {
        let changes = Changes {
            forgotten: Some(file),
            ..Changes::default()
        };
        self.kept.add(changes, None)
    }

    /// Notes how far something is durable. The file is written when the index settles, and at the end.
    pub(super) fn note(&self, note: impl FnOnce(&mut Checkpoint)) {
        self.kept.note(note);
    }

    /// Has everything that came so far made durable in the index, and told in the CHECKPOINT, some time soon.
    pub(super) fn ask_to_settle(&self) {
        self.kept.ask_to_settle();
    }

    /// Writes the CHECKPOINT as it was noted.
    pub(super) fn save(&self) -> Result<(), StoreError> {
        self.kept.save()
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
        self.end_indexing(false);
        self.kept.close(self.failure.get().is_none())
    }

    fn end_indexing(&self, at_once: bool) {
        self.kept.end(at_once);
        let indexer = self.indexer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(indexer) = indexer
            && indexer.join().is_err()
        {
            tracing::error!("the thread of the index ended in a panic");
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.end_indexing(true);
        // Nothing is left in order, so nothing can fail.
        let _ = self.kept.close(false);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc::sync_channel;

    use super::super::kept::tests::empty;
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_goes_away_frees_no_place_for_a_thread_while_the_thread_reads_on() {
        let (folder, opening) = empty();
        let reserve = Reserve::new(folder.path().to_owned(), 0);
        let home = Arc::new(Home::open(opening, reserve).unwrap());
        let (begun, begins) = sync_channel(1);
        let mut ends = Vec::new();
        for _ in 0..READERS {
            let (home, begun, (end, ended)) = (home.clone(), begun.clone(), sync_channel::<()>(1));
            let reading = tokio::spawn(async move {
                let read = move || {
                    begun.send(()).unwrap();
                    let _ = ended.recv();
                    Ok(())
                };
                home.on_thread(read).await
            });
            begins.recv().unwrap();
            reading.abort();
            assert!(reading.await.unwrap_err().is_cancelled());
            ends.push(end);
        }
        assert_eq!(home.readers.available_permits(), 0);
        drop(ends);
        home.on_thread(|| Ok(())).await.unwrap();
    }
}
