//! Making the view anew from packs and journal, and finding where they end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::commit::{self, Subject};
use super::dropped::Dropped;
use super::folder::{Folder, other_layout};
use super::frame::{Digest, HEAD, Kind};
use super::index::{Changes, Entry, Index};
use super::log::{Log, Place, Position};
use super::merge::Merge;
use super::scan::{Begin, Damage, Scan, Trust};
use super::scribe::is_far;
use super::seal::{self, Last};
use super::{StoreError, Version};

/// Entries that the view takes in at once.
const BATCH: usize = 4000;
/// Such batches that wait for it.
const QUEUE: usize = 4;
/// Octets that a block, and the commit of a record, take about.
const OF_A_BLOCK: u64 = 4096;
const OF_A_RECORD: u64 = 256;
/// How often the log hears how far it is.
const TELL: Duration = Duration::from_secs(5);

/// How far a log is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extent {
    /// To its end, which is looked for; what is before the position was synced.
    Looked(Option<Position>),
    /// To this position; everything before was synced.
    Known(Position),
}

impl Extent {
    /// The files that are read.
    pub(super) fn numbers(self, log: &Log) -> Result<Vec<u32>, StoreError> {
        let mut numbers = log.numbers()?;
        if let Extent::Known(end) = self {
            numbers.retain(|number| *number <= end.file);
        }
        Ok(numbers)
    }

    fn synced(self) -> Option<Position> {
        match self {
            Extent::Looked(synced) => synced,
            Extent::Known(end) => Some(end),
        }
    }

    /// A reader of the last file, and how much of it was synced: of one that is newer than the checkpoint, nothing.
    fn last(self, log: &Log, last: u32) -> Result<(Scan, u64), StoreError> {
        let mut scan = log.scan(last)?;
        let synced = self
            .synced()
            .filter(|synced| synced.file == last)
            .map_or(0, |synced| synced.offset);
        if let Extent::Known(_) = self {
            scan.end_at(synced);
        }
        Ok((scan, synced))
    }
}

/// Refuses files of which not one record goes with the salt of the store: they would all be taken for damage.
///
/// # Errors
/// [`StoreError::Layout`], [`StoreError::Io`].
pub(super) fn check_salt(folder: &Folder, logs: [&Log; 2]) -> Result<(), StoreError> {
    let mut files = Vec::new();
    for log in logs {
        files.extend(log.numbers()?.into_iter().map(|number| (log, number)));
    }
    for (log, number) in &files {
        if log.scan(*number)?.begin()? == Begin::Own {
            return Ok(());
        }
    }
    let mut is_foreign = false;
    for (log, number) in &files {
        let mut scan = log.scan(*number)?;
        if scan.has_header()? {
            return Ok(());
        }
        is_foreign |= scan.begin()? == Begin::Foreign;
    }
    if is_foreign {
        let found = "a salt that no record of packs and journal goes with".to_owned();
        return Err(other_layout(&folder.join("FORMAT"), found));
    }
    Ok(())
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// Where the records end; none when there is no file.
    pub(super) end: Option<Position>,
    /// Records of the last file.
    pub(super) records: u64,
    /// Of the last commit.
    pub(super) version: Version,
    /// What does not fit.
    pub(super) damages: Vec<Damage>,
}

/// Where what was found goes, some at a time and in the order of writing.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Changes) -> Result<(), StoreError>;

