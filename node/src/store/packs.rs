//! The block port over packs: a block is a record whose digest is its name.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cargomail_protocol::dag::VerifiedBlock;
use cargomail_protocol::dag::cid::digest;
use cid::Cid;

use super::frame::{Digest, HEAD, Header, Kind};
use super::home::Home;
use super::log::{Appender, Place, is_gone};
use super::packer::{Packer, Request};
use super::tally::Tally;
use super::writer::Writer;
use super::{BlockStore, Settling, StoreError};

/// Damaged blocks that are remembered, so that they can be stored again.
const DAMAGED: usize = 4096;
/// How often a block is looked up again whose pack was removed meanwhile.
const LOOKUPS: usize = 8;

/// Octets of a block that is read without a thread of its own when it is in memory: copying it takes less than handing over.
const AT_ONCE: u32 = 64 * 1024;

/// How far a block is believed that comes from the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checks {
    /// The checksum: the store was left in order.
    Checksum,
    /// The hash too: it was not.
    Hash,
}

/// The blocks of an open store.
pub(super) struct Packs {
    reader: Arc<Reader>,
    writer: Writer<Packer>,
}

/// What a thread needs to look up and read.
pub(super) struct Reader {
    pub(super) home: Arc<Home>,
    checks: Checks,
    damaged: Mutex<Damaged>,
    pub(super) tally: Tally,
    /// Packs with a smaller number do not grow any more, and have their index.
    pub(super) active: AtomicU32,
}

/// Blocks that were read and did not check: not here, for whoever brings them anew.
#[derive(Default)]
struct Damaged {
    blocks: HashSet<Digest>,
    /// There were others, which are not remembered.
    are_more: bool,
}

impl Packs {
    pub(super) fn open(home: Arc<Home>, appender: Appender, checks: Checks) -> Result<Self, StoreError> {
        let reader = Arc::new(Reader {
            home: home.clone(),
            checks,
            damaged: Mutex::default(),
            tally: Tally::default(),
            active: AtomicU32::new(appender.position().file),
        });
        let packer = Packer::new(reader.clone(), appender);
        Ok(Self {
            writer: Writer::start("packs", home, packer)?,
            reader,
        })
    }

    /// Ends the writing when everything before is done.
    pub(super) async fn stop(&self) {
        self.writer.stop().await;
    }

    pub(super) fn home(&self) -> &Home {
        &self.reader.home
    }

    /// How much of the packs is wanted.
    pub(super) fn tally(&self) -> &Tally {
        &self.reader.tally
    }

    /// The first pack that is not to be touched: it grows.
    pub(super) fn active(&self) -> u32 {
        self.reader.active.load(Ordering::Acquire)
    }

    /// The octets at a place, if they are the block's, by its hash.
    pub(super) fn prove(&self, digest: &Digest, place: Place) -> Result<Bytes, StoreError> {
        self.reader.take_out(digest, place, Checks::Hash)
    }

    /// Whether the view says that a block is in a pack.
    pub(super) fn is_at(&self, digest: &Digest, number: u32) -> Result<bool, StoreError> {
        let place = self.home().read(|view, _| view.block(digest))?;
        Ok(place.is_some_and(|place| place.file == number))
    }

    /// Has the writing thread do something, and waits.
    pub(super) fn ask_and_wait(&self, request: Request) -> Result<(), StoreError> {
        self.writer.ask_and_wait(request).map(drop)
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.reader.clone();
        self.reader.home.on_thread(move || work(&reader)).await
    }
}

