//! The index: where each block and each record's value lies. Derived from packs and journal, deleted at any time.
//!
//! What always holds: it holds nothing that is not durable in packs and journal. It is believed only when it carries a
//! stamp that the CHECKPOINT names: an engine may open without an error and be empty, or be of another time.
//!
//! Two engines, one file each; which one is configured.

mod in_redb;
mod in_sled;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::io_error;
use super::frame::Digest;
use super::log::{Place, Position};
use super::{StoreError, Version};

/// The engine of the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IndexKind {
    /// sled 0.34.
    #[default]
    Sled,
    /// redb 4.
    Redb,
}

impl IndexKind {
    /// Every engine that there is.
    pub const ALL: [Self; 2] = [Self::Sled, Self::Redb];

    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
        }
    }

    /// Where its index is in a data directory.
    pub(super) fn path(self, folder: &Path) -> PathBuf {
        folder.join(format!("view.{}", self.name()))
    }
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) version: Version,
    pub(super) place: Place,
}

/// What one group changed, in its order.
#[derive(Default)]
pub(super) struct Changes {
    /// Blocks that came, and went.
    pub(super) blocks: Vec<(Digest, Option<Place>)>,
    /// Records that were written, and removed.
    pub(super) records: Vec<(String, Option<Entry>)>,
    /// Commits whose place is remembered.
    pub(super) marks: Vec<(Version, Position)>,
    /// The last file of the journal that is not there any more: no place in it, or before it, is remembered.
    pub(super) forgotten: Option<u32>,
}

impl Changes {
    pub(super) fn len(&self) -> usize {
        self.blocks.len() + self.records.len() + self.marks.len() + usize::from(self.forgotten.is_some())
    }
}

/// The stamps that an index carries: the last one, and the one before. Whoever was stopped between the index and the
/// CHECKPOINT finds the older one in the CHECKPOINT.
type Stamps = [u64; 2];

/// An open index. One thread changes it, any number read it.
pub(super) trait Index: Send + Sync {
    /// Where a block is.
    fn block(&self, digest: &Digest) -> Result<Option<Place>, StoreError>;

    /// Blocks after a digest, ascending.
    fn blocks_after(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<(Digest, Place)>, StoreError>;

    /// Where a record is.
    fn record(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Records whose key has a prefix, after a key, ascending.
    fn records_after(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Entry)>, StoreError>;

    /// The last remembered position at or before a version.
    fn mark(&self, version: Version) -> Result<Option<Position>, StoreError>;

    /// Takes in what became durable elsewhere; durable here only after [`Index::settle`].
    fn apply(&self, changes: &Changes) -> Result<(), StoreError>;

    /// The stamps that it carries; none when it never settled.
    fn stamps(&self) -> Result<Option<Stamps>, StoreError>;

    /// Takes a stamp, and makes everything that was applied durable.
    fn settle(&self, stamp: u64) -> Result<(), StoreError>;

    /// Lets go of the files; what was not settled may be lost.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// The index in a data directory, if there is one that carries this stamp.
pub(super) fn open(kind: IndexKind, folder: &Path, cache: u64, stamp: u64) -> Option<Box<dyn Index>> {
    let path = kind.path(folder);
    if !path.exists() {
        tracing::info!(path = %path.display(), "there is no view; it is made");
        return None;
    }
    if !is_free(kind, folder) {
        tracing::warn!(path = %path.display(), "the view is still locked and is made anew");
        return None;
    }
    let opened = engine(kind, &path, cache).and_then(|index| Ok((index.stamps()?, index)));
    match opened {
        Ok((Some(stamps), index)) if stamps.contains(&stamp) => Some(index),
        Ok(_) => {
            tracing::warn!(path = %path.display(), "the view is of another time than the checkpoint and is made anew");
            None
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the view does not open and is made anew");
            None
        }
    }
}

/// An empty index in the place of whatever is there, of this engine or another.
pub(super) fn create(kind: IndexKind, folder: &Path, cache: u64) -> Result<Box<dyn Index>, StoreError> {
    for kind in IndexKind::ALL {
        discard(kind, folder)?;
    }
    engine(kind, &kind.path(folder), cache)
}

/// Waits until nobody has the index open, for a while: sled lets go of its files some time after it was dropped.
pub(super) fn is_free(kind: IndexKind, folder: &Path) -> bool {
    match kind {
        IndexKind::Sled => in_sled::is_free(&kind.path(folder)),
        IndexKind::Redb => true,
    }
}

fn engine(kind: IndexKind, path: &Path, cache: u64) -> Result<Box<dyn Index>, StoreError> {
    Ok(match kind {
        IndexKind::Sled => Box::new(in_sled::InSled::open(path, cache)?),
        IndexKind::Redb => Box::new(in_redb::InRedb::open(path, cache)?),
    })
}

/// Removes an index. An earlier opening in this process may still write: it is waited for, and what it has open gets another name.
pub(super) fn discard(kind: IndexKind, folder: &Path) -> Result<(), StoreError> {
    let path = kind.path(folder);
    // One that was being removed when the process was stopped, too.
    let bad = path.with_extension(format!("{}.bad", kind.name()));
    remove(&bad)?;
    if path.exists() {
        is_free(kind, folder);
        std::fs::rename(&path, &bad).map_err(io_error(&path))?;
        remove(&bad)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
    .map_err(io_error(path))
}

fn write_place(place: &Place) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&place.file.to_be_bytes());
    octets[4..12].copy_from_slice(&place.offset.to_be_bytes());
    octets[12..].copy_from_slice(&place.length.to_be_bytes());
    octets
}

fn write_entry(entry: &Entry) -> Vec<u8> {
    let mut octets = entry.version.to_be_bytes().to_vec();
    octets.extend_from_slice(&write_place(&entry.place));
    octets
}

fn write_stamps([last, before]: Stamps) -> [u8; 16] {
    (u128::from(last) << 64 | u128::from(before)).to_be_bytes()
}

fn read_stamps(octets: &[u8]) -> Result<Stamps, StoreError> {
    let octets = octets.try_into().map_err(|_| foreign("a stamp"))?;
    let both = u128::from_be_bytes(octets);
    Ok([(both >> 64) as u64, both as u64])
}

fn read_place(octets: &[u8]) -> Result<Place, StoreError> {
    let read = || {
        let (file, rest) = octets.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let length = rest.try_into().ok()?;
        Some(Place {
            file: u32::from_be_bytes(*file),
            offset: u64::from_be_bytes(*offset),
            length: u32::from_be_bytes(length),
        })
    };
    read().ok_or_else(|| foreign("a place"))
}

fn read_entry(octets: &[u8]) -> Result<Entry, StoreError> {
    let (version, place) = octets.split_first_chunk().ok_or_else(|| foreign("an entry"))?;
    Ok(Entry {
        version: u64::from_be_bytes(*version),
        place: read_place(place)?,
    })
}

fn foreign(what: &str) -> StoreError {
    lost(&format!("{what} has another form"))
}

fn lost(why: &str) -> StoreError {
    StoreError::Damaged {
        what: "the view".to_owned(),
        why: why.to_owned(),
    }
}

/// A call into an engine, which may panic.
fn guarded<T, E: std::fmt::Display>(call: impl FnOnce() -> Result<T, E>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(lost(&error.to_string())),
        Err(_) => Err(lost("its engine panicked")),
    }
}
