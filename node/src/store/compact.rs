//! Packs give back the room of blocks that were swept, while the store serves: what is wanted of a pack is stored again in the one
//! that grows, and the pack is removed.
//!
//! What always holds: a block's new place is durable before its old one goes. A tombstone is repeated as long as an older pack holds the
//! block, so that a pack directory alone tells what is here. A pack with a block that does not check stays, for whoever can mend it.
//!
//! The order for one pack: its blocks and tombstones are stored again and synced, the checkpoint is written, the pack's number goes
//! into the list of those removed, the pack goes, its index goes. Whoever stops in between begins with a pack of which
//! nothing is wanted.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::dropped::Dropped;
use super::folder::io_error;
use super::frame::{Digest, HEAD};
use super::log::Place;
use super::pace::Pace;
use super::packer::Request;
use super::packs::Packs;
use super::seal::{self, Last};
use super::{StoreError, tally};

/// Octets that are moved at once: who writes meanwhile waits for no more than these.
const BATCH: u64 = 1024 * 1024;
/// Room that is left to others on the disk while a pack is moved.
const MARGIN: u64 = 1024 * 1024;
/// Blocks that are moved at once.
const BLOCKS: usize = 512;

/// What is remembered between one compaction and the next.
#[derive(Default)]
pub(super) struct Spared {
    /// How many packs were removed.
    removed: u64,
    /// Packs that stay although little of them is wanted: how many had been removed when that was found, and how much was wanted.
    packs: HashMap<u32, (u64, u64)>,
}

impl Spared {
    fn contains(&self, pack: u32, live: u64) -> bool {
        self.packs.get(&pack) == Some(&(self.removed, live))
    }

    fn add(&mut self, pack: u32, live: u64) {
        self.packs.insert(pack, (self.removed, live));
    }
}

/// A pack of which less is wanted than is worth keeping.
struct Poor {
    number: u32,
    octets: u64,
    live: u64,
}

/// What the packs gave back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) packs: u64,
    /// Octets of the packs that were removed.
    pub(super) removed: u64,
    /// Octets that were stored again for that.
    pub(super) moved: u64,
}

/// Packs that do not grow, with less wanted in them than `below` percent of their octets; the poorest first. None while the
/// counting goes on.
fn poor(packs: &Packs, below: u8, spared: &Spared) -> Result<Option<Vec<Poor>>, StoreError> {
    let mut poor = Vec::new();
    let log = &packs.home().packs;
    let active = packs.active();
    for number in log.numbers()?.into_iter().filter(|number| *number < active) {
        let path = log.path(number);
        let octets = std::fs::metadata(&path).map_err(io_error(&path))?.len();
        let Some(live) = packs.tally().live(number) else {
            return Ok(None);
        };
        if live.saturating_mul(100) < octets.saturating_mul(below.into()) && !spared.contains(number, live) {
            poor.push(Poor { number, octets, live });
        }
    }
    poor.sort_by_key(|pack| pack.live * 1000 / pack.octets.max(1));
    Ok(Some(poor))
}

/// Whether less than `below` percent is wanted of the pack that grows.
pub(super) fn is_active_poor(packs: &Packs, below: u8) -> Result<bool, StoreError> {
    let number = packs.active();
    let path = packs.home().packs.path(number);
    let octets = std::fs::metadata(&path).map_err(io_error(&path))?.len();
    let live = packs.tally().live(number);
    Ok(live.is_some_and(|live| live.saturating_mul(100) < octets.saturating_mul(below.into())))
}

/// Octets that a compaction would read and write, as far as it is known before.
pub(super) fn work(packs: &Packs, below: u8, spared: &Spared) -> Result<u64, StoreError> {
    let poor = poor(packs, below, spared)?.unwrap_or_default();
    Ok(poor.iter().map(|pack| pack.live).sum())
}

/// Counts what is wanted, as far as that is not done.
pub(super) fn count(packs: &Packs, pace: &mut Pace<'_>) -> Result<(), StoreError> {
    while packs.tally().count_on(packs.home())? {
        pace.spend(0)?;
    }
    Ok(())
}

/// Removes every pack of which less than `below` percent is wanted.
pub(super) fn compact(
    packs: &Packs,
    below: u8,
    spared: &mut Spared,
    pace: &mut Pace<'_>,
) -> Result<Freed, StoreError> {
    let mut freed = Freed::default();
    for pack in poor(packs, below, spared)?.unwrap_or_default() {
        let moved = drop_pack(packs, &pack, below, spared, pace)?;
        if let Some(moved) = moved {
            freed.packs += 1;
            freed.removed += pack.octets;
            freed.moved += moved;
        }
    }
    Ok(freed)
}

