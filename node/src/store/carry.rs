//! The journal gives back the room of records that were overwritten or removed, while the store serves: what still holds in its oldest
//! file is repeated at its end, and the file is removed.
//!
//! What always holds: files go from the oldest on, so that no removal of a record goes before what it removed; a record's new place is
//! durable before its old one goes; it keeps its version. A file with a record that does not check stays, and those behind it.
//!
//! The order for one file: its records are repeated and synced, the checkpoint is written, the file's number goes into the list of those
//! removed, the file goes, and what the index remembers of it.

use bytes::Bytes;

use super::commit::{self, Carried, Subject};
use super::dropped::Dropped;
use super::frame::HEAD;
use super::index::Entry;
use super::journal::Journal;
use super::log::Place;
use super::pace::Pace;
use super::scan::Trust;
use super::{Op, StoreError, statistics};

/// Octets that are repeated at once: who writes meanwhile waits for no more than these.
const BATCH: u64 = 256 * 1024;
/// Records that are repeated at once.
const RECORDS: usize = 512;
/// Room that is left to others on the disk.
const MARGIN: u64 = 1024 * 1024;

/// What the journal gave back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) files: u64,
    /// Octets that were repeated for that.
    pub(super) moved: u64,
}

/// Removes the oldest files until less than `below` percent of the rest would be in vain, but none of those that are written
/// meanwhile.
pub(super) fn compact(journal: &Journal, below: u8, pace: &mut Pace<'_>) -> Result<Freed, StoreError> {
    let log = &journal.home().journal;
    let active = journal.active();
    let (_, live) = statistics::count_records(journal.home())?;
    let mut freed = Freed::default();
    for number in log.numbers()?.into_iter().filter(|number| *number < active) {
        if live.saturating_mul(100) >= log.octets()?.saturating_mul(below.into()) {
            break;
        }
        let Some(moved) = drop_file(journal, number, pace)? else {
            break;
        };
        freed.files += 1;
        freed.moved += moved;
    }
    Ok(freed)
}

/// Repeats what holds in the oldest file and removes it; none when it has to stay.
fn drop_file(journal: &Journal, number: u32, pace: &mut Pace<'_>) -> Result<Option<u64>, StoreError> {
    let home = journal.home();
    let log = &home.journal;
    let mut batch = Batch::default();
    let mut moved = 0;
    let mut sound = true;
    let mut scan = log.scan(number)?;
    let trust = Trust {
        synced: scan.size(),
        payloads: 0,
    };
    let walked = scan.walk(trust, |frame| {
        let Some(outline) = commit::outline(frame.payload) else {
            sound = false;
            return Ok(());
        };
        for range in outline.ops {
            let place = Place {
                file: number,
                offset: frame.offset + (HEAD + range.start) as u64,
                length: range.len() as u32,
            };
            let Some(octets) = frame.payload.get(range) else {
                continue;
            };
            let (Some(Subject::Put(key)) | Some(Subject::Carried(key, _))) = commit::subject(octets) else {
                continue;
            };
            let Some(Entry { version, .. }) = home
                .read(|view, _| view.record(&key))?
                .filter(|entry| entry.place == place)
            else {
                continue;
            };
            match commit::decode(&Bytes::copy_from_slice(octets)) {
                Some(Op::Put(key, value)) => {
                    let record = Carried { key, version, value };
                    batch.add(record, place);
                }
                _ => sound = false,
            }
            if batch.octets >= BATCH || batch.records.len() >= RECORDS {
                moved += batch.carry(journal, pace)?;
            }
        }
        Ok(())
    })?;
    moved += batch.carry(journal, pace)?;
    if !sound || !walked.damages.is_empty() {
        tracing::warn!(
            path = %log.path(number).display(),
            "a damaged file of the journal is not compacted, nor those behind it: restore it from a backup"
        );
        return Ok(None);
    }
    home.save()?;
    Dropped::read(log)?.add(log, number)?;
    log.remove(&[number])?;
    home.forget_journal(number)?;
    tracing::debug!(number, moved, "a file of the journal was compacted");
    Ok(Some(moved))
}

/// Records that are about to be repeated.
#[derive(Default)]
struct Batch {
    records: Vec<(Carried, Place)>,
    octets: u64,
}

impl Batch {
    fn add(&mut self, record: Carried, place: Place) {
        self.octets += u64::from(place.length);
        self.records.push((record, place));
    }

    /// Has them repeated; how many octets that were.
    fn carry(&mut self, journal: &Journal, pace: &mut Pace<'_>) -> Result<u64, StoreError> {
        let Self { records, octets } = std::mem::take(self);
        if !records.is_empty() {
            journal.home().reserve().check_all(octets + MARGIN)?;
            journal.carry(records)?;
            pace.spend(octets)?;
        }
        Ok(octets)
    }
}
