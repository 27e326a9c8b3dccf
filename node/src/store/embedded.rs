//! The store that needs no server: packs of blocks, a journal of commits, and a view of both in one directory.
//!
//! ```text
//! LOCK                 one process
//! FORMAT               layout, digest function, salt, and their checksum
//! CHECKPOINT           how far the others are known to be durable, and how much of them the view holds durably
//! packs/00000017.pack  blocks, append-only; the last one grows; .idx beside those that do not
//! packs/dropped.txt    which packs compaction removed; the same beside the journal
//! SCRUB                how far the search for bit rot is
//! journal/00000004.log commits, append-only
//! view.sled, view.redb where everything is; derived, and only one of them
//! ```
//!
//! What always holds: what was acknowledged is in a pack or in the journal and synced; the view never holds what is not. It is
//! written behind the acknowledgement, by a thread of its own.
//! Another gives back the room of swept blocks and overwritten records, see [`Embedded::compact`], and looks for bit rot.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cargomail_protocol::limits;

use super::caught::{Caught, catch};
use super::checkpoint::{Checkpoint, Known, Left};
use super::folder::Folder;
use super::home::Home;
use super::index::{self, Index, IndexKind};
use super::journal::Journal;
use super::kept::Opening;
use super::log::{Appender, Log, Position};
use super::packs::{Checks, Packs};
use super::recover::{Extent, Found};
use super::reserve::Reserve;
use super::scan::Damage;
#[cfg(test)]
use super::scrub::Scrubbed;
use super::statistics::{self, Statistics};
use super::upkeep::{Compacted, Compaction, Progress, Rates, Upkeep};
use super::{BlockStore, RecordStore, StoreError, recover};

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The engine of the view: another one than last time makes the view anew.
    pub index: IndexKind,
    /// Octets of memory for the view; sled takes it as advice.
    pub cache: u64,
    /// Octets of one pack, or one file of the journal, above which the next one is begun.
    pub segment: u64,
    /// So many blocks and records or fewer have the view made anew after a stop that was not in order. With more it is compared
    /// with what packs and journal say, and told only what came last.
    pub anew: u64,
    /// Octets of the disk that blocks do not get: then deletions, records and compaction still have room.
    pub reserve: u64,
    /// Octets a second that are moved, at most, to give back the room of swept blocks by itself; none: it is asked for.
    pub compact_rate: Option<u64>,
    /// Octets a second that are read, at most, to find bit rot before somebody needs the block; none: not by itself.
    pub scrub_rate: Option<u64>,
    /// From the end of one such round through everything to the next.
    pub scrub_every: Duration,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            index: IndexKind::default(),
            cache: 16 * 1024 * 1024,
            segment: 256 * 1024 * 1024,
            anew: limits::STORE_ANEW,
            reserve: 0,
            compact_rate: Some(16 * 1024 * 1024),
            scrub_rate: Some(16 * 1024 * 1024),
            scrub_every: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// An open store. Cheap to clone.
#[derive(Clone)]
pub struct Embedded {
    home: Arc<Home>,
    packs: Arc<Packs>,
    journal: Arc<Journal>,
    upkeep: Arc<Upkeep>,
    damages: Arc<[Damage]>,
    kind: IndexKind,
}

impl Embedded {
    /// Opens the store in a directory, which is created where it is missing.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::Layout`] when it is of another program or version,
    /// [`StoreError::Io`]. Damage is no error: what is not damaged is served, see [`Embedded::damages`].
    pub async fn open(folder: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let folder = folder.to_owned();
        super::on_thread(move || open(&folder, &options)).await
    }

    /// The blocks.
    #[must_use]
    pub fn blocks(&self) -> Arc<dyn BlockStore> {
        self.packs.clone()
    }

    /// The records.
    #[must_use]
    pub fn records(&self) -> Arc<dyn RecordStore> {
        self.journal.clone()
    }

    /// What was found damaged at opening, if packs and journal had to be read. It stays where it is.
    #[must_use]
    pub fn damages(&self) -> &[Damage] {
        &self.damages
    }

