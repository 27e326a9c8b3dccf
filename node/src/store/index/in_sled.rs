//! The index in sled 0.34: three trees, opened with a cache that sled takes as advice.
//!
//! sled may open without an error and be empty, its `flush` does not survive a power cut, and it panics where others
//! return an error. So `flush` is followed by a sync of its file, every call is caught, and nothing is believed that
//! carries no stamp.

use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sled::{Db, Tree};

use super::{
    Changes, Entry, Index, Stamps, foreign, guarded, read_entry, read_place, read_stamps, write_entry,
    write_place, write_stamps,
};
use crate::store::folder::{io_error, sync_folder, wait_for_lock};
use crate::store::frame::Digest;
use crate::store::log::{Place, Position};
use crate::store::{StoreError, Version};

const STAMPS: &[u8] = b"stamps";
/// How long sled's own lock is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// An open one.
pub(super) struct InSled {
    path: PathBuf,
    db: Db,
    /// Digest → place.
    blocks: Tree,
    /// Key → version and place of its last operation.
    records: Tree,
    /// Version → position of its commit, for some of the commits.
    marks: Tree,
}

impl InSled {
    pub(super) fn open(path: &Path, cache: u64) -> Result<Self, StoreError> {
        guarded(|| {
            let db = sled::Config::new()
                .path(path)
                .cache_capacity(cache)
                .flush_every_ms(None)
                .open()?;
            Ok::<_, sled::Error>(Self {
                path: path.to_owned(),
                blocks: db.open_tree("blocks")?,
                records: db.open_tree("records")?,
                marks: db.open_tree("marks")?,
                db,
            })
        })
    }
}

impl Index for InSled {
    fn block(&self, digest: &Digest) -> Result<Option<Place>, StoreError> {
        match guarded(|| self.blocks.get(digest))? {
            Some(octets) => read_place(&octets).map(Some),
            None => Ok(None),
        }
    }

    fn blocks_after(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<(Digest, Place)>, StoreError> {
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

    fn record(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        match guarded(|| self.records.get(key))? {
            Some(octets) => read_entry(&octets).map(Some),
            None => Ok(None),
        }
    }

    fn records_after(
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

    fn mark(&self, version: Version) -> Result<Option<Position>, StoreError> {
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

    fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
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
            if let Some(forgotten) = changes.forgotten {
                // They ascend with their versions.
                for mark in &self.marks {
                    let (version, octets) = mark?;
                    if read_place(&octets).is_ok_and(|place| place.file > forgotten) {
                        break;
                    }
                    self.marks.remove(version)?;
                }
            }
            apply(&self.records, &changes.records, |(key, entry)| {
                (key.clone().into_bytes(), entry.as_ref().map(write_entry))
            })
        })
    }

    fn stamps(&self) -> Result<Option<Stamps>, StoreError> {
        match guarded(|| self.db.get(STAMPS))? {
            Some(octets) => read_stamps(&octets).map(Some),
            None => Ok(None),
        }
    }

    fn settle(&self, stamp: u64) -> Result<(), StoreError> {
        let before = self.stamps()?.map_or(stamp, |[last, _]| last);
        guarded(|| {
            self.db.insert(STAMPS, &write_stamps([stamp, before]))?;
            self.db.flush()
        })?;
        let file = self.path.join("db");
        File::open(&file)
            .and_then(|file| file.sync_data())
            .map_err(io_error(&file))?;
        sync_folder(&self.path)
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        let path = self.path.clone();
        guarded(|| {
            drop(self);
            Ok::<_, sled::Error>(())
        })?;
        is_free(&path);
        Ok(())
    }
}

/// Whether nobody has it open; that is waited for.
pub(super) fn is_free(path: &Path) -> bool {
    match File::options().write(true).open(path.join("db")) {
        Ok(file) => wait_for_lock(&file, LOCK_PATIENCE).unwrap_or(false),
        Err(_) => true,
    }
}

/// One change after the other, neighbours together. sled's batches would keep all readers waiting, and nobody needs to see all of
/// one at a time: what is not forgotten yet is read elsewhere, and what a crash tears is taken in anew.
fn apply<T>(
    tree: &Tree,
    changes: &[T],
    entry: impl Fn(&T) -> (Vec<u8>, Option<Vec<u8>>),
) -> sled::Result<()> {
    let mut entries: Vec<(Vec<u8>, Option<Vec<u8>>)> = changes.iter().map(entry).collect();
    // Stable: of one key, what came last is last.
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (key, value) in entries {
        match value {
            Some(value) => tree.insert(key, value)?,
            None => tree.remove(key)?,
        };
    }
    Ok(())
}
