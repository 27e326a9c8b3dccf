//! Looking at a store that is not open: reading everything again, and throwing the view away.
//!
//! What always holds: nothing that was acknowledged is changed; the lock is held, so no node runs meanwhile.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::caught::{Keys, compare_blocks};
use super::checkpoint::{Checkpoint, Known, Left};
use super::embedded::EmbeddedOptions;
use super::folder::Folder;
use super::frame::{Header, Kind};
use super::index::{self, IndexKind};
use super::log::{Log, Position};
use super::recover::{self, Extent};
use super::scan::{Damage, Trust};
use super::{StoreError, commit};

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Octets of packs and journal that were read.
    pub octets: u64,
    /// Blocks whose hash was computed.
    pub blocks: u64,
    /// Commits that were read.
    pub commits: u64,
    /// What does not fit.
    pub damages: Vec<Damage>,
    /// Whether the view was compared: only after an orderly stop, else it is made anew at the next start anyhow.
    pub is_view_compared: bool,
}

/// Reads every block and every commit again and computes their hashes, and compares the view with them. `told` hears how many
/// octets there are, and of each step how many it read.
///
/// # Errors
/// [`StoreError::Locked`] while a node runs, [`StoreError::Io`]. Damage is no error, what the disk cannot read included.
pub async fn check(
    folder: &Path,
    options: EmbeddedOptions,
    told: impl Fn(Step) + Send + 'static,
) -> Result<Checked, StoreError> {
    let folder = folder.to_owned();
    super::on_thread(move || check_now(&folder, &options, &told)).await
}

/// How far a check is.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// So many octets are to be read.
    Begin(u64),
    /// So many more were.
    Read(u64),
}

/// Throws the view away. The next opening makes it anew.
///
/// # Errors
/// [`StoreError::Locked`] while a node runs, [`StoreError::Io`].
pub async fn discard_view(folder: &Path) -> Result<(), StoreError> {
    let folder = folder.to_owned();
    super::on_thread(move || {
        let folder = Folder::open_existing(&folder)?;
        for kind in IndexKind::ALL {
            index::discard(kind, folder.path())?;
        }
        Ok(())
    })
    .await
}

fn check_now(path: &Path, options: &EmbeddedOptions, told: &dyn Fn(Step)) -> Result<Checked, StoreError> {
    let folder = Folder::open_existing(path)?;
    let packs = Log::new(folder.join("packs"), "pack", folder.salt);
    let journal = Log::new(folder.join("journal"), "log", folder.salt);
    recover::check_salt(&folder, [&packs, &journal])?;
    let last = Checkpoint::read(&folder.join("CHECKPOINT"))?;
    told(Step::Begin(packs.octets()? + journal.octets()?));
    let of_packs = read_all(&packs, last.map(|last| last.packs), told, |_| true)?;
    let of_journal = read_all(&journal, last.map(|last| last.journal), told, |payload| {
        commit::outline(payload).is_some()
    })?;
    let mut checked = Checked {
        octets: of_packs.octets + of_journal.octets,
        blocks: of_packs.records,
        commits: of_journal.records,
        damages: [of_packs.damages, of_journal.damages].concat(),
        is_view_compared: false,
    };
    compare(&folder, options, last.as_ref(), (&packs, &journal), &mut checked)?;
    Ok(checked)
}

/// What was read of a log.
#[derive(Default)]
struct Read {
    octets: u64,
    /// Those with a payload.
    records: u64,
    damages: Vec<Damage>,
}

/// Reads every record of a log and computes its hash.
fn read_all(
    log: &Log,
    synced: Option<Position>,
    told: &dyn Fn(Step),
    form: impl Fn(&[u8]) -> bool,
) -> Result<Read, StoreError> {
    let mut read = Read::default();
    let numbers = log.numbers()?;
    for number in &numbers {
        let mut scan = log.scan(*number)?;
        let synced = match synced {
            Some(synced) if Some(number) == numbers.last() && synced.file == *number => synced.offset,
            _ if Some(number) == numbers.last() => 0,
            _ => scan.size(),
        };
        let mut found = Vec::new();
        let walked = scan.walk(Trust { synced, payloads: 0 }, |frame| {
            let Header { digest, kind, .. } = frame.header;
            let is_data = kind == Kind::Data;
            read.records += u64::from(is_data);
            // What has not even its checksum is told of already.
            let is_sound = !frame.header.fits(frame.payload)
                || !is_data
                || (frame.header.proves(frame.payload) && form(frame.payload));
            if !is_sound {
                let name = data_encoding::HEXLOWER.encode(&digest);
                found.push(Damage {
                    file: log.path(*number).display().to_string(),
                    from: frame.offset,
                    to: frame.offset + frame.header.size(),
                    why: format!("the record {name} is not what its hash says"),
                });
            }
            told(Step::Read(frame.header.size()));
            Ok(())
        })?;
        read.octets += walked.end;
        read.damages.extend(walked.damages);
        read.damages.extend(found);
    }
    Ok(read)
}

/// Compares the view with packs and journal, if it claims to hold them.
fn compare(
    folder: &Folder,
    options: &EmbeddedOptions,
    last: Option<&Checkpoint>,
    (packs, journal): (&Log, &Log),
    checked: &mut Checked,
) -> Result<(), StoreError> {
    let Some(last) = last else {
        return Ok(());
    };
    let (Left::Closed { .. }, Some(Known { stamp, .. })) = (last.left, last.index) else {
        return Ok(());
    };
    let path = options.index.path(folder.path());
    let mut differs = |why: String| {
        checked.damages.push(Damage {
            file: path.display().to_string(),
            from: 0,
            to: 0,
            why,
        });
    };
    let Some(view) = index::open(options.index, folder.path(), options.cache, stamp) else {
        differs("it does not open, or is not the one that the checkpoint names; `cargomail store rebuild` makes it anew".to_owned());
        return Ok(());
    };
    let (blocks, _) = recover::all(packs, Extent::Known(last.packs))?;
    let mut keys = Keys::default();
    recover::records(journal, Extent::Known(last.journal), &mut |changes| {
        keys.add(changes)
    })?;
    if let Some(why) = compare_blocks(view.as_ref(), blocks, &HashMap::new())? {
        differs(why);
    }
    if let Some(why) = keys.compare(view.as_ref(), &HashSet::new())? {
        differs(why);
    }
    view.close()?;
    checked.is_view_compared = true;
    Ok(())
}