impl Reader {
    fn damaged(&self) -> MutexGuard<'_, Damaged> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets that blocks were found damaged: they came anew.
    pub(super) fn forget_damaged<'a>(&self, came: impl Iterator<Item = &'a Digest>) {
        let mut damaged = self.damaged();
        for digest in came {
            damaged.blocks.remove(digest);
        }
    }

    /// Whether a block at its place was not found damaged. Once more were than are remembered, it is read for that.
    pub(super) fn is_sound(&self, digest: &Digest, place: Place) -> bool {
        let damaged = self.damaged();
        let (is_damaged, are_more) = (damaged.blocks.contains(digest), damaged.are_more);
        drop(damaged);
        !is_damaged && (!are_more || self.take_out(digest, place, Checks::Hash).is_ok())
    }

    /// Whether a block is here, as far as is known.
    fn is_here(&self, digest: &Digest) -> Result<bool, StoreError> {
        let place = self.home.read(|view, _| view.block(digest))?;
        Ok(place.is_some_and(|place| self.is_sound(digest, place)))
    }

    /// A small block that is in memory, or none when there is no such block; nothing when that takes waiting, or another look.
    fn read_at_once(&self, digest: &Digest) -> Option<Option<Bytes>> {
        let Some(place) = self.home.read_at_once(|view| view.block(digest))? else {
            return Some(None);
        };
        if place.length > AT_ONCE {
            return None;
        }
        let octets = self.home.packs.read_at_once(of_record(place))?;
        self.check(digest, place, octets, self.checks).ok().map(Some)
    }

    fn read(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        let mut lookups = 0;
        loop {
            let Some(place) = self.home.read(|view, _| view.block(digest))? else {
                return Ok(None);
            };
            lookups += 1;
            match self.take_out(digest, place, self.checks) {
                // Compaction moved it and removed the pack.
                Err(error) if is_gone(&error) && lookups < LOOKUPS => {}
                Err(error) if is_gone(&error) => {
                    let error = self.home.packs.damaged(place, "the pack is not there");
                    self.note_damaged(digest, &error);
                    return Err(error);
                }
                found => return found.map(Some),
            }
        }
    }

    fn take_out(&self, digest: &Digest, place: Place, checks: Checks) -> Result<Bytes, StoreError> {
        let octets = self.home.packs.read(of_record(place));
        let checked = octets.and_then(|octets| self.check(digest, place, octets, checks));
        if let Err(error @ StoreError::Damaged { .. }) = &checked {
            self.note_damaged(digest, error);
        }
        checked
    }

    fn note_damaged(&self, digest: &Digest, error: &StoreError) {
        let mut damaged = self.damaged();
        if damaged.blocks.len() < DAMAGED {
            if damaged.blocks.insert(*digest) {
                tracing::error!(%error, "a block is damaged and is not given out; it is stored anew when somebody brings it");
            }
        } else if !damaged.blocks.contains(digest) && !std::mem::replace(&mut damaged.are_more, true) {
            tracing::error!(%error, "more blocks are damaged than are remembered: from now on, each is read before it is said to be here");
        }
    }

    fn check(
        &self,
        digest: &Digest,
        place: Place,
        octets: Vec<u8>,
        checks: Checks,
    ) -> Result<Bytes, StoreError> {
        let octets = Bytes::from(octets);
        let sound = Header::decode(&octets, self.home.packs.salt()).is_some_and(|header| {
            let payload = &octets[HEAD..];
            header.kind == Kind::Data
                && header.digest == *digest
                && match checks {
                    Checks::Checksum => header.fits(payload),
                    Checks::Hash => header.proves(payload),
                }
        });
        if sound {
            Ok(octets.slice(HEAD..))
        } else {
            Err(self.home.packs.damaged(place, "the block does not check"))
        }
    }
}

fn put(batch: Vec<VerifiedBlock>) -> Request {
    let named = batch.into_iter().map(|block| {
        let digest = digest(block.cid()).expect("only blocks with a name that checks are verified");
        (digest, block.into_bytes())
    });
    Request::Put(named.collect())
}

/// The place of a block with what describes it.
fn of_record(place: Place) -> Place {
    Place {
        offset: place.offset.saturating_sub(HEAD as u64),
        length: place.length.saturating_add(HEAD as u32),
        ..place
    }
}

#[async_trait]
impl BlockStore for Packs {
    async fn put(&self, batch: Vec<VerifiedBlock>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.writer.ask(put(batch)).await.map(drop)
    }

    async fn write(&self, batch: Vec<VerifiedBlock>) -> Result<Settling<StoreError>, StoreError> {
        let asked = self.writer.ask_to_write(put(batch)).await?;
        Ok(Box::pin(async { asked.answer().await.map(drop) }))
    }

    fn room(&self, octets: u64) -> Result<(), StoreError> {
        self.reader.home.reserve().room(octets)
    }

    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        match digest(cid) {
            Ok(digest) => match self.reader.read_at_once(&digest) {
                Some(found) => Ok(found),
                None => self.on_thread(move |reader| reader.read(&digest)).await,
            },
            Err(_) => Ok(None),
        }
    }

    async fn get_many(&self, cids: &[Cid]) -> Vec<Result<Option<Bytes>, StoreError>> {
        let digests: Vec<_> = cids.iter().map(|cid| digest(cid).ok()).collect();
        let read = self.on_thread(move |reader| {
            let one = |digest: &Option<Digest>| match digest {
                Some(digest) => reader.read(digest),
                None => Ok(None),
            };
            Ok(digests.iter().map(one).collect())
        });
        match read.await {
            Ok(found) => found,
            Err(_) => cids.iter().map(|_| Err(StoreError::Closed)).collect(),
        }
    }

    async fn has(&self, cids: &[Cid]) -> Result<Vec<bool>, StoreError> {
        let digests: Vec<_> = cids.iter().map(|cid| digest(cid).ok()).collect();
        self.on_thread(move |reader| {
            let here = |digest: &Option<Digest>| match digest {
                Some(digest) => reader.is_here(digest),
                None => Ok(false),
            };
            digests.iter().map(here).collect()
        })
        .await
    }

    async fn keep(&self, cids: &[Cid]) -> Result<Vec<bool>, StoreError> {
        let digests = cids.iter().map(|cid| digest(cid).ok()).collect();
        self.writer.ask(Request::Keep(digests)).await
    }

    async fn condemn(&self, cids: &[Cid]) -> Result<(), StoreError> {
        let digests = cids.iter().filter_map(|cid| digest(cid).ok()).collect();
        self.writer.ask(Request::Condemn(digests)).await.map(drop)
    }

    async fn sweep(&self, cids: &[Cid]) -> Result<Vec<bool>, StoreError> {
        let digests = cids.iter().map(|cid| digest(cid).ok()).collect();
        self.writer.ask(Request::Sweep(digests)).await
    }

    async fn list(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<([u8; 32], u32)>, StoreError> {
        self.on_thread(move |reader| {
            let found = reader
                .home
                .read(|view, _| view.blocks_after(after.as_ref(), limit))?;
            Ok(found
                .into_iter()
                .map(|(digest, place)| (digest, place.length))
                .collect())
        })
        .await
    }
}