    /// Counts what is here, block by block and record by record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn statistics(&self) -> Result<Statistics, StoreError> {
        let (home, kind) = (self.home.clone(), self.kind);
        super::on_thread(move || statistics::count(&home, kind)).await
    }

    /// Gives back the room of blocks that were swept and of records that were overwritten, while the store serves. `told` hears how far it is.
    ///
    /// # Errors
    /// [`StoreError`]; what was done until then stays done.
    pub async fn compact(
        &self,
        job: Compaction,
        told: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Compacted, StoreError> {
        let store = self.clone();
        super::on_thread(move || store.upkeep.compact(&store.packs, job, &told)).await
    }

    /// Reads the next pack for bit rot.
    #[cfg(test)]
    pub(super) async fn scrub(&self, every: Duration) -> Result<Scrubbed, StoreError> {
        let store = self.clone();
        super::on_thread(move || store.upkeep.scrub(&store.packs, every)).await
    }

    /// Shortens the journal if it takes twice as much as when it was looked at last; what that was, and is.
    #[cfg(test)]
    pub(super) async fn shorten(&self, mut looked: u64) -> Result<u64, StoreError> {
        let store = self.clone();
        super::on_thread(move || {
            store.upkeep.shorten(&mut looked);
            Ok(looked)
        })
        .await
    }

    /// Does what was asked before, and leaves the directory in order, so that the next opening need not read it. Whoever still holds
    /// the ports is told [`StoreError::Closed`].
    ///
    /// # Errors
    /// [`StoreError`] when the view could not be left in order; nothing is lost by that.
    pub async fn close(self) -> Result<(), StoreError> {
        let upkeep = self.upkeep.clone();
        super::on_thread(move || {
            upkeep.stop();
            Ok(())
        })
        .await?;
        self.packs.stop().await;
        self.journal.stop().await;
        let home = self.home.clone();
        super::on_thread(move || home.close()).await
    }
}

fn open(path: &Path, options: &EmbeddedOptions) -> Result<Embedded, StoreError> {
    let folder = Folder::open(path)?;
    let packs = Arc::new(Log::new(folder.join("packs"), "pack", folder.salt));
    let journal = Arc::new(Log::new(folder.join("journal"), "log", folder.salt));
    recover::check_salt(&folder, [&packs, &journal])?;
    let last = Checkpoint::read(&folder.join("CHECKPOINT"))?;
    let found = match orderly(last.as_ref(), &packs, &journal, folder.path(), options)? {
        Some(found) => found,
        None => match caught(last.as_ref(), &packs, &journal, folder.path(), options)? {
            Some(found) => found,
            None => anew(last.as_ref(), &packs, &journal, folder.path(), options)?,
        },
    };
    let block_end = Appender::open(packs.clone(), options.segment, found.packs, found.pack_records)?;
    let record_end = Appender::open(journal.clone(), options.segment, found.journal, 0)?;
    let checkpoint = Checkpoint {
        left: Left::Open,
        packs: block_end.position(),
        pack_records: block_end.records(),
        journal: record_end.position(),
        version: found.version,
        index: found.known,
    };
    let opening = Opening {
        folder,
        packs,
        journal,
        index: found.view,
        kind: options.index,
        cache: options.cache,
        checkpoint,
    };
    let reserve = Reserve::new(path.to_owned(), options.reserve);
    let home = Arc::new(Home::open(opening, reserve)?);
    let packs = Arc::new(Packs::open(home.clone(), block_end, found.checks)?);
    let journal = Arc::new(Journal::open(home.clone(), record_end, found.version)?);
    let rates = Rates {
        compact: options.compact_rate,
        scrub: options.scrub_rate,
        scrub_every: options.scrub_every,
    };
    let upkeep = Upkeep::start(packs.clone(), journal.clone(), rates)?;
    Ok(Embedded {
        packs,
        journal,
        upkeep: Arc::new(upkeep),
        home,
        damages: found.damages.into(),
        kind: options.index,
    })
}

