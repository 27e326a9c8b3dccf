//! Room on the disk that blocks do not get: with it the journal still takes what frees room, such as deletions, and compaction
//! still works. It is looked at before a block is written, not after.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::StoreError;
use super::folder::io_error;

/// How long nothing is said of a disk that stays full.
const SILENCE: Duration = Duration::from_secs(60);

/// The reserve of one store.
pub(super) struct Reserve {
    folder: PathBuf,
    octets: u64,
    told: Mutex<Option<Instant>>,
    /// There is no room on the disk to set aside for blocks that are on their way.
    tight: AtomicBool,
}

impl Reserve {
    /// `octets` of the disk that `folder` is on; none of it with 0.
    pub(super) fn new(folder: PathBuf, octets: u64) -> Self {
        Self {
            folder,
            octets,
            told: Mutex::default(),
            tight: AtomicBool::default(),
        }
    }

    /// Octets that may be written to the disk.
    pub(super) fn free(&self) -> Result<u64, StoreError> {
        let disk = rustix::fs::statvfs(&self.folder)
            .map_err(|error| io_error(&self.folder)(std::io::Error::from(error)))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Whether so many octets of blocks fit beside the reserve.
    ///
    /// # Errors
    /// [`StoreError::Full`] with the figures.
    pub(super) fn check(&self, needed: u64) -> Result<(), StoreError> {
        match self.octets {
            0 => Ok(()),
            reserve => self.leaves(needed, reserve),
        }
    }

    /// Whether so many octets fit, the reserve included: for what frees more than that.
    ///
    /// # Errors
    /// [`StoreError::Full`] with the figures.
    pub(super) fn check_all(&self, needed: u64) -> Result<(), StoreError> {
        self.leaves(needed, 0)
    }

    fn leaves(&self, needed: u64, reserve: u64) -> Result<(), StoreError> {
        let free = self.free()?;
        if free >= needed.saturating_add(reserve) {
            return Ok(());
        }
        Err(StoreError::Full {
            path: self.folder.display().to_string(),
            why: format!("{free} octets are free, {needed} are needed, and {reserve} are kept in reserve"),
        })
    }

    /// Notes whether room could be set aside for blocks that are on their way.
    pub(super) fn note_tight(&self, tight: bool) {
        self.tight.store(tight, Ordering::Relaxed);
    }

    /// Whether so many octets of blocks may come. Room is set aside for those that did; where it could not be, there must be some.
    ///
    /// # Errors
    /// [`StoreError::Full`] with the figures.
    pub(super) fn room(&self, octets: u64) -> Result<(), StoreError> {
        if !self.tight.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.leaves(octets, self.octets)
            .inspect_err(|error| self.complain(error))
    }

    /// Tells the operator that writing is refused for want of room: now and then, not each time.
    pub(super) fn complain(&self, error: &StoreError) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= SILENCE) {
            *told = Some(Instant::now());
            tracing::error!(%error, "writing is refused until there is room");
        }
    }
}
