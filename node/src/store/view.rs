//! The index in sled: where each block and each record's value lies. Derived from packs and journal, deleted at any time.
//!
//! sled 0.34 may open without an error and be empty, its `flush` does not survive a power cut, and it panics where
//! others return an error. So it is opened only when it holds the stamp of the CHECKPOINT of an orderly stop, and
//! thrown away in every other case; and every call is caught.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sled::{Batch, Db, Tree};

use super::folder::{io_error, sync_folder, wait_for_lock};
use super::frame::Digest;
use super::log::{Place, Position};
use super::{StoreError, Version};

const STAMP: &[u8] = b"stamp";
/// How long sled's own lock is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

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
}

impl Changes {
    pub(super) fn len(&self) -> usize {
        self.blocks.len() + self.records.len() + self.marks.len()
    }
}

/// The open index.
pub(super) struct View {
    path: PathBuf,
    db: Db,
    /// Digest → place.
    blocks: Tree,
    /// Key → version and place of its last operation.
    records: Tree,
    /// Version → position of its commit, for some of the commits.
    marks: Tree,
}

impl View {
    /// The index of an orderly stop, if it is that one and whole.
    pub(super) fn open(path: &Path, cache: u64, stamp: u64) -> Option<Self> {
        if !wait_until_free(path) {
            tracing::warn!(path = %path.display(), "the view is still locked and is made anew");
            return None;
        }
        let view = match Self::raw(path, cache) {
            Ok(view) => view,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the view does not open and is made anew");
                return None;
            }
        };
        let found = guarded(|| view.db.get(STAMP)).ok().flatten();
        if found.as_deref() == Some(&stamp.to_be_bytes()) {
            return Some(view);
        }
        tracing::warn!(path = %path.display(), "the view is of another time than the checkpoint and is made anew");
        None
    }

    /// An empty index in the place of whatever is there.
    pub(super) fn create(path: &Path, cache: u64) -> Result<Self, StoreError> {
        if path.exists() {
            // sled of an earlier opening in this process may write in there for a while: it is waited for, and what it
            // has open gets another name.
            wait_until_free(path);
            let bad = path.with_extension(format!("sled.bad-{}", std::process::id()));
            remove(&bad)?;
            std::fs::rename(path, &bad).map_err(io_error(path))?;
            remove(&bad)?;
        }
        Self::raw(path, cache)
    }

    fn raw(path: &Path, cache: u64) -> Result<Self, StoreError> {
        guarded(|| {
            let db = sled::Config::new()
                .path(path)
                .cache_capacity(cache)
                .flush_every_ms(None)
                .open()?;
            Ok(Self {
                path: path.to_owned(),
                blocks: db.open_tree("blocks")?,
                records: db.open_tree("records")?,
                marks: db.open_tree("marks")?,
                db,
            })
        })
    }

    /// Where a block is.
    pub(super) fn block(&self, digest: &Digest) -> Result<Option<Place>, StoreError> {
        match guarded(|| self.blocks.get(digest))? {
            Some(octets) => read_place(&octets).map(Some),
            None => Ok(None),
        }
    }

    /// Blocks after a digest, ascending.
    pub(super) fn blocks_after(
        &self,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, Place)>, StoreError> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_slice()));
        let found = guarded(|| {
            self.blocks
                .range::<&[u8], _>((from, Bound::Unbounded))
                .take(limit)
                .collect::<sled::Result<Vec<_>>>()
        })?;
        found
            .iter()
            .map(|(key, octets)| {
                let digest = key.as_ref().try_into().map_err(|_| foreign("a digest"))?;
                Ok((digest, read_place(octets)?))
            })
            .collect()
    }

    /// Where a record is.
    pub(super) fn record(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        match guarded(|| self.records.get(key))? {
            Some(octets) => read_entry(&octets).map(Some),
            None => Ok(None),
        }
    }

    /// Records whose key has a prefix, after a key, ascending.
    pub(super) fn records_after(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Entry)>, StoreError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.as_bytes()),
            _ => Bound::Included(prefix.as_bytes()),
        };
        let found = guarded(|| {
            self.records
                .range::<&[u8], _>((from, Bound::Unbounded))
                .take_while(|next| {
                    next.as_ref()
                        .map_or(true, |(key, _)| key.starts_with(prefix.as_bytes()))
                })
                .take(limit)
                .collect::<sled::Result<Vec<_>>>()
        })?;
        found
            .iter()
            .map(|(key, octets)| {
                let key = std::str::from_utf8(key).map_err(|_| foreign("a key"))?;
                Ok((key.to_owned(), read_entry(octets)?))
            })
            .collect()
    }

    /// The last remembered position at or before a version.
    pub(super) fn mark(&self, version: Version) -> Result<Option<Position>, StoreError> {
        let after = version.saturating_add(1).to_be_bytes();
        match guarded(|| self.marks.get_lt(after))? {
            Some((_, octets)) => {
                let place = read_place(&octets)?;
                Ok(Some(Position {
                    file: place.file,
                    offset: place.offset,
                }))
            }
            None => Ok(None),
        }
    }

    /// Takes in what became durable.
    pub(super) fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
        guarded(|| {
            apply(&self.blocks, &changes.blocks, |(digest, place)| {
                (
                    digest.to_vec(),
                    place.as_ref().map(|place| write_place(place).to_vec()),
                )
            })?;
            apply(&self.marks, &changes.marks, |(version, at)| {
                let place = Place {
                    file: at.file,
                    offset: at.offset,
                    length: 0,
                };
                (version.to_be_bytes().to_vec(), Some(write_place(&place).to_vec()))
            })?;
            apply(&self.records, &changes.records, |(key, entry)| {
                (key.clone().into_bytes(), entry.as_ref().map(write_entry))
            })
        })
    }

    /// Takes the stamp of an orderly stop, makes everything durable, and lets go of the files.
    pub(super) fn close(self, stamp: u64) -> Result<(), StoreError> {
        guarded(|| {
            self.db.insert(STAMP, &stamp.to_be_bytes())?;
            self.db.flush()
        })?;
        let file = self.path.join("db");
        File::open(&file)
            .and_then(|file| file.sync_data())
            .map_err(io_error(&file))?;
        sync_folder(&self.path)?;
        let path = self.path.clone();
        guarded(|| {
            drop(self);
            Ok(())
        })?;
        wait_until_free(&path);
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
    .map_err(io_error(path))
}

/// Whether nobody has the index open: sled lets go of its files some time after it was dropped.
pub(super) fn wait_until_free(path: &Path) -> bool {
    match File::options().write(true).open(path.join("db")) {
        Ok(file) => wait_for_lock(&file, LOCK_PATIENCE).unwrap_or(false),
        Err(_) => true,
    }
}

fn apply<T>(
    tree: &Tree,
    changes: &[T],
    entry: impl Fn(&T) -> (Vec<u8>, Option<Vec<u8>>),
) -> sled::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::default();
    for change in changes {
        match entry(change) {
            (key, Some(value)) => batch.insert(key, value),
            (key, None) => batch.remove(key),
        }
    }
    tree.apply_batch(batch)
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
        what: "view.sled".to_owned(),
        why: why.to_owned(),
    }
}

/// A call into sled, which may panic.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(lost(&error.to_string())),
        Err(_) => Err(lost("sled panicked")),
    }
}