/// What an opening begins with.
struct Beginning {
    view: Box<dyn Index>,
    /// How far it is durable.
    known: Option<Known>,
    packs: Option<Position>,
    pack_records: u64,
    journal: Option<Position>,
    version: u64,
    checks: Checks,
    damages: Vec<Damage>,
}

/// The store as it was left, if it was left in order and nobody touched it since: every file is there, and the last ones end where they did.
fn orderly(
    last: Option<&Checkpoint>,
    packs: &Log,
    journal: &Log,
    folder: &Path,
    options: &EmbeddedOptions,
) -> Result<Option<Beginning>, StoreError> {
    let Some(last) = last else {
        return Ok(None);
    };
    let Left::Closed { stamp } = last.left else {
        return Ok(None);
    };
    for (log, end) in [(packs, last.packs), (journal, last.journal)] {
        let missing = recover::missing_files(log, &log.numbers()?, Some(end))?;
        if log.end()? != Some(end) || !missing.is_empty() {
            return Ok(None);
        }
    }
    Ok(
        index::open(options.index, folder, options.cache, stamp).map(|view| Beginning {
            view,
            known: last.index,
            packs: Some(last.packs),
            pack_records: last.pack_records,
            journal: Some(last.journal),
            version: last.version,
            checks: Checks::Checksum,
            damages: Vec::new(),
        }),
    )
}

/// The store as packs and journal tell, with the view as it was last made durable, and what came since. Not for a small
/// store: making its view anew is as quick, and needs to believe nothing.
fn caught(
    last: Option<&Checkpoint>,
    packs: &Log,
    journal: &Log,
    folder: &Path,
    options: &EmbeddedOptions,
) -> Result<Option<Beginning>, StoreError> {
    let Some((last, known)) = last.and_then(|last| Some((last, last.index?))) else {
        return Ok(None);
    };
    if recover::work(packs, journal)? <= options.anew {
        return Ok(None);
    }
    let Some(view) = index::open(options.index, folder, options.cache, known.stamp) else {
        return Ok(None);
    };
    let of_packs = (packs, Extent::Looked(Some(last.packs)));
    let of_journal = (journal, Extent::Looked(Some(last.journal)));
    match catch(of_packs, of_journal, &known, view.as_ref()) {
        Ok(Caught {
            blocks,
            records,
            differs: None,
        }) => Ok(Some(Beginning::found(
            view,
            Some(known),
            Some(last),
            blocks,
            records,
        ))),
        Ok(Caught {
            differs: Some(why), ..
        }) => {
            tracing::warn!(why, "the view does not hold what it should and is made anew");
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(%error, "the view cannot be compared and is made anew");
            Ok(None)
        }
    }
}

/// The store as packs and journal tell, with a view made of them.
fn anew(
    last: Option<&Checkpoint>,
    packs: &Log,
    journal: &Log,
    folder: &Path,
    options: &EmbeddedOptions,
) -> Result<Beginning, StoreError> {
    let view = index::create(options.index, folder, options.cache)?;
    let (blocks, records) = recover::fill(
        (packs, Extent::Looked(last.map(|last| last.packs))),
        (journal, Extent::Looked(last.map(|last| last.journal))),
        view.as_ref(),
    )?;
    Ok(Beginning::found(view, None, last, blocks, records))
}

impl Beginning {
    /// Of a store that was not left in order.
    fn found(
        view: Box<dyn Index>,
        known: Option<Known>,
        last: Option<&Checkpoint>,
        blocks: Found,
        records: Found,
    ) -> Self {
        let damages = [blocks.damages, records.damages].concat();
        for damage in &damages {
            let Damage { file, from, to, why } = damage;
            tracing::error!(
                file,
                from,
                to,
                why,
                "stored octets are damaged; they are left where they are and not served"
            );
        }
        Self {
            view,
            known,
            packs: blocks.end,
            pack_records: blocks.records,
            journal: records.end,
            // No version is given twice, not even when commits are lost.
            version: records.version.max(last.map_or(0, |last| last.version)),
            checks: Checks::Hash,
            damages,
        }
    }
}
