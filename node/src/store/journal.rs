//! The record port over the journal: a journal record is one commit, and a value is read from where its commit wrote it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::commit::{Carried, Subject};
use super::frame::{HEAD, Kind, sha256};
use super::home::{Home, Reached};
use super::index::{Changes, Entry};
use super::log::{Appended, Appender, Failure, Place, Position, is_gone};
use super::unshown::Unshown;
use super::writer::{Done, Write, Writer, Written};
use super::{Change, CommitError, Cond, Key, Op, Record, RecordStore, StoreError, Version, commit, limits};

/// Octets of the journal between commits whose place is remembered, for [`RecordStore::changes`].
pub(super) const MARK: u64 = 64 * 1024;

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
struct Reader {
    home: Arc<Home>,
    /// Files with a smaller number do not grow any more.
    active: AtomicU32,
}

impl Journal {
    pub(super) fn open(home: Arc<Home>, appender: Appender, version: Version) -> Result<Self, StoreError> {
        let reader = Arc::new(Reader {
            home: home.clone(),
            active: AtomicU32::new(appender.position().file),
        });
        let scribe = Scribe {
            reader: reader.clone(),
            appender,
            unshown: Arc::default(),
            version,
            mark: None,
        };
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
        self.record(key, entry).map(Some)
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

/// What the writing thread is asked to do.
enum Request {
    /// A commit.
    Commit { when: Vec<Cond>, then: Vec<Op> },
    /// Repeats records that are still at these places.
    Carry(Vec<(Carried, Place)>),
    /// Begins the next file.
    BeginNext,
}

/// The writing thread's own.
struct Scribe {
    reader: Arc<Reader>,
    appender: Appender,
    unshown: Arc<Unshown<Key, Option<Entry>>>,
    /// Of the last commit that is written.
    version: Version,
    /// The last place that is remembered.
    mark: Option<Position>,
}

/// Records as they will be when the group is shown.
type Pending = HashMap<Key, Option<Entry>>;

impl Scribe {
    /// Where a record is before, and within, the group.
    fn entry(&self, key: &Key, pending: &Pending) -> Result<Option<Entry>, Failure> {
        match pending.get(key).copied().or_else(|| self.unshown.find(key)) {
            Some(entry) => Ok(entry),
            None => self
                .reader
                .home
                .read(|view, _| view.record(key))
                .map_err(Failure::Refused),
        }
    }

    /// The key whose condition does not hold.
    fn conflict(&self, when: &[Cond], pending: &Pending) -> Result<Option<Key>, Failure> {
        for cond in when {
            let (Cond::Absent(key) | Cond::Is(key, _)) = cond;
            let entry = self.entry(key, pending)?;
            let holds = match cond {
                Cond::Absent(_) => entry.is_none(),
                Cond::Is(_, version) => entry.is_some_and(|entry| entry.version == *version),
            };
            if !holds {
                return Ok(Some(key.clone()));
            }
        }
        Ok(None)
    }

    /// Writes a commit; where its operations are.
    fn write_commit(
        &mut self,
        version: Version,
        (payload, ranges): (Vec<u8>, Vec<Range<usize>>),
        changes: &mut Changes,
    ) -> Result<Vec<Place>, Failure> {
        let at = self.appender.append(Kind::Data, sha256(&payload), &payload)?;
        let begin = Position {
            file: at.file,
            offset: at.offset - HEAD as u64,
        };
        if is_far(self.mark, begin) {
            changes.marks.push((version, begin));
            self.mark = Some(begin);
        }
        let place = |range: Range<usize>| Place {
            file: at.file,
            offset: at.offset + range.start as u64,
            length: range.len() as u32,
        };
        Ok(ranges.into_iter().map(place).collect())
    }

    /// Repeats those of the records that are still at their places; whether there was one.
    fn carry(
        &mut self,
        version: Version,
        records: &[(Carried, Place)],
        pending: &mut Pending,
        changes: &mut Changes,
    ) -> Result<bool, Failure> {
        let mut still = Vec::new();
        for (record, place) in records {
            let entry = self.entry(&record.key, pending)?;
            if entry.is_some_and(|entry| entry.place == *place) {
                still.push(record);
            }
        }
        if still.is_empty() {
            return Ok(false);
        }
        let places = self.write_commit(version, commit::encode_carried(version, &still), changes)?;
        for (record, place) in still.into_iter().zip(places) {
            let version = record.version;
            pending.insert(record.key.clone(), Some(Entry { version, place }));
        }
        Ok(true)
    }

    fn append(
        &mut self,
        version: Version,
        ops: &[Op],
        pending: &mut Pending,
        changes: &mut Changes,
    ) -> Result<(), Failure> {
        let places = self.write_commit(version, commit::encode(version, ops), changes)?;
        for (op, place) in ops.iter().zip(places) {
            let (key, entry) = match op {
                Op::Put(key, _) => (key, Some(Entry { version, place })),
                Op::Delete(key) => (key, None),
            };
            pending.insert(key.clone(), entry);
        }
        Ok(())
    }
}

/// Whether a commit at `at` is far enough from the last remembered one to be remembered too.
pub(super) fn is_far(mark: Option<Position>, at: Position) -> bool {
    mark.is_none_or(|mark| mark.file != at.file || at.offset >= mark.offset + MARK)
}

impl Write for Scribe {
    type Request = Request;
    type Answer = Result<Version, Key>;
    type Written = Journaled;

    fn weight(request: &Request) -> u64 {
        match request {
            Request::Commit { then, .. } => (HEAD + commit::size(then)) as u64,
            Request::Carry(records) => records.iter().map(|(_, place)| u64::from(place.length)).sum(),
            Request::BeginNext => 0,
        }
    }

    fn needs_rest(&self, group: &[Request]) -> bool {
        self.begins_next(group) || self.appender.is_stretched()
    }

    fn write(&mut self, group: &[Request]) -> Result<Done<Self>, Failure> {
        if self.begins_next(group) {
            self.appender.begin_next()?;
            self.note();
            self.reader.home.ask_to_settle();
            let active = self.appender.position().file;
            self.reader.active.store(active, Ordering::Release);
        }
        let mut version = self.version;
        let mut pending = Pending::new();
        let mut changes = Changes::default();
        let mut answers = Vec::with_capacity(group.len());
        for request in group {
            match request {
                Request::Commit { when, then } => {
                    if let Some(key) = self.conflict(when, &pending)? {
                        answers.push(Err(key));
                        continue;
                    }
                    if !then.is_empty() {
                        version += 1;
                        self.append(version, then, &mut pending, &mut changes)?;
                    }
                }
                Request::Carry(records) => {
                    if self.carry(version + 1, records, &mut pending, &mut changes)? {
                        version += 1;
                    }
                }
                Request::BeginNext => {}
            }
            answers.push(Ok(version));
        }
        if version == self.version {
            return Ok((answers, None));
        }
        let appended = self.appender.end_group()?;
        self.version = version;
        changes.records = pending.into_iter().collect();
        let journaled = Journaled {
            reader: self.reader.clone(),
            group: self.unshown.add(changes.records.iter().cloned()),
            unshown: self.unshown.clone(),
            appended,
            version,
            changes,
        };
        Ok((answers, Some(journaled)))
    }

    fn undo(&mut self) -> Result<(), StoreError> {
        // A remembered place may be one that does not exist: the next commit is remembered.
        self.mark = None;
        self.appender.undo()
    }

    fn stop(self) {
        self.note();
    }
}

impl Scribe {
    fn begins_next(&self, group: &[Request]) -> bool {
        let is_asked = group.iter().any(|request| matches!(request, Request::BeginNext));
        self.appender.is_full() || is_asked && self.appender.position().offset > 0
    }

    fn note(&self) {
        let (journal, version) = (self.appender.position(), self.version);
        self.reader.home.note(|checkpoint| {
            checkpoint.journal = journal;
            checkpoint.version = version;
        });
    }
}

/// A group that is in the journal.
struct Journaled {
    reader: Arc<Reader>,
    unshown: Arc<Unshown<Key, Option<Entry>>>,
    /// Its number there.
    group: u64,
    appended: Appended,
    /// Of its last commit.
    version: Version,
    changes: Changes,
}

impl Written for Journaled {
    fn sync(&self) -> Result<(), StoreError> {
        self.appended.sync()
    }

    fn cut_off(&self) -> Result<(), StoreError> {
        self.appended.cut_off()
    }

    fn show(self) -> Result<(), StoreError> {
        let reached = Reached::Journal(self.appended.end, self.version);
        let shown = self.reader.home.apply(self.changes, reached);
        self.unshown.shown(self.group);
        shown
    }
}
