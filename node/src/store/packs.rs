//! The block port over packs: a block is a record whose digest is its name.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cargomail_protocol::dag::VerifiedBlock;
use cargomail_protocol::dag::cid::digest;
use cid::Cid;

use super::frame::{Digest, HEAD, Header, Kind};
use super::home::{Home, Reached};
use super::index::Changes;
use super::log::{Appender, Failure, Place};
use super::writer::{Write, Writer};
use super::{BlockStore, StoreError, seal};

/// Damaged blocks that are remembered, so that they can be stored again.
const DAMAGED: usize = 4096;

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
struct Reader {
    home: Arc<Home>,
    checks: Checks,
    /// Blocks that were read and did not check: not here, for whoever brings them anew.
    damaged: Mutex<HashSet<Digest>>,
}

impl Packs {
    pub(super) fn open(home: Arc<Home>, appender: Appender, checks: Checks) -> Result<Self, StoreError> {
        let reader = Arc::new(Reader {
            home: home.clone(),
            checks,
            damaged: Mutex::default(),
        });
        let packer = Packer {
            reader: reader.clone(),
            appender,
            condemned: HashSet::new(),
        };
        Ok(Self {
            writer: Writer::start("packs", home, packer)?,
            reader,
        })
    }

    /// Ends the writing when everything before is done.
    pub(super) async fn stop(&self) {
        self.writer.stop().await;
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
    fn damaged(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a block that was not found damaged.
    fn place(&self, digest: &Digest) -> Result<Option<Place>, StoreError> {
        if self.damaged().contains(digest) {
            return Ok(None);
        }
        self.home.read(|view, _| view.block(digest))
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
        self.check(digest, place, octets).ok().map(Some)
    }

    fn read(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        let Some(place) = self.home.read(|view, _| view.block(digest))? else {
            return Ok(None);
        };
        let octets = self.home.packs.read(of_record(place));
        let checked = octets.and_then(|octets| self.check(digest, place, octets));
        if let Err(error @ StoreError::Damaged { .. }) = &checked {
            let mut damaged = self.damaged();
            if damaged.len() < DAMAGED && damaged.insert(*digest) {
                tracing::error!(%error, "a block is damaged and is not given out; it is stored anew when somebody brings it");
            }
        }
        checked.map(Some)
    }

    fn check(&self, digest: &Digest, place: Place, octets: Vec<u8>) -> Result<Bytes, StoreError> {
        let octets = Bytes::from(octets);
        let sound = Header::decode(&octets, self.home.packs.salt()).is_some_and(|header| {
            let payload = &octets[HEAD..];
            header.kind == Kind::Data
                && header.digest == *digest
                && match self.checks {
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
        let blocks = batch
            .into_iter()
            .map(|block| {
                let digest = digest(block.cid()).expect("only blocks with a name that checks are verified");
                (digest, block.into_bytes())
            })
            .collect();
        self.writer.ask(Request::Put(blocks)).await.map(drop)
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
                Some(digest) => Ok(reader.place(digest)?.is_some()),
                None => Ok(false),
            };
            digests.iter().map(here).collect()
        })
        .await
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

/// What the writing thread is asked to do.
enum Request {
    Put(Vec<(Digest, Bytes)>),
    Condemn(HashSet<Digest>),
    Sweep(Vec<Option<Digest>>),
}

/// The writing thread's own.
struct Packer {
    reader: Arc<Reader>,
    appender: Appender,
    /// What may be swept, but for what was put since. After a restart that is nothing.
    condemned: HashSet<Digest>,
}

impl Packer {
    /// Begins the next pack where this one is full, and indexes this one.
    fn begin_next(&mut self) -> Result<(), Failure> {
        let full = self.appender.position().file;
        self.appender.begin_next()?;
        self.note();
        // Both are derived: the next opening does without them, only slower.
        match seal::seal(&self.reader.home.packs, full).map(|(_, damages)| damages) {
            Ok(damages) => damages.iter().for_each(|damage| {
                tracing::error!(
                    file = damage.file,
                    from = damage.from,
                    to = damage.to,
                    "a pack is damaged"
                );
            }),
            Err(error) => tracing::warn!(%error, "a pack's index was not written"),
        }
        self.reader.home.ask_to_settle();
        Ok(())
    }

    fn note(&self) {
        let (packs, pack_records) = (self.appender.position(), self.appender.records());
        self.reader.home.note(|checkpoint| {
            checkpoint.packs = packs;
            checkpoint.pack_records = pack_records;
        });
    }

    fn put(
        &mut self,
        digest: Digest,
        octets: &Bytes,
        changed: &mut HashMap<Digest, Option<Place>>,
    ) -> Result<(), Failure> {
        self.condemned.remove(&digest);
        let here = match changed.get(&digest) {
            Some(place) => place.is_some(),
            None => self.reader.place(&digest).map_err(Failure::Refused)?.is_some(),
        };
        if !here {
            let at = self.appender.append(Kind::Data, digest, octets)?;
            let place = Place {
                file: at.file,
                offset: at.offset,
                length: octets.len() as u32,
            };
            changed.insert(digest, Some(place));
        }
        Ok(())
    }

    /// Whether the block was here and has gone.
    fn sweep(
        &mut self,
        digest: Digest,
        changed: &mut HashMap<Digest, Option<Place>>,
    ) -> Result<bool, Failure> {
        if !self.condemned.contains(&digest) {
            return Ok(false);
        }
        let here = match changed.get(&digest) {
            Some(place) => place.is_some(),
            None => self
                .reader
                .home
                .read(|view, _| view.block(&digest))
                .map_err(Failure::Refused)?
                .is_some(),
        };
        if here {
            self.appender.append(Kind::Tombstone, digest, &[])?;
            changed.insert(digest, None);
        }
        Ok(here)
    }
}

impl Write for Packer {
    type Request = Request;
    /// What a sweep did; empty for the others.
    type Answer = Vec<bool>;

    fn weight(request: &Request) -> u64 {
        match request {
            Request::Put(blocks) => blocks
                .iter()
                .map(|(_, octets)| (HEAD + octets.len()) as u64)
                .sum(),
            Request::Condemn(_) => 0,
            Request::Sweep(digests) => (digests.len() * HEAD) as u64,
        }
    }

    fn write(&mut self, group: &[Request]) -> Result<Vec<Vec<bool>>, Failure> {
        if self.appender.is_full() {
            self.begin_next()?;
        }
        let mut changed = HashMap::new();
        let mut answers = Vec::with_capacity(group.len());
        for request in group {
            let mut swept = Vec::new();
            match request {
                Request::Put(blocks) => {
                    for (digest, octets) in blocks {
                        self.put(*digest, octets, &mut changed)?;
                    }
                }
                Request::Condemn(digests) => self.condemned.clone_from(digests),
                Request::Sweep(digests) => {
                    for digest in digests {
                        swept.push(match digest {
                            Some(digest) => self.sweep(*digest, &mut changed)?,
                            None => false,
                        });
                    }
                }
            }
            answers.push(swept);
        }
        if !changed.is_empty() {
            self.appender.sync()?;
            let mended: Vec<_> = {
                let damaged = self.reader.damaged();
                damaged
                    .iter()
                    .filter(|digest| changed.contains_key(*digest))
                    .copied()
                    .collect()
            };
            let changes = Changes {
                blocks: changed.into_iter().collect(),
                ..Changes::default()
            };
            let reached = Reached::Packs(self.appender.position(), self.appender.records());
            self.reader
                .home
                .apply(changes, reached)
                .map_err(Failure::Unseen)?;
            let mut damaged = self.reader.damaged();
            mended.iter().for_each(|digest| {
                damaged.remove(digest);
            });
        }
        Ok(answers)
    }

    fn undo(&mut self) -> Result<(), StoreError> {
        self.appender.undo()
    }

    fn stop(self) {
        self.note();
    }
}