/// Fills an empty index with everything that packs and journal say.
pub(super) fn fill(
    (packs, of_packs): (&Log, Extent),
    (journal, of_journal): (&Log, Extent),
    index: &dyn Index,
) -> Result<(Found, Found), StoreError> {
    let mut told = Told::new();
    std::thread::scope(|scope| {
        // One thread tells the index, two read.
        let (changes, told_of) = sync_channel::<Changes>(QUEUE);
        let sender = changes.clone();
        let send =
            |sender: &SyncSender<Changes>, changes| sender.send(changes).map_err(|_| StoreError::Closed);
        let blocks = scope.spawn(move || blocks(packs, of_packs, &mut |changes| send(&sender, changes)));
        let records = scope.spawn(move || records(journal, of_journal, &mut |some| send(&changes, some)));
        let mut applied = Ok(());
        for changes in &told_of {
            applied = index.apply(&changes);
            if applied.is_err() {
                break;
            }
            told.add(&changes);
        }
        // Whoever still reads is stopped by that.
        drop(told_of);
        let (blocks, records) = (join(blocks), join(records));
        applied?;
        told.done();
        Ok((blocks?, records?))
    })
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What the log hears while a view is made.
struct Told {
    begin: Instant,
    last: Instant,
    blocks: usize,
    records: usize,
}

impl Told {
    fn new() -> Self {
        let begin = Instant::now();
        Self {
            begin,
            last: begin,
            blocks: 0,
            records: 0,
        }
    }

    fn add(&mut self, changes: &Changes) {
        self.blocks += changes.blocks.len();
        self.records += changes.records.len();
        if self.last.elapsed() >= TELL {
            self.last = Instant::now();
            tracing::info!(
                blocks = self.blocks,
                records = self.records,
                "the view is being made"
            );
        }
    }

    fn done(&self) {
        let milliseconds = self.begin.elapsed().as_millis() as u64;
        if self.blocks + self.records > 0 {
            tracing::info!(
                blocks = self.blocks,
                records = self.records,
                milliseconds,
                "the view was made from packs and journal"
            );
        }
    }
}

/// About how many blocks and records there are to read: by the indexes of packs, and by the octets of what has none.
pub(super) fn work(packs: &Log, journal: &Log) -> Result<u64, StoreError> {
    let octets = |path: PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut work = 0;
    for number in packs.numbers()? {
        work += match seal::count(packs, number)? {
            Some(count) => count as u64,
            None => octets(packs.path(number)) / OF_A_BLOCK,
        };
    }
    for number in journal.numbers()? {
        work += octets(journal.path(number)) / OF_A_RECORD;
    }
    Ok(work)
}

/// Tells of every block that is here, ascending.
pub(super) fn blocks(packs: &Log, extent: Extent, sink: Sink<'_>) -> Result<Found, StoreError> {
    let (mut merge, found) = all(packs, extent)?;
    let mut changes = Changes::default();
    while let Some((digest, place)) = merge.next()? {
        if place.is_some() {
            changes.blocks.push((digest, place));
            flush(sink, &mut changes, BATCH)?;
        }
    }
    flush(sink, &mut changes, 1)?;
    Ok(found)
}

/// What all packs say.
pub(super) fn all(packs: &Log, extent: Extent) -> Result<(Merge<'_>, Found), StoreError> {
    let numbers = extent.numbers(packs)?;
    let (last, before) = match numbers.split_last() {
        Some((last, before)) => (Some(*last), before),
        None => (None, numbers.as_slice()),
    };
    let (mut merge, damages) = sealed(packs, before)?;
    let mut found = Found {
        damages: [missing_files(packs, &numbers, extent.synced())?, damages].concat(),
        ..Found::default()
    };
    if let Some(last) = last {
        let mut entries = grown(packs, extent, last, &mut found)?;
        seal::keep_last(&mut entries);
        merge.add(entries)?;
    }
    Ok((merge, found))
}

/// What packs say that do not grow, and what is damaged in them. Those without an index get one.
pub(super) fn sealed<'a>(packs: &'a Log, numbers: &[u32]) -> Result<(Merge<'a>, Vec<Damage>), StoreError> {
    let mut merge = Merge::default();
    let mut damages = Vec::new();
    for number in numbers {
        if !merge.add_index(packs, *number, numbers.len())? {
            let (entries, found) = seal::seal(packs, *number)?;
            damages.extend(found);
            merge.add(entries)?;
        }
    }
    Ok((merge, damages))
}

/// What the pack says that grows, in the order of writing, and where it ends.
fn grown(packs: &Log, extent: Extent, last: u32, found: &mut Found) -> Result<Vec<Last>, StoreError> {
    let (mut scan, synced) = extent.last(packs, last)?;
    let trust = Trust {
        synced,
        payloads: synced,
    };
    let mut entries = Vec::new();
    let walked = scan.walk(trust, |frame| {
        let place = Place {
            file: last,
            offset: frame.offset + HEAD as u64,
            length: frame.header.length,
        };
        let here = frame.header.kind == Kind::Data;
        entries.push((frame.header.digest, here.then_some(place)));
        Ok(())
    })?;
    found.damages.extend(walked.damages);
    found.records = walked.records;
    found.end = Some(Position {
        file: last,
        offset: walked.end,
    });
    Ok(entries)
}

/// What the packs from one on say of blocks, the last word on each.
pub(super) fn blocks_since(
    packs: &Log,
    extent: Extent,
    first: u32,
) -> Result<(Found, HashMap<Digest, Option<Place>>), StoreError> {
    let numbers = extent.numbers(packs)?;
    let mut found = Found {
        damages: missing_files(packs, &numbers, extent.synced())?,
        ..Found::default()
    };
    let mut blocks = HashMap::new();
    let Some((last, sealed)) = numbers.split_last() else {
        return Ok((found, blocks));
    };
    for number in sealed.iter().filter(|number| **number >= first) {
        match seal::read(packs, *number)? {
            Some(entries) => blocks.extend(entries),
            None => {
                let (entries, damages) = seal::seal(packs, *number)?;
                found.damages.extend(damages);
                blocks.extend(entries);
            }
        }
    }
    blocks.extend(grown(packs, extent, *last, &mut found)?);
    Ok((found, blocks))
}