/// Moves what is wanted of one pack and removes it; none when it has to stay.
fn drop_pack(
    packs: &Packs,
    pack: &Poor,
    below: u8,
    spared: &mut Spared,
    pace: &mut Pace<'_>,
) -> Result<Option<u64>, StoreError> {
    let log = &packs.home().packs;
    let entries = match seal::read(log, pack.number)? {
        Some(entries) => entries,
        None => seal::seal(log, pack.number)?.0,
    };
    let buried = still_buried(packs, pack.number, &entries)?;
    let kept = pack.live + (buried.len() * HEAD) as u64;
    if kept.saturating_mul(100) >= pack.octets.saturating_mul(below.into()) {
        spared.add(pack.number, pack.live);
        return Ok(None);
    }
    packs.home().reserve().check_all(kept + MARGIN)?;
    let moved = move_blocks(packs, pack.number, &entries, pace)?;
    for some in buried.chunks(BLOCKS) {
        packs.ask_and_wait(Request::Bury(some.to_vec()))?;
        pace.spend((some.len() * HEAD) as u64)?;
    }
    // Of what stands in it, and of what does not even stand in it any more.
    let left = packs.tally().live(pack.number).unwrap_or(pack.live);
    if left > 0 || is_wanted(packs, pack.number, &entries)? {
        tracing::warn!(
            pack = pack.number,
            "a pack with a damaged block is not compacted until somebody brings the block anew"
        );
        spared.add(pack.number, left);
        return Ok(None);
    }
    packs.home().save()?;
    Dropped::read(log)?.add(log, pack.number)?;
    log.remove(&[pack.number])?;
    let index = seal::path(log, pack.number);
    match std::fs::remove_file(&index) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error(&index)(error))?,
        _ => {}
    }
    spared.removed += 1;
    tracing::debug!(
        pack = pack.number,
        octets = pack.octets,
        moved,
        "a pack was compacted"
    );
    Ok(Some(moved))
}

fn here(packs: &Packs, digest: &Digest) -> Result<Option<Place>, StoreError> {
    packs.home().read(|view, _| view.block(digest))
}

/// Whether the view points to a block of a pack.
fn is_wanted(packs: &Packs, number: u32, entries: &[Last]) -> Result<bool, StoreError> {
    for (digest, place) in entries {
        if place.is_some() && packs.is_at(digest, number)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Of the tombstones of a pack, those of blocks that an older pack holds and that did not come again.
fn still_buried(packs: &Packs, number: u32, entries: &[Last]) -> Result<Vec<Digest>, StoreError> {
    let mut gone = Vec::new();
    for (digest, place) in entries {
        if place.is_none() && here(packs, digest)?.is_none() {
            gone.push(*digest);
        }
    }
    let mut buried = HashSet::new();
    let log = &packs.home().packs;
    for older in log.numbers()?.into_iter().filter(|older| *older < number) {
        if gone.is_empty() {
            break;
        }
        match seal::read(log, older)? {
            Some(entries) => {
                let entries: HashMap<_, _> = entries.into_iter().collect();
                let held = gone
                    .iter()
                    .filter(|digest| matches!(entries.get(*digest), Some(Some(_))));
                buried.extend(held.copied());
            }
            // Without its index it might hold any.
            None => buried.extend(gone.iter().copied()),
        }
    }
    Ok(buried.into_iter().collect())
}

/// Stores the blocks again that are wanted in a pack, and tells how many octets that were.
fn move_blocks(packs: &Packs, number: u32, entries: &[Last], pace: &mut Pace<'_>) -> Result<u64, StoreError> {
    // As they lie, so that the disk reads on.
    let mut wanted: Vec<(Digest, Place)> = entries
        .iter()
        .filter_map(|(digest, place)| place.map(|place| (*digest, place)))
        .collect();
    wanted.sort_by_key(|(_, place)| place.offset);
    let mut moved = 0;
    let mut batch: Vec<(Digest, Place, Bytes)> = Vec::new();
    let mut weight = 0;
    for (digest, _) in wanted {
        let Some(place) = here(packs, &digest)?.filter(|place| place.file == number) else {
            continue;
        };
        match packs.prove(&digest, place) {
            Ok(octets) => {
                weight += tally::size(place);
                batch.push((digest, place, octets));
            }
            // It stays where it is, and the pack with it.
            Err(StoreError::Damaged { .. }) => continue,
            Err(error) => return Err(error),
        }
        if weight >= BATCH || batch.len() >= BLOCKS {
            packs.ask_and_wait(Request::Move(std::mem::take(&mut batch)))?;
            pace.spend(weight)?;
            moved += std::mem::take(&mut weight);
        }
    }
    if !batch.is_empty() {
        packs.ask_and_wait(Request::Move(batch))?;
        pace.spend(weight)?;
        moved += weight;
    }
    Ok(moved)
}
