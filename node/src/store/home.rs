//! What packs and journal share: the folder, the view, the checkpoint, and whether writing has failed.

use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use super::checkpoint::{Checkpoint, Left};
use super::folder::Folder;
use super::view::{Changes, View, wait_until_free};
use super::{StoreError, Version};

/// The name of the view in the data directory.
pub(super) const VIEW: &str = "view.sled";

/// What is open.
struct Open {
    view: View,
    /// Of the last commit that the view holds.
    version: Version,
    folder: Folder,
}

/// A store that is open, until it is closed.
pub(super) struct Home {
    /// Readers see a commit whole or not at all: who writes has the lock alone.
    open: RwLock<Option<Open>>,
    checkpoint: Mutex<Checkpoint>,
    failure: OnceLock<String>,
}

impl Home {
    pub(super) fn new(folder: Folder, view: View, checkpoint: Checkpoint) -> Self {
        Self {
            open: RwLock::new(Some(Open {
                view,
                version: checkpoint.version,
                folder,
            })),
            checkpoint: Mutex::new(checkpoint),
            failure: OnceLock::new(),
        }
    }

    /// Reads the view as it is after a whole number of commits, the last of which is given.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&View, Version) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or(StoreError::Closed)?;
        read(&open.view, open.version)
    }

    /// Shows to everybody what became durable; `version` when commits are among it.
    pub(super) fn apply(&self, changes: &Changes, version: Option<Version>) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut().ok_or(StoreError::Closed)?;
        open.view.apply(changes)?;
        if let Some(version) = version {
            open.version = version;
        }
        Ok(())
    }

    /// Notes how far something is durable. The file is written only by [`Home::save`] and at the end.
    pub(super) fn note(&self, note: impl FnOnce(&mut Checkpoint)) {
        note(&mut self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes the checkpoint as it was noted.
    pub(super) fn save(&self) -> Result<(), StoreError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or(StoreError::Closed)?;
        let checkpoint = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        checkpoint.write(&open.folder.join("CHECKPOINT"))
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

    /// Leaves view and checkpoint in order, unless a write failed, and lets go of the folder.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        let mut slot = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = slot.take() else {
            return Ok(());
        };
        if self.failure.get().is_some() {
            return Ok(());
        }
        let stamp = rand::random();
        open.view.close(stamp)?;
        let mut checkpoint = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        checkpoint.left = Left::Closed { stamp };
        checkpoint.write(&open.folder.join("CHECKPOINT"))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let slot = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = slot.take() {
            // The lock is the last thing that goes: nobody may find files of this view still being written.
            let path = open.folder.join(VIEW);
            drop(open.view);
            wait_until_free(&path);
        }
    }
}
