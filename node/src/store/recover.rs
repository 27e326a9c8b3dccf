//! Making the view anew from packs and journal, and finding where they end.

use super::frame::{HEAD, Kind};
use super::journal::is_far;
use super::log::{Log, Place, Position};
use super::scan::{Damage, Trust};
use super::view::{Changes, Entry, View};
use super::{StoreError, Version, commit, seal};

/// Entries that the view takes in at once.
const BATCH: usize = 1000;

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
pub(super) fn blocks(packs: &Log, synced: Option<Position>, view: &View) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let numbers = packs.numbers()?;
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
    let synced = synced_in(synced, *last);
    let trust = Trust {
        synced,
        payloads: synced,
    };
    let mut changes = Changes::default();
    let walked = packs.scan(*last)?.walk(trust, |frame| {
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
pub(super) fn records(journal: &Log, synced: Option<Position>, view: &View) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let mut changes = Changes::default();
    let mut mark = None;
    let numbers = journal.numbers()?;
    for number in &numbers {
        let mut scan = journal.scan(*number)?;
        let last = Some(number) == numbers.last();
        let trust = Trust {
            synced: if last {
                synced_in(synced, *number)
            } else {
                scan.size()
            },
            payloads: 0,
        };
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

/// How much of the last file is known to be synced: of one that is newer than the checkpoint, nothing.
fn synced_in(synced: Option<Position>, last: u32) -> u64 {
    synced
        .filter(|synced| synced.file == last)
        .map_or(0, |synced| synced.offset)
}

fn flush(view: &View, changes: &mut Changes, from: usize) -> Result<(), StoreError> {
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
