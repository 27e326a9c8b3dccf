//! The index in redb 4: one file, three tables and the stamps. Batches are committed without a sync; only what settles is
//! durable, and after a power cut the file is as it last settled.

use std::ops::Bound;
use std::path::Path;

use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

use super::{
    Changes, Entry, Index, Stamps, guarded, read_entry, read_place, read_stamps, write_entry, write_place,
    write_stamps,
};
use crate::store::folder::sync_folder;
use crate::store::frame::Digest;
use crate::store::log::{Place, Position};
use crate::store::{StoreError, Version};

/// Digest → place.
const BLOCKS: TableDefinition<'_, &[u8; 32], &[u8; 16]> = TableDefinition::new("blocks");
/// Key → version and place of its last operation.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Version → position of its commit, for some of the commits.
const MARKS: TableDefinition<'_, u64, &[u8; 16]> = TableDefinition::new("marks");
const STAMPS: TableDefinition<'_, (), &[u8; 16]> = TableDefinition::new("stamps");

/// An open one.
pub(super) struct InRedb {
    db: Database,
}

impl InRedb {
    pub(super) fn open(path: &Path, cache: u64) -> Result<Self, StoreError> {
        let index = guarded(|| {
            let db = Database::builder()
                .set_cache_size(usize::try_from(cache).unwrap_or(usize::MAX))
                .create(path)?;
            let index = Self { db };
            index.write(Durability::None, |transaction| {
                transaction.open_table(BLOCKS)?;
                transaction.open_table(RECORDS)?;
                transaction.open_table(MARKS)?;
                transaction.open_table(STAMPS)?;
                Ok(())
            })?;
            Ok::<_, redb::Error>(index)
        })?;
        // What it settles is nothing without its name.
        path.parent().map_or(Ok(()), sync_folder)?;
        Ok(index)
    }

    fn write(
        &self,
        durability: Durability,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(durability)?;
        // What settles need not be walked through when it is opened after a power cut.
        transaction.set_quick_repair(matches!(durability, Durability::Immediate));
        change(&transaction)?;
        transaction.commit()?;
        Ok(())
    }

    fn read<K: redb::Key + 'static, V: redb::Value + 'static, T>(
        &self,
        table: TableDefinition<'_, K, V>,
        read: impl FnOnce(ReadOnlyTable<K, V>) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        guarded(|| read(self.db.begin_read()?.open_table(table)?))
    }
}

impl Index for InRedb {
    fn block(&self, digest: &Digest) -> Result<Option<Place>, StoreError> {
        let found = self.read(BLOCKS, |table| Ok(table.get(digest)?.map(|found| *found.value())))?;
        found.map(|octets| read_place(&octets)).transpose()
    }

    fn blocks_after(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<(Digest, Place)>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.read(BLOCKS, |table| {
            let range = table.range::<&[u8; 32]>((from, Bound::Unbounded))?;
            let mut found = Vec::new();
            for next in range.take(limit) {
                let (digest, place) = next?;
                found.push((*digest.value(), *place.value()));
            }
            Ok(found)
        })?;
        found
            .into_iter()
            .map(|(digest, octets)| Ok((digest, read_place(&octets)?)))
            .collect()
    }

    fn record(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.read(RECORDS, |table| {
            Ok(table.get(key)?.map(|found| read_entry(found.value())))
        })?
        .transpose()
    }

    fn records_after(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Entry)>, StoreError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let found = self.read(RECORDS, |table| {
            let range = table.range::<&str>((from, Bound::Unbounded))?;
            let mut found = Vec::new();
            for next in range.take(limit) {
                let (key, entry) = next?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_owned(), read_entry(entry.value())));
            }
            Ok(found)
        })?;
        found.into_iter().map(|(key, entry)| Ok((key, entry?))).collect()
    }

    fn mark(&self, version: Version) -> Result<Option<Position>, StoreError> {
        let found = self.read(MARKS, |table| {
            let last = table.range(..=version)?.next_back().transpose()?;
            Ok(last.map(|(_, place)| *place.value()))
        })?;
        let place = found.map(|octets| read_place(&octets)).transpose()?;
        Ok(place.map(|Place { file, offset, .. }| Position { file, offset }))
    }

    fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
        guarded(|| {
            self.write(Durability::None, |transaction| {
                let mut blocks = transaction.open_table(BLOCKS)?;
                for (digest, place) in &changes.blocks {
                    match place {
                        Some(place) => blocks.insert(digest, &write_place(place))?,
                        None => blocks.remove(digest)?,
                    };
                }
                let mut records = transaction.open_table(RECORDS)?;
                for (key, entry) in &changes.records {
                    match entry {
                        Some(entry) => records.insert(key.as_str(), write_entry(entry).as_slice())?,
                        None => records.remove(key.as_str())?,
                    };
                }
                let mut marks = transaction.open_table(MARKS)?;
                for (version, at) in &changes.marks {
                    let place = Place {
                        file: at.file,
                        offset: at.offset,
                        length: 0,
                    };
                    marks.insert(version, &write_place(&place))?;
                }
                if let Some(forgotten) = changes.forgotten {
                    // They ascend with their versions.
                    let mut gone = Vec::new();
                    for mark in marks.iter()? {
                        let (version, octets) = mark?;
                        if read_place(octets.value()).is_ok_and(|place| place.file > forgotten) {
                            break;
                        }
                        gone.push(version.value());
                    }
                    for version in gone {
                        marks.remove(version)?;
                    }
                }
                Ok(())
            })
        })
    }

    fn stamps(&self) -> Result<Option<Stamps>, StoreError> {
        let found = self.read(STAMPS, |table| Ok(table.get(())?.map(|found| *found.value())))?;
        found.map(|octets| read_stamps(&octets)).transpose()
    }

    fn settle(&self, stamp: u64) -> Result<(), StoreError> {
        let before = self.stamps()?.map_or(stamp, |[last, _]| last);
        guarded(|| {
            self.write(Durability::Immediate, |transaction| {
                let mut stamps = transaction.open_table(STAMPS)?;
                stamps.insert((), &write_stamps([stamp, before]))?;
                Ok(())
            })
        })
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        guarded(|| self.db.close())
    }
}
