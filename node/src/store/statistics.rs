//! How much is in a store, and how much room it takes.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::StoreError;
use super::folder::io_error;
use super::frame::HEAD;
use super::home::Home;
use super::index::IndexKind;
use super::scrub::Scrubbed;

/// Blocks and records that are counted at once.
const PAGE: usize = 4000;

/// One pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Its number.
    pub number: u32,
    /// Octets of the file.
    pub octets: u64,
    /// Octets of blocks that are still here, with what describes them; the rest is dead.
    pub live_octets: u64,
    /// Blocks that are still here.
    pub live_blocks: u64,
}

/// A whole store. Octets unless the name says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Blocks that are here.
    pub blocks: u64,
    /// Of these blocks, without what describes them.
    pub content: u64,
    /// Records that are here.
    pub records: u64,
    /// Of all packs.
    pub packs: u64,
    /// Of these, what compaction could give back.
    pub dead: u64,
    /// Of the journal.
    pub journal: u64,
    /// Of these, about what compaction could give back.
    pub journal_dead: u64,
    /// The engine of the index.
    pub index: IndexKind,
    /// Of the index, as it lies on the disk.
    pub index_octets: u64,
    /// That the disk has left for us.
    pub free: u64,
    /// How far the search for bit rot is.
    pub scrub: Scrubbed,
    /// Each pack.
    pub segments: Vec<Segment>,
}

pub(super) fn count(home: &Home, kind: IndexKind) -> Result<Statistics, StoreError> {
    let mut segments = BTreeMap::new();
    let log = &home.packs;
    let files = log.hold();
    for number in log.numbers()? {
        let path = log.path(number);
        let octets = std::fs::metadata(&path).map_err(io_error(&path))?.len();
        segments.insert(
            number,
            Segment {
                number,
                octets,
                ..Segment::default()
            },
        );
    }
    drop(files);
    let mut content = 0;
    let mut after = None;
    loop {
        let page = home.read(|view, _| view.blocks_after(after.as_ref(), PAGE))?;
        for (_, place) in &page {
            content += u64::from(place.length);
            let segment = segments.entry(place.file).or_default();
            segment.live_blocks += 1;
            segment.live_octets += HEAD as u64 + u64::from(place.length);
        }
        match page.last() {
            Some((digest, _)) => after = Some(*digest),
            None => break,
        }
    }
    let segments: Vec<_> = segments.into_values().collect();
    let packs = segments.iter().map(|segment| segment.octets).sum();
    let live: u64 = segments.iter().map(|segment| segment.live_octets).sum();
    let (records, live_journal) = count_records(home)?;
    let journal = home.journal.octets()?;
    let folder = log.folder().parent().unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(folder).map_err(|error| io_error(folder)(error.into()))?;
    Ok(Statistics {
        blocks: segments.iter().map(|segment| segment.live_blocks).sum(),
        content,
        records,
        packs,
        dead: packs.saturating_sub(live),
        journal,
        journal_dead: journal.saturating_sub(live_journal),
        index: kind,
        index_octets: room(&kind.path(folder)),
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        scrub: Scrubbed::read(home)?,
        segments,
    })
}

/// How many records there are, and their octets in the journal.
pub(super) fn count_records(home: &Home) -> Result<(u64, u64), StoreError> {
    let (mut records, mut octets) = (0, 0);
    let mut after: Option<String> = None;
    loop {
        let page = home.read(|view, _| view.records_after("", after.as_deref(), PAGE))?;
        records += page.len() as u64;
        octets += page
            .iter()
            .map(|(_, entry)| u64::from(entry.place.length))
            .sum::<u64>();
        match page.into_iter().last() {
            Some((key, _)) => after = Some(key),
            None => return Ok((records, octets)),
        }
    }
}

/// Octets that a file, or everything in a folder, takes on the disk.
fn room(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten();
    metadata.blocks() * 512 + inside.map(|entry| room(&entry.path())).sum::<u64>()
}