/// Tells of every change of a record, and of the places of some commits.
pub(super) fn records(journal: &Log, extent: Extent, sink: Sink<'_>) -> Result<Found, StoreError> {
    records_in_two(journal, extent, Version::MAX, sink, &mut |_| Ok(()))
}

/// The same, what came up to a version and what came later apart.
pub(super) fn records_in_two<'a>(
    journal: &Log,
    extent: Extent,
    until: Version,
    before: Sink<'a>,
    after: Sink<'a>,
) -> Result<Found, StoreError> {
    let mut sink = before;
    let mut rest = Some(after);
    let mut found = Found::default();
    let mut changes = Changes::default();
    let mut mark = None;
    let numbers = extent.numbers(journal)?;
    let dropped = Dropped::read(journal)?;
    let absent = missing(journal, &numbers, extent.synced(), |number| {
        dropped.contains(number)
    });
    found.damages.extend(absent);
    // What compaction removed, it carried on: the commits go on from wherever the first file begins.
    let mut begins = numbers
        .first()
        .is_some_and(|first| *first > 1 && dropped.contains(*first - 1));
    for number in &numbers {
        let (mut scan, synced) = if Some(number) == numbers.last() {
            extent.last(journal, *number)?
        } else {
            let scan = journal.scan(*number)?;
            let size = scan.size();
            (scan, size)
        };
        let trust = Trust { synced, payloads: 0 };
        let mut formless = Vec::new();
        let walked = scan.walk(trust, |frame| {
            let begin = Position {
                file: *number,
                offset: frame.offset,
            };
            let Some(commit) = commit::outline(frame.payload) else {
                formless.push(damage(
                    journal,
                    begin,
                    frame.header.size(),
                    "a commit has no form",
                ));
                return Ok(());
            };
            let fits = frame.header.fits(frame.payload);
            let next = found.version.saturating_add(1);
            let is_first = std::mem::take(&mut begins);
            // That the payload does not check is told of already; the version may be what does not.
            let version = if fits || is_first { commit.version } else { next };
            if !is_first && version != next {
                let why = format!("after commit {} comes commit {version}", found.version);
                formless.push(damage(journal, begin, 0, &why));
            }
            found.version = found.version.max(version);
            if version > until
                && let Some(after) = rest.take()
            {
                flush(sink, &mut changes, 1)?;
                sink = after;
            }
            if is_far(mark, begin) {
                changes.marks.push((version, begin));
                mark = Some(begin);
            }
            for range in commit.ops {
                let place = Place {
                    file: *number,
                    offset: frame.offset + (HEAD + range.start) as u64,
                    length: range.len() as u32,
                };
                let here = |version| Some(Entry { version, place });
                let octets = frame.payload.get(range).unwrap_or_default();
                match commit::subject(octets) {
                    Some(Subject::Put(key)) => changes.records.push((key, here(version))),
                    Some(Subject::Carried(key, version)) => changes.records.push((key, here(version))),
                    // It may be of another record.
                    Some(Subject::Delete(_)) if !fits && !commit::checks(octets) => {}
                    Some(Subject::Delete(key)) => changes.records.push((key, None)),
                    None => formless.push(damage(
                        journal,
                        begin,
                        frame.header.size(),
                        "an operation has no form",
                    )),
                }
            }
            flush(sink, &mut changes, BATCH)
        })?;
        found.damages.extend(walked.damages);
        found.damages.extend(formless);
        found.records = walked.records;
        found.end = Some(Position {
            file: *number,
            offset: walked.end,
        });
    }
    flush(sink, &mut changes, 1)?;
    Ok(found)
}

/// Files that are not there, and that compaction did not remove.
pub(super) fn missing_files(
    log: &Log,
    numbers: &[u32],
    synced: Option<Position>,
) -> Result<Vec<Damage>, StoreError> {
    let dropped = Dropped::read(log)?;
    Ok(missing(log, numbers, synced, |number| dropped.contains(number)))
}

/// Files that are not there: they are numbered without a gap, and the checkpoint knows of the last one.
fn missing(
    log: &Log,
    numbers: &[u32],
    synced: Option<Position>,
    is_dropped: impl Fn(u32) -> bool,
) -> Vec<Damage> {
    let last = numbers.last().copied().unwrap_or_default();
    let last = synced.map_or(last, |synced| last.max(synced.file));
    (1..=last)
        .filter(|number| numbers.binary_search(number).is_err() && !is_dropped(*number))
        .map(|file| damage(log, Position { file, offset: 0 }, 0, "the file is not there"))
        .collect()
}

fn flush(sink: Sink<'_>, changes: &mut Changes, from: usize) -> Result<(), StoreError> {
    if changes.len() >= from {
        sink(std::mem::take(changes))?;
    }
    Ok(())
}

fn damage(log: &Log, at: Position, length: u64, why: &str) -> Damage {
    Damage {
        file: log.path(at.file).display().to_string(),
        from: at.offset,
        to: at.offset + length,
        why: why.to_owned(),
    }
}
