//! The record port over the journal: a journal record is one commit, and a value is read from where its commit wrote it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::commit::{Carried, Subject};
use super::home::Home;
use super::index::Entry;
use super::log::{Appender, Place, Position, is_gone};
use super::scribe::{Request, Scribe};
use super::writer::Writer;
use super::{
    Change, CommitError, Cond, Key, Op, Record, RecordStore, Settling, StoreError, Version, commit, limits,
};

/// Records, and octets of one, that are read without a thread of its own when they are in memory.
const AT_ONCE: (usize, u32) = (32, 64 * 1024);
/// How often a record is looked up again whose file was removed meanwhile.
const LOOKUPS: usize = 8;

/// The records of an open store.
pub(super) struct Journal {
    reader: Arc<Reader>,
    writer: Writer<Scribe>,
}

/// What a thread needs to look up and read.
pub(super) struct Reader {
    pub(super) home: Arc<Home>,
    /// Files with a smaller number do not grow any more.
    pub(super) active: AtomicU32,
}

impl Journal {
    pub(super) fn open(home: Arc<Home>, appender: Appender, version: Version) -> Result<Self, StoreError> {
        let reader = Arc::new(Reader {
            home: home.clone(),
            active: AtomicU32::new(appender.position().file),
        });
        let scribe = Scribe::new(reader.clone(), appender, version);
        Ok(Self {
            writer: Writer::start("journal", home, scribe)?,
            reader,
        })
    }

    pub(super) fn home(&self) -> &Home {
        &self.reader.home
    }

    /// The first file that is not to be touched: it grows.
    pub(super) fn active(&self) -> u32 {
        self.reader.active.load(Ordering::Acquire)
    }

    /// Repeats records that are still as they are here, and waits.
    pub(super) fn carry(&self, records: Vec<(Carried, Place)>) -> Result<(), StoreError> {
        self.writer.ask_and_wait(Request::Carry(records)).map(drop)
    }

    /// Begins the next file, and waits.
    pub(super) fn begin_next(&self) -> Result<(), StoreError> {
        self.writer.ask_and_wait(Request::BeginNext).map(drop)
    }

    /// Ends the writing when everything before is done.
    pub(super) async fn stop(&self) {
        self.writer.stop().await;
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.reader.clone();
        self.reader.home.on_thread(move || work(&reader)).await
    }
}

impl Reader {
    /// A record as it was when its entry was looked up, or as it is now, when compaction has removed the file since.
    fn current(&self, key: Key, mut entry: Entry) -> Result<Option<Record>, StoreError> {
        for _ in 0..LOOKUPS {
            match self.record(key.clone(), entry) {
                Err(error) if is_gone(&error) => match self.home.read(|view, _| view.record(&key))? {
                    Some(now) => entry = now,
                    None => return Ok(None),
                },
                found => return found.map(Some),
            }
        }
        match self.record(key, entry) {
            Err(error) if is_gone(&error) => {
                Err(self.home.journal.damaged(entry.place, "the file is not there"))
            }
            found => found.map(Some),
        }
    }

    /// A few small records that are in memory; nothing when that takes waiting for whoever writes, or another look. What the index
    /// does not hold in its cache it reads from the disk, as it does on any thread.
    fn read_at_once(&self, keys: &[Key]) -> Option<Vec<Option<Record>>> {
        let (records, octets) = AT_ONCE;
        if keys.len() > records {
            return None;
        }
        let entries = self.home.read_at_once(|view| {
            let entries = keys.iter().map(|key| view.record(key));
            entries.collect::<Result<Vec<_>, _>>()
        })?;
        let read = |(key, entry): (&Key, Option<Entry>)| match entry {
            Some(entry) if entry.place.length > octets => None,
            Some(entry) => taken_out(key, entry, self.home.journal.read_at_once(entry.place)?).map(Some),
            None => Some(None),
        };
        keys.iter().zip(entries).map(read).collect()
    }

    fn record(&self, key: Key, entry: Entry) -> Result<Record, StoreError> {
        match taken_out(&key, entry, self.home.journal.read(entry.place)?) {
            Some(record) => Ok(record),
            None => {
                let error = self
                    .home
                    .journal
                    .damaged(entry.place, &format!("record {key} does not check"));
                tracing::error!(%error, "a record is damaged and is not given out");
                Err(error)
            }
        }
    }

