//! The index after a stop that was not in order: it is believed as far as packs and journal bear it out, and told what came since.
//!
//! What always holds: an index that is given back holds exactly what packs and journal say. An engine may open without an
//! error and be empty, or have lost some of what it was told: every block in it is compared with the indexes of the packs, and every
//! record's version with the journal.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use super::StoreError;
use super::checkpoint::Known;
use super::frame::Digest;
use super::index::{Changes, Entry, Index};
use super::log::{Log, Place};
use super::merge::Merge;
use super::recover::{self, Extent, Found};

/// Entries that are read from the index at once.
const PAGE: usize = 4000;

/// What was compared and brought up to date.
pub(super) struct Caught {
    pub(super) blocks: Found,
    pub(super) records: Found,
    /// The first thing that does not fit; none when the index holds what packs and journal say.
    pub(super) differs: Option<String>,
}

/// Compares an index, which is durable up to what is known of it, and tells it what came since.
pub(super) fn catch(
    (packs, of_packs): (&Log, Extent),
    (journal, of_journal): (&Log, Extent),
    known: &Known,
    index: &dyn Index,
) -> Result<Caught, StoreError> {
    let first = known.covered.packs.file;
    let (mut blocks, since) = recover::blocks_since(packs, of_packs, first)?;
    let numbers = of_packs.numbers(packs)?;
    let before = numbers.partition_point(|number| *number < first);
    let (merge, damages) = recover::sealed(packs, &numbers[..before])?;
    blocks.damages.extend(damages);
    let mut differs = compare_blocks(index, merge, &since)?;
    let mut keys = Keys::default();
    let mut later = Vec::new();
    let mut changed = HashSet::new();
    let records = {
        let hasher = keys.hasher.clone();
        let mut before = |changes| keys.add(changes);
        let mut after = |changes: Changes| {
            changed.extend(changes.records.iter().map(|(key, _)| hasher.hash_one(key)));
            later.push(changes);
            Ok(())
        };
        recover::records_in_two(
            journal,
            of_journal,
            known.covered.version,
            &mut before,
            &mut after,
        )?
    };
    if differs.is_none() {
        differs = keys.compare(index, &changed)?;
    }
    if differs.is_none() {
        let mut since = since.into_iter().peekable();
        while since.peek().is_some() {
            index.apply(&Changes {
                blocks: since.by_ref().take(PAGE).collect(),
                ..Changes::default()
            })?;
        }
        for changes in later {
            index.apply(&changes)?;
        }
    }
    Ok(Caught {
        blocks,
        records,
        differs,
    })
}

/// The first block that the index has and the packs have not, or the other way round; those that changed since are not looked at.
pub(super) fn compare_blocks(
    index: &dyn Index,
    mut packs: Merge<'_>,
    since: &HashMap<Digest, Option<Place>>,
) -> Result<Option<String>, StoreError> {
    let mut after = None;
    loop {
        let page = index.blocks_after(after.as_ref(), PAGE)?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|(digest, _)| *digest);
        for entry in page.iter().filter(|(digest, _)| !since.contains_key(digest)) {
            let expected = next_here(&mut packs, since)?;
            if expected != Some(*entry) {
                return Ok(Some(differs(expected, Some(*entry))));
            }
        }
        if is_last {
            let missing = next_here(&mut packs, since)?;
            return Ok(missing.map(|missing| differs(Some(missing), None)));
        }
    }
}

/// The next block that is here and did not change since.
fn next_here(
    packs: &mut Merge<'_>,
    since: &HashMap<Digest, Option<Place>>,
) -> Result<Option<(Digest, Place)>, StoreError> {
    while let Some((digest, place)) = packs.next()? {
        if let Some(place) = place
            && !since.contains_key(&digest)
        {
            return Ok(Some((digest, place)));
        }
    }
    Ok(None)
}

fn differs(packs: Option<(Digest, Place)>, index: Option<(Digest, Place)>) -> String {
    let name = |entry: Option<(Digest, Place)>| match entry {
        Some((digest, Place { file, offset, .. })) => {
            let digest = data_encoding::HEXLOWER.encode(&digest);
            format!("{digest} in pack {file} at {offset}")
        }
        None => "the end".to_owned(),
    };
    format!(
        "the packs go on with {}, the view with {}",
        name(packs),
        name(index)
    )
}

/// What the journal says of records. Keys are kept by a hash: memory does not grow with their length.
#[derive(Default)]
pub(super) struct Keys {
    hasher: RandomState,
    written: HashMap<u64, Entry>,
}

impl Keys {
    /// Takes in what the journal says next.
    pub(super) fn add(&mut self, changes: Changes) -> Result<(), StoreError> {
        for (key, entry) in &changes.records {
            let key = self.hasher.hash_one(key);
            match entry {
                Some(entry) => self.written.insert(key, *entry),
                None => self.written.remove(&key),
            };
        }
        Ok(())
    }

    /// The first record that the index has and the journal has not, or the other way round; those that changed since are not looked at.
    pub(super) fn compare(
        mut self,
        index: &dyn Index,
        changed: &HashSet<u64>,
    ) -> Result<Option<String>, StoreError> {
        let mut after: Option<String> = None;
        loop {
            let page = index.records_after("", after.as_deref(), PAGE)?;
            let is_last = page.len() < PAGE;
            for (key, entry) in &page {
                let hash = self.hasher.hash_one(key);
                let expected = self.written.remove(&hash);
                if !changed.contains(&hash) && expected != Some(*entry) {
                    return Ok(Some(format!("the view and the journal differ on record {key}")));
                }
            }
            if is_last {
                break;
            }
            after = page.into_iter().last().map(|(key, _)| key);
        }
        self.written.retain(|hash, _| !changed.contains(hash));
        let missing = self.written.len();
        Ok((missing > 0).then(|| format!("{missing} records of the journal are not in the view")))
    }
}
