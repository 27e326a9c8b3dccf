//! What an open store does for itself: one thread that gives room back and looks for bit rot, slowly, and the first at once for whoever
//! asks.
//!
//! What always holds: one of them works at a time, and who asks does not wait for the slow one's pauses. The thread ends with the store,
//! also when that is dropped and not closed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use super::StoreError;
use super::compact::{self, Spared};
use super::journal::Journal;
use super::pace::{Pace, Signals};
use super::packer::Request;
use super::packs::Packs;
use super::scrub::Scrubbed;
use super::{carry, scrub};

/// How often it is looked whether there is something to do.
const EVERY: Duration = Duration::from_secs(30);
/// A journal of fewer octets is left alone.
const SMALL: u64 = 64 * 1024 * 1024;
/// What it counts as having taken when it was looked at last, at least.
const LOOKED: u64 = SMALL / 2;
/// Of more, files go until so many percent hold.
const HALF: u8 = 50;
/// A pack of which less is wanted, in percent, is worth the work by itself.
const POOR: u8 = 60;

/// How fast the store looks after itself, in octets a second; none: not by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    pub(super) compact: Option<u64>,
    pub(super) scrub: Option<u64>,
    /// From the end of one round to the next.
    pub(super) scrub_every: Duration,
}

/// What compaction is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// Packs of which less is wanted than so many percent are written anew.
    pub below: u8,
    /// Octets a second; none: as fast as it goes.
    pub rate: Option<u64>,
}

impl Default for Compaction {
    /// What whoever asks for room wants: nearly all of it, now.
    fn default() -> Self {
        Self {
            below: 95,
            rate: None,
        }
    }
}

/// What compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Octets of packs and journal before.
    pub before: u64,
    /// Octets of packs and journal after.
    pub after: u64,
    /// Packs that were removed.
    pub packs: u64,
    /// Files of the journal that were removed.
    pub journal: u64,
    /// Octets of blocks and records that were stored again for that.
    pub moved: u64,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Octets that were worked on since the last time.
    pub octets: u64,
    /// Octets that there will be altogether, as far as that is known.
    pub total: u64,
}

