//! Making the view anew from packs and journal, and finding where they end.

use super::frame::{HEAD, Kind};
use super::index::{Changes, Entry, Index};
use super::journal::is_far;
use super::log::{Log, Place, Position};
use super::scan::{Damage, Scan, Trust};
use super::{StoreError, Version, commit, seal};

/// Entries that the view takes in at once.
const BATCH: usize = 1000;

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
    fn numbers(self, log: &Log) -> Result<Vec<u32>, StoreError> {
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

/// Puts every block into the view.
pub(super) fn blocks(packs: &Log, extent: Extent, view: &dyn Index) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let numbers = extent.numbers(packs)?;
    found.damages.extend(missing(packs, &numbers, extent.synced()));
    let Some((last, sealed)) = numbers.split_last() else {
        return Ok(found);
    };
    for number in sealed {
        let entries = match seal::read(packs, *number)? {
            Some(entries) => entries,
            None => {
                let (entries, damages) = seal::seal(packs, *number)?;
                found.damages.extend(damages);
                entries
            }
        };
        for some in entries.chunks(BATCH) {
            view.apply(&Changes {
                blocks: some.to_vec(),
                ..Changes::default()
            })?;
        }
    }
    let (mut scan, synced) = extent.last(packs, *last)?;
    let trust = Trust {
        synced,
        payloads: synced,
    };
    let mut changes = Changes::default();
    let walked = scan.walk(trust, |frame| {
        let place = Place {
            file: *last,
            offset: frame.offset + HEAD as u64,
            length: frame.header.length,
        };
        let here = frame.header.kind == Kind::Data;
        changes.blocks.push((frame.header.digest, here.then_some(place)));
        flush(view, &mut changes, BATCH)
    })?;
    flush(view, &mut changes, 1)?;
    found.damages.extend(walked.damages);
    found.records = walked.records;
    found.end = Some(Position {
        file: *last,
        offset: walked.end,
    });
    Ok(found)
}

/// Puts every record into the view.
pub(super) fn records(journal: &Log, extent: Extent, view: &dyn Index) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let mut changes = Changes::default();
    let mut mark = None;
    let numbers = extent.numbers(journal)?;
    found.damages.extend(missing(journal, &numbers, extent.synced()));
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
            if commit.version != found.version + 1 {
                let why = format!("after commit {} comes commit {}", found.version, commit.version);
                formless.push(damage(journal, begin, 0, &why));
            }
            found.version = found.version.max(commit.version);
            if is_far(mark, begin) {
                changes.marks.push((commit.version, begin));
                mark = Some(begin);
            }
            for range in commit.ops {
                let place = Place {
                    file: *number,
                    offset: frame.offset + (HEAD + range.start) as u64,
                    length: range.len() as u32,
                };
                match frame.payload.get(range).and_then(commit::subject) {
                    Some((put, key)) => changes.records.push((
                        key,
                        put.then_some(Entry {
                            version: commit.version,
                            place,
                        }),
                    )),
                    None => formless.push(damage(
                        journal,
                        begin,
                        frame.header.size(),
                        "an operation has no form",
                    )),
                }
            }
            flush(view, &mut changes, BATCH)
        })?;
        found.damages.extend(walked.damages);
        found.damages.extend(formless);
        found.records = walked.records;
        found.end = Some(Position {
            file: *number,
            offset: walked.end,
        });
    }
    flush(view, &mut changes, 1)?;
    Ok(found)
}

/// Files that are not there: they are numbered without a gap, and the checkpoint knows of the last one.
fn missing(log: &Log, numbers: &[u32], synced: Option<Position>) -> Vec<Damage> {
    let last = numbers.last().copied().unwrap_or_default();
    let last = synced.map_or(last, |synced| last.max(synced.file));
    (1..=last)
        .filter(|number| numbers.binary_search(number).is_err())
        .map(|file| damage(log, Position { file, offset: 0 }, 0, "the file is not there"))
        .collect()
}

fn flush(view: &dyn Index, changes: &mut Changes, from: usize) -> Result<(), StoreError> {
    if changes.len() >= from {
        view.apply(changes)?;
        *changes = Changes::default();
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
