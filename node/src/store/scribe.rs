//! The thread that writes the journal: commits, records that are carried on, and the places that are remembered.
//!
//! What always holds: this thread alone changes records, so that a condition which it has looked at holds until the group is written;
//! versions go up by one for each commit.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::commit::{self, Carried};
use super::frame::{HEAD, Kind, sha256};
use super::home::Reached;
use super::index::{Changes, Entry};
use super::journal::Reader;
use super::log::{Appended, Appender, Failure, Place, Position};
use super::unshown::Unshown;
use super::writer::{Done, Write, Written};
use super::{Cond, Key, Op, StoreError, Version};

/// Octets of the journal between commits whose place is remembered, for [`super::RecordStore::changes`].
const MARK: u64 = 64 * 1024;

/// Octets of commits that may be made when others have filled the disk: those that tell how far transfers are, and some that free room.
const ASIDE: u64 = 1024 * 1024;

/// What the writing thread is asked to do.
pub(super) enum Request {
    /// A commit.
    Commit { when: Vec<Cond>, then: Vec<Op> },
    /// Repeats records that are still at these places.
    Carry(Vec<(Carried, Place)>),
    /// Begins the next file.
    BeginNext,
}

/// The writing thread's own.
pub(super) struct Scribe {
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
    pub(super) fn new(reader: Arc<Reader>, appender: Appender, version: Version) -> Self {
        Self {
            reader,
            appender,
            unshown: Arc::default(),
            version,
            mark: None,
        }
    }

    fn note(&self) {
        let (journal, version) = (self.appender.position(), self.version);
        self.reader.home.note(|checkpoint| {
            checkpoint.journal = journal;
            checkpoint.version = version;
        });
    }

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

    fn asks_for_next(request: &Request) -> bool {
        matches!(request, Request::BeginNext)
    }

    fn appender(&self) -> &Appender {
        &self.appender
    }

    fn begin_next(&mut self) -> Result<(), Failure> {
        self.appender.begin_next()?;
        self.note();
        self.reader.home.ask_to_settle();
        let active = self.appender.position().file;
        self.reader.active.store(active, Ordering::Release);
        Ok(())
    }

    fn write(&mut self, group: &[Request]) -> Result<Done<Self>, Failure> {
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
        // Without it commits go on, as long as there is room.
        if self.reader.home.reserve().check_all(2 * ASIDE).is_ok() {
            let _ = self.appender.set_aside(ASIDE);
        }
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
        self.appender.release();
        self.note();
    }
}

/// A group that is in the journal.
pub(super) struct Journaled {
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
