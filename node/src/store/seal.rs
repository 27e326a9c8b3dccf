//! The `.idx` beside a pack that does not grow any more: digest, offset and length of everything in it, sorted. Derived, immutable.
//!
//! `cargoidx`, then 44 octets a block (a tombstone has the length `ffffffff`), then the CRC32C of all that.

use std::path::{Path, PathBuf};

use super::StoreError;
use super::folder::{io_error, replace};
use super::frame::{Digest, HEAD, Kind};
use super::log::{Log, Place};
use super::scan::{Damage, Trust};

const MAGIC: &[u8; 8] = b"cargoidx";
const ENTRY: usize = 44;
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
    // The last word on a digest counts: the sort is stable, and of equals the last one stays.
    entries.sort_by_key(|(digest, _)| *digest);
    entries.reverse();
    entries.dedup_by_key(|(digest, _)| *digest);
    entries.reverse();
    if walked.damages.is_empty() {
        replace(&path(packs, number), &encode(&entries))?;
    }
    Ok((entries, walked.damages))
}

/// What stands in a pack, by its index; none when there is none that checks.
pub(super) fn read(packs: &Log, number: u32) -> Result<Option<Vec<Last>>, StoreError> {
    let path = path(packs, number);
    match std::fs::read(&path) {
        Ok(octets) => Ok(decode(&octets, number)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(&path)(error)),
    }
}

fn path(packs: &Log, number: u32) -> PathBuf {
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
    let (octets, crc) = octets.split_last_chunk::<4>()?;
    if crc32c::crc32c(octets) != u32::from_be_bytes(*crc) {
        return None;
    }
    let (entries, rest) = octets.strip_prefix(MAGIC)?.as_chunks::<ENTRY>();
    let entry = |octets: &[u8; ENTRY]| {
        let (digest, rest) = octets.split_first_chunk()?;
        let (offset, length) = rest.split_first_chunk()?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let place = Place {
            file: number,
            offset: u64::from_be_bytes(*offset),
            length,
        };
        Some((*digest, (length != GONE).then_some(place)))
    };
    if !rest.is_empty() {
        return None;
    }
    entries.iter().map(entry).collect()
}
