//! Bit rot is looked for before somebody asks for the block: every block of the packs that do not grow any more is read again and
//! hashed, pack by pack, round after round.
//!
//! What always holds: a block that is found damaged is not given out from then on, and is stored anew when somebody brings it; how
//! far a round is survives a restart, unless it has found something: then it begins anew. Not here: the pack that grows, whose turn comes later, and the journal, whose records are
//! checked whenever they are read.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::folder::{is_unreadable, read_small, replace};
use super::home::Home;
use super::log::is_gone;
use super::pace::Pace;
use super::packs::Packs;
use super::seal;

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scrubbed {
    /// The first pack that is still to be read in the round that is under way; none between rounds.
    pub next: Option<u32>,
    /// When the last round ended, in seconds since 1970; none when none has.
    pub ended: Option<u64>,
    /// Octets that were read in the round that is under way, or in the last one.
    pub octets: u64,
    /// Blocks that were damaged in it.
    pub damaged: u64,
}

impl Scrubbed {
    /// As it was noted; from the beginning when the note cannot be read.
    pub(super) fn read(home: &Home) -> Result<Self, StoreError> {
        let noted = match read_small(&path(home)) {
            Err(StoreError::Io { source, .. }) if is_unreadable(&source) => None,
            noted => noted?,
        };
        Ok(noted
            .and_then(|noted| serde_json::from_slice(&noted).ok())
            .unwrap_or_default())
    }

    /// What is damaged is remembered only in memory: a round that has found something begins anew with the store.
    pub(super) fn remember(home: &Home) -> Result<(), StoreError> {
        let noted = Self::read(home)?;
        if noted.damaged == 0 {
            return Ok(());
        }
        let ended = noted.ended;
        let anew = Self {
            next: Some(0),
            ended,
            ..Self::default()
        };
        anew.write(home)
    }

    fn write(&self, home: &Home) -> Result<(), StoreError> {
        let json = serde_json::to_vec(self).expect("numbers are always JSON");
        replace(&path(home), &json)
    }

    fn is_due(&self, every: Duration) -> bool {
        let passed = |ended: u64| now().saturating_sub(ended) >= every.as_secs();
        self.next.is_some() || self.ended.is_none_or(passed)
    }
}

fn path(home: &Home) -> PathBuf {
    let folder = home.packs.folder();
    folder.parent().unwrap_or(folder).join("SCRUB")
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// Reads the next pack, if a round is under way or one is due `every` so often; how far that is.
pub(super) fn step(packs: &Packs, every: Duration, pace: &mut Pace<'_>) -> Result<Scrubbed, StoreError> {
    let home = packs.home();
    let mut scrubbed = Scrubbed::read(home)?;
    if !scrubbed.is_due(every) {
        return Ok(scrubbed);
    }
    let from = scrubbed.next.unwrap_or_else(|| {
        (scrubbed.octets, scrubbed.damaged) = (0, 0);
        0
    });
    let active = packs.active();
    let mut numbers = home.packs.numbers()?.into_iter();
    match numbers.find(|number| (from..active).contains(number)) {
        Some(number) => {
            read(packs, number, &mut scrubbed, pace)?;
            scrubbed.next = Some(number + 1);
        }
        None => {
            scrubbed.next = None;
            scrubbed.ended = Some(now());
            let Scrubbed { octets, damaged, .. } = scrubbed;
            tracing::info!(octets, damaged, "every block was read again and hashed");
        }
    }
    scrubbed.write(home)?;
    Ok(scrubbed)
}

/// Reads the blocks of a pack that are still wanted there.
fn read(packs: &Packs, number: u32, scrubbed: &mut Scrubbed, pace: &mut Pace<'_>) -> Result<(), StoreError> {
    let log = &packs.home().packs;
    let mut entries = match seal::read(log, number)? {
        Some(entries) => entries,
        None => seal::seal(log, number)?.0,
    };
    // As they lie, so that the disk reads on.
    entries.sort_by_key(|(_, place)| place.map(|place| place.offset));
    for (digest, place) in entries {
        let Some(place) = place.filter(|_| packs.is_at(&digest, number).unwrap_or(false)) else {
            continue;
        };
        match packs.prove(&digest, place) {
            Ok(_) => {}
            Err(StoreError::Damaged { .. }) => scrubbed.damaged += 1,
            // Compaction was faster.
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(error),
        }
        scrubbed.octets += u64::from(place.length);
        pace.spend(u64::from(place.length))?;
    }
    Ok(())
}