/// The upkeep of one store.
pub(super) struct Upkeep {
    signals: Arc<Signals>,
    spared: Arc<Mutex<Spared>>,
    journal: Arc<Journal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Upkeep {
    /// Begins it.
    pub(super) fn start(packs: Arc<Packs>, journal: Arc<Journal>, rates: Rates) -> Result<Self, StoreError> {
        if let Err(error) = Scrubbed::remember(packs.home()) {
            tracing::warn!(%error, "blocks that were found damaged are not known before they are read");
        }
        let signals = Arc::new(Signals::default());
        let spared = Arc::new(Mutex::default());
        let background = (signals.clone(), Arc::clone(&spared), journal.clone());
        let thread = std::thread::Builder::new()
            .name("upkeep".to_owned())
            .spawn(move || {
                let (signals, spared, journal) = background;
                // What the journal took when it was last looked at.
                let mut looked = LOOKED;
                while signals.sleep(EVERY) {
                    if let Some(rate) = rates.compact {
                        give_back(&packs, &signals, &spared, rate);
                        shorten(&journal, &signals, &spared, rate, &mut looked);
                    }
                    if let Some(rate) = rates.scrub {
                        let mut pace = Pace::new(&signals, Some(rate), |_| ());
                        match scrub::step(&packs, rates.scrub_every, &mut pace) {
                            Ok(_) | Err(StoreError::Closed) => {}
                            Err(error) => {
                                tracing::warn!(%error, "a pack cannot be read; that is tried again")
                            }
                        }
                    }
                }
            })
            .map_err(|source| StoreError::Io {
                path: "thread upkeep".to_owned(),
                source,
            })?;
        Ok(Self {
            signals,
            spared,
            journal,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Reads the next pack for bit rot, as the thread does now and then.
    #[cfg(test)]
    pub(super) fn scrub(&self, packs: &Packs, every: Duration) -> Result<Scrubbed, StoreError> {
        scrub::step(packs, every, &mut Pace::new(&self.signals, None, |_| ()))
    }

    /// Shortens the journal if it takes twice as much as when it was looked at last, as the thread does now and then.
    #[cfg(test)]
    pub(super) fn shorten(&self, looked: &mut u64) {
        shorten(&self.journal, &self.signals, &self.spared, u64::MAX, looked);
    }

    /// Gives back what there is to give, while the store serves. Waits for the disk.
    pub(super) fn compact(
        &self,
        packs: &Packs,
        job: Compaction,
        told: &(dyn Fn(Progress) + Sync),
    ) -> Result<Compacted, StoreError> {
        let mut spared = {
            let _hurry = self.signals.hurry();
            lock(&self.spared)
        };
        // What grows may be as poor as the others.
        compact::count(packs, &mut Pace::new(&self.signals, job.rate, |_| ()))?;
        if compact::is_active_poor(packs, job.below)? {
            packs.ask_and_wait(Request::BeginNext)?;
        }
        // Packs first: where there is hardly any room, they give it.
        let done = run(packs, &self.signals, &mut spared, job, told)?;
        self.journal.begin_next()?;
        let mut pace = Pace::new(&self.signals, job.rate, |_| ());
        let carried = carry::compact(&self.journal, job.below, &mut pace)?;
        Ok(Compacted {
            after: octets(packs)?,
            journal: carried.files,
            moved: done.moved + carried.moved,
            ..done
        })
    }

    /// Ends everything, and waits for that.
    pub(super) fn stop(&self) {
        self.signals.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It holds nothing that anybody waits for: what a panic left is as after a crash.
            let _ = thread.join();
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.signals.stop();
    }
}

/// What the thread does once a time.
fn give_back(packs: &Packs, signals: &Signals, spared: &Mutex<Spared>, rate: u64) {
    let job = Compaction {
        below: POOR,
        rate: Some(rate),
    };
    match run(packs, signals, &mut lock(spared), job, &|_| ()) {
        Ok(done) if done.packs > 0 => {
            let Compacted {
                before,
                after,
                packs,
                moved,
                ..
            } = done;
            tracing::info!(before, after, packs, moved, "the store gave room back");
        }
        Ok(_) | Err(StoreError::Closed) => {}
        Err(error) => tracing::warn!(%error, "the store does not give room back; that is tried again"),
    }
}

/// The same for the journal, once it takes twice as much as when it was looked at last: the records are counted for that.
fn shorten(journal: &Journal, signals: &Signals, spared: &Mutex<Spared>, rate: u64, looked: &mut u64) {
    let log = &journal.home().journal;
    let shorten = || -> Result<Option<carry::Freed>, StoreError> {
        if log.octets()? < 2 * *looked {
            return Ok(None);
        }
        let _alone = lock(spared);
        let freed = carry::compact(journal, HALF, &mut Pace::new(signals, Some(rate), |_| ()))?;
        Ok(Some(freed))
    };
    match shorten() {
        Ok(None) | Err(StoreError::Closed) => return,
        Ok(Some(carry::Freed { files: 0, .. })) => {}
        Ok(Some(carry::Freed { files, moved })) => tracing::info!(files, moved, "the journal gave room back"),
        Err(error) => {
            tracing::warn!(%error, "the journal does not give room back; that is tried again");
            return;
        }
    }
    *looked = log.octets().map_or(*looked, |octets| octets.max(LOOKED));
}

fn run(
    packs: &Packs,
    signals: &Signals,
    spared: &mut Spared,
    job: Compaction,
    told: &(dyn Fn(Progress) + Sync),
) -> Result<Compacted, StoreError> {
    let before = octets(packs)?;
    compact::count(packs, &mut Pace::new(signals, job.rate, |_| ()))?;
    let total = compact::work(packs, job.below, spared)?;
    let mut pace = Pace::new(signals, job.rate, |octets| told(Progress { octets, total }));
    let freed = compact::compact(packs, job.below, spared, &mut pace)?;
    let after = octets(packs)?;
    Ok(Compacted {
        before,
        after,
        packs: freed.packs,
        journal: 0,
        moved: freed.moved,
    })
}

fn lock(spared: &Mutex<Spared>) -> MutexGuard<'_, Spared> {
    spared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Octets of packs and journal.
fn octets(packs: &Packs) -> Result<u64, StoreError> {
    Ok(packs.home().packs.octets()? + packs.home().journal.octets()?)
}
