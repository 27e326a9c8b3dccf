//! The `.idx` beside a pack that does not grow any more: digest, offset and length of everything in it, sorted. Derived, immutable.
//!
//! `cargoidx`, then 44 octets a block (a tombstone has the length `ffffffff`), then the CRC32C of all that.

use std::path::{Path, PathBuf};

use super::StoreError;
use super::folder::{io_error, is_unreadable, replace};
use super::frame::{Digest, HEAD, Kind};
use super::log::{Log, Place};
use super::scan::{Damage, Trust};

const MAGIC: &[u8; 8] = b"cargoidx";
/// Octets of an entry.
pub(super) const ENTRY: usize = 44;
const GONE: u32 = u32::MAX;

/// What a pack says of a block in the end: its place, or that it is gone.
pub(super) type Last = (Digest, Option<Place>);

/// Reads a pack's headers, writes its index, and tells what stands in it.
pub(super) fn seal(packs: &Log, number: u32) -> Result<(Vec<Last>, Vec<Damage>), StoreError> {
    let mut entries = Vec::new();
    let mut scan = packs.scan(number)?;
    let trust = Trust {
        synced: scan.size(),
        payloads: u64::MAX,
    };
    let walked = scan.walk(trust, |frame| {
        let place = Place {
            file: number,
            offset: frame.offset + HEAD as u64,
            length: frame.header.length,
        };
        entries.push((
            frame.header.digest,
            (frame.header.kind == Kind::Data).then_some(place),
        ));
        Ok(())
    })?;
    keep_last(&mut entries);
    if walked.damages.is_empty() {
        replace(&path(packs, number), &encode(&entries))?;
    }
    Ok((entries, walked.damages))
}

/// Sorts what a pack says. The last word on a digest counts: the sort is stable, and of equals the last one stays.
pub(super) fn keep_last(entries: &mut Vec<Last>) {
    entries.sort_by_key(|(digest, _)| *digest);
    entries.reverse();
    entries.dedup_by_key(|(digest, _)| *digest);
    entries.reverse();
}

/// What stands in a pack, by its index; none when there is none that checks.
pub(super) fn read(packs: &Log, number: u32) -> Result<Option<Vec<Last>>, StoreError> {
    Ok(octets(packs, number)?.and_then(|octets| decode(&octets, number)))
}

/// The index of a pack as it lies there; none when there is none, or none that the disk can read.
fn octets(packs: &Log, number: u32) -> Result<Option<Vec<u8>>, StoreError> {
    let path = path(packs, number);
    match std::fs::read(&path) {
        Ok(octets) => Ok(Some(octets)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if is_unreadable(&error) => {
            tracing::warn!(path = %path.display(), "a pack's index cannot be read and is not used");
            Ok(None)
        }
        Err(error) => Err(io_error(&path)(error)),
    }
}

pub(super) fn path(packs: &Log, number: u32) -> PathBuf {
    Path::with_extension(&packs.path(number), "idx")
}

fn encode(entries: &[Last]) -> Vec<u8> {
    let mut octets = MAGIC.to_vec();
    for (digest, place) in entries {
        octets.extend_from_slice(digest);
        octets.extend_from_slice(&place.map_or(0, |place| place.offset).to_be_bytes());
        octets.extend_from_slice(&place.map_or(GONE, |place| place.length).to_be_bytes());
    }
    let crc = crc32c::crc32c(&octets);
    octets.extend_from_slice(&crc.to_be_bytes());
    octets
}

fn decode(octets: &[u8], number: u32) -> Option<Vec<Last>> {
    let octets = checked(octets)?;
    Some(entries(octets, number).collect())
}

/// The entries of an index that checks.
fn checked(octets: &[u8]) -> Option<&[u8]> {
    let (octets, crc) = octets.split_last_chunk::<4>()?;
    let fits = crc32c::crc32c(octets) == u32::from_be_bytes(*crc);
    octets
        .strip_prefix(MAGIC)
        .filter(|octets| fits && octets.len() % ENTRY == 0)
}

/// How many entries a pack's index has; none when there is none that checks.
pub(super) fn count(packs: &Log, number: u32) -> Result<Option<usize>, StoreError> {
    let octets = octets(packs, number)?;
    Ok(octets.and_then(|octets| Some(checked(&octets)?.len() / ENTRY)))
}

/// Where an entry stands in an index.
pub(super) fn offset(entry: usize) -> u64 {
    (MAGIC.len() + entry * ENTRY) as u64
}

/// Entries as they stand in the index of a pack.
pub(super) fn entries(octets: &[u8], number: u32) -> impl Iterator<Item = Last> {
    octets.as_chunks::<ENTRY>().0.iter().map(move |octets| {
        let (mut digest, mut offset, mut length) = ([0; 32], [0; 8], [0; 4]);
        digest.copy_from_slice(&octets[..32]);
        offset.copy_from_slice(&octets[32..40]);
        length.copy_from_slice(&octets[40..]);
        let place = Place {
            file: number,
            offset: u64::from_be_bytes(offset),
            length: u32::from_be_bytes(length),
        };
        (digest, (place.length != GONE).then_some(place))
    })
}