    fn changes(&self, after: Version, limit: usize) -> Result<Vec<Change>, StoreError> {
        let (last, mark) = self
            .home
            .read(|view, last| Ok((last, view.mark(after.saturating_add(1))?)))?;
        let mut changes = Vec::new();
        if after >= last || limit == 0 {
            return Ok(changes);
        }
        let _files = self.home.journal.hold();
        let numbers = self.home.journal.numbers()?;
        let first = numbers.first().copied().unwrap_or_default();
        let mark = mark.filter(|mark| mark.file >= first).unwrap_or(Position {
            file: first,
            offset: 0,
        });
        let mut is_begun = first <= 1 || mark.file > first;
        for number in numbers.into_iter().filter(|number| *number >= mark.file) {
            let mut scan = self.home.journal.scan(number)?;
            let mut offset = if number == mark.file { mark.offset } else { 0 };
            while let Some(frame) = scan.frame(offset)? {
                let place = Place {
                    file: number,
                    offset,
                    length: frame.header.length,
                };
                offset += frame.header.size();
                let outline = commit::outline(frame.payload)
                    .ok_or_else(|| self.home.journal.damaged(place, "the commit has no form"))?;
                if !std::mem::replace(&mut is_begun, true) && outline.version > after.saturating_add(1) {
                    return Err(StoreError::Compacted);
                }
                if outline.version > after {
                    let payload = Bytes::copy_from_slice(frame.payload);
                    for range in outline.ops {
                        if let Some(Subject::Carried(..)) = commit::subject(&payload[range.clone()]) {
                            continue;
                        }
                        let op = commit::decode(&payload.slice(range))
                            .ok_or_else(|| self.home.journal.damaged(place, "an operation does not check"))?;
                        changes.push(change(outline.version, op));
                    }
                }
                if outline.version >= last || changes.len() >= limit {
                    return Ok(changes);
                }
            }
            if offset < scan.size() {
                return Err(self.home.journal.damaged(
                    Place {
                        file: number,
                        offset,
                        length: 0,
                    },
                    "the commit does not check",
                ));
            }
        }
        Ok(changes)
    }
}

/// The record that these octets hold, when they check.
fn taken_out(key: &Key, entry: Entry, octets: Vec<u8>) -> Option<Record> {
    match commit::decode(&Bytes::from(octets)) {
        Some(Op::Put(found, value)) if found == *key => Some(Record {
            key: found,
            version: entry.version,
            value,
        }),
        _ => None,
    }
}

fn change(version: Version, op: Op) -> Change {
    let (key, value) = match op {
        Op::Put(key, value) => (key, Some(value)),
        Op::Delete(key) => (key, None),
    };
    Change { version, key, value }
}

#[async_trait]
impl RecordStore for Journal {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        if let Some(found) = self.reader.read_at_once(keys) {
            return Ok(found);
        }
        let keys = keys.to_vec();
        self.on_thread(move |reader| {
            let entries = reader.home.read(|view, _| {
                keys.iter()
                    .map(|key| view.record(key))
                    .collect::<Result<Vec<_>, _>>()
            })?;
            keys.into_iter()
                .zip(entries)
                .map(|(key, entry)| match entry {
                    Some(entry) => reader.current(key, entry),
                    None => Ok(None),
                })
                .collect()
        })
        .await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(ToOwned::to_owned));
        self.on_thread(move |reader| {
            let entries = reader
                .home
                .read(|view, _| view.records_after(&prefix, after.as_deref(), limit))?;
            entries
                .into_iter()
                .filter_map(|(key, entry)| reader.current(key, entry).transpose())
                .collect()
        })
        .await
    }

    async fn commit(&self, when: Vec<Cond>, then: Vec<Op>) -> Result<Version, CommitError> {
        check(&then)?;
        match self.writer.ask(Request::Commit { when, then }).await? {
            Ok(version) => Ok(version),
            Err(key) => Err(CommitError::Conflict(key)),
        }
    }

    async fn write(&self, when: Vec<Cond>, then: Vec<Op>) -> Result<Settling<CommitError>, CommitError> {
        check(&then)?;
        let asked = self.writer.ask_to_write(Request::Commit { when, then }).await?;
        Ok(Box::pin(async {
            asked.answer().await?.map(drop).map_err(CommitError::Conflict)
        }))
    }

    async fn changes(&self, after: Version, limit: usize) -> Result<Vec<Change>, StoreError> {
        self.on_thread(move |reader| reader.changes(after, limit)).await
    }
}

fn check(ops: &[Op]) -> Result<(), StoreError> {
    let within = |what, size: usize, limit: usize| {
        if size <= limit {
            Ok(())
        } else {
            Err(StoreError::TooLarge { what, limit })
        }
    };
    for op in ops {
        match op {
            Op::Put(key, value) => {
                within("a key", key.len(), limits::RECORD_KEY)?;
                within("a record", value.len(), limits::RECORD)?;
            }
            Op::Delete(key) => within("a key", key.len(), limits::RECORD_KEY)?,
        }
    }
    within("a commit", commit::size(ops), limits::COMMIT)
}
