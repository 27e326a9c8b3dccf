//! The thread that writes packs: blocks that come, tombstones of those that go, and both again where compaction moves them.
//!
//! What always holds: this thread alone changes where a block is, so what it looks up holds until the group is written; a group is
//! synced before it is shown, and groups are shown in their order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::frame::{Digest, HEAD, Kind};
use super::home::Reached;
use super::index::Changes;
use super::log::{Appended, Appender, Failure, Place};
use super::packs::Reader;
use super::tally::Change;
use super::unshown::Unshown;
use super::writer::{Done, Write, Written};
use super::{StoreError, seal};

/// Octets of blocks that may be on their way when the disk turns out to be full: those of one stream.
const ASIDE: u64 = 8 * 1024 * 1024;

/// What the writing thread is asked to do.
pub(super) enum Request {
    /// Stores blocks.
    Put(Vec<(Digest, Bytes)>),
    /// Has blocks stay that are here; none for what names no block.
    Keep(Vec<Option<Digest>>),
    /// Names everything that may be swept from now on.
    Condemn(HashSet<Digest>),
    /// Removes blocks that may be swept; none for what names no block.
    Sweep(Vec<Option<Digest>>),
    /// Stores blocks again that are still at these places.
    Move(Vec<(Digest, Place, Bytes)>),
    /// Says again of blocks that are gone that they are.
    Bury(Vec<Digest>),
    /// Begins the next pack.
    BeginNext,
}

/// What a group changes.
type Changed = HashMap<Digest, Change>;

/// The writing thread's own.
pub(super) struct Packer {
    reader: Arc<Reader>,
    appender: Appender,
    unshown: Arc<Unshown<Digest, Option<Place>>>,
    /// What may be swept, but for what was put since. After a restart that is nothing.
    condemned: HashSet<Digest>,
    /// Octets of blocks that the group brings, until room was found for them.
    coming: u64,
}

impl Packer {
    pub(super) fn new(reader: Arc<Reader>, appender: Appender) -> Self {
        Self {
            reader,
            appender,
            unshown: Arc::default(),
            condemned: HashSet::new(),
            coming: 0,
        }
    }

    fn note(&self) {
        let (packs, pack_records) = (self.appender.position(), self.appender.records());
        self.reader.home.note(|checkpoint| {
            checkpoint.packs = packs;
            checkpoint.pack_records = pack_records;
        });
    }

    /// Where a block was before the group, and is.
    fn look(&self, digest: &Digest, changed: &Changed) -> Result<Change, Failure> {
        if let Some(change) = changed.get(digest) {
            return Ok(*change);
        }
        let before = match self.unshown.find(digest) {
            Some(written) => written,
            None => {
                let home = &self.reader.home;
                home.read(|view, _| view.block(digest))
                    .map_err(Failure::Refused)?
            }
        };
        Ok(Change { before, now: before })
    }

    fn put(&mut self, digest: Digest, octets: &Bytes, changed: &mut Changed) -> Result<(), Failure> {
        self.condemned.remove(&digest);
        let change = self.look(&digest, changed)?;
        if self.is_here(&digest, change) {
            return Ok(());
        }
        let coming = std::mem::take(&mut self.coming);
        if coming > 0 && !self.appender.has_aside(coming) {
            let room = self.reader.home.reserve().check(coming);
            room.map_err(Failure::Refused)?;
        }
        self.append(digest, octets, change, changed)
    }

    fn append(
        &mut self,
        digest: Digest,
        octets: &Bytes,
        change: Change,
        changed: &mut Changed,
    ) -> Result<(), Failure> {
        let at = self.appender.append(Kind::Data, digest, octets)?;
        let now = Some(Place {
            file: at.file,
            offset: at.offset,
            length: octets.len() as u32,
        });
        changed.insert(digest, Change { now, ..change });
        Ok(())
    }

    /// Whether the block is here, and will be as long as nobody condemns it.
    fn keep(&mut self, digest: &Digest, changed: &Changed) -> Result<bool, Failure> {
        self.condemned.remove(digest);
        let change = self.look(digest, changed)?;
        Ok(self.is_here(digest, change))
    }

    /// Whether it has a place, and was not found damaged, or came again since.
    fn is_here(&self, digest: &Digest, change: Change) -> bool {
        let came_again = change.now != change.before || self.unshown.find(digest).is_some();
        change
            .now
            .is_some_and(|place| came_again || self.reader.is_sound(digest, place))
    }

    /// Whether the block was here and has gone.
    fn sweep(&mut self, digest: Digest, changed: &mut Changed) -> Result<bool, Failure> {
        if !self.condemned.contains(&digest) {
            return Ok(false);
        }
        let change = self.look(&digest, changed)?;
        if change.now.is_some() {
            self.appender.append(Kind::Tombstone, digest, &[])?;
            changed.insert(digest, Change { now: None, ..change });
        }
        Ok(change.now.is_some())
    }

    /// Has the disk keep room for what is on its way: it can be written then, and need not come again, also when others fill the disk.
    fn set_aside(&mut self) {
        let reserve = self.reader.home.reserve();
        let is_set = self.appender.has_aside(ASIDE)
            || reserve.check(2 * ASIDE).is_ok() && self.appender.set_aside(ASIDE);
        reserve.note_tight(!is_set);
    }

    fn write_one(&mut self, request: &Request, changed: &mut Changed) -> Result<Vec<bool>, Failure> {
        let mut told = Vec::new();
        match request {
            Request::Put(blocks) => {
                for (digest, octets) in blocks {
                    self.put(*digest, octets, changed)?;
                }
            }
            Request::Keep(digests) => {
                for digest in digests {
                    told.push(match digest {
                        Some(digest) => self.keep(digest, changed)?,
                        None => false,
                    });
                }
            }
            Request::Condemn(digests) => self.condemned.clone_from(digests),
            Request::Sweep(digests) => {
                for digest in digests {
                    told.push(match digest {
                        Some(digest) => self.sweep(*digest, changed)?,
                        None => false,
                    });
                }
            }
            Request::Move(blocks) => {
                for (digest, from, octets) in blocks {
                    let change = self.look(digest, changed)?;
                    if change.now == Some(*from) {
                        self.append(*digest, octets, change, changed)?;
                    }
                }
            }
            Request::Bury(digests) => {
                for digest in digests {
                    if self.look(digest, changed)?.now.is_none() {
                        self.appender.append(Kind::Tombstone, *digest, &[])?;
                    }
                }
            }
            Request::BeginNext => {}
        }
        Ok(told)
    }
}

/// A group that is in a pack.
pub(super) struct Packed {
    reader: Arc<Reader>,
    unshown: Arc<Unshown<Digest, Option<Place>>>,
    /// Its number there.
    group: u64,
    appended: Appended,
    changed: Changed,
}

impl Written for Packed {
    fn sync(&self) -> Result<(), StoreError> {
        self.appended.sync()
    }

    fn cut_off(&self) -> Result<(), StoreError> {
        self.appended.cut_off()
    }

    fn show(self) -> Result<(), StoreError> {
        let changed: Vec<_> = self.changed.into_iter().collect();
        let changes = Changes {
            blocks: changed
                .iter()
                .map(|(digest, change)| (*digest, change.now))
                .collect(),
            ..Changes::default()
        };
        let reached = Reached::Packs(self.appended.end, self.appended.records);
        let shown = self
            .reader
            .tally
            .change(&changed, || self.reader.home.apply(changes, reached));
        self.unshown.shown(self.group);
        shown?;
        self.reader
            .forget_damaged(changed.iter().map(|(digest, _)| digest));
        Ok(())
    }
}

impl Write for Packer {
    type Request = Request;
    /// What a sweep did, or what is kept; empty for the others.
    type Answer = Vec<bool>;
    type Written = Packed;

    fn weight(request: &Request) -> u64 {
        match request {
            Request::Put(blocks) => blocks
                .iter()
                .map(|(_, octets)| (HEAD + octets.len()) as u64)
                .sum(),
            Request::Move(blocks) => blocks
                .iter()
                .map(|(_, _, octets)| (HEAD + octets.len()) as u64)
                .sum(),
            Request::Sweep(digests) => (digests.len() * HEAD) as u64,
            Request::Bury(digests) => (digests.len() * HEAD) as u64,
            Request::Keep(_) | Request::Condemn(_) | Request::BeginNext => 0,
        }
    }

    fn asks_for_next(request: &Request) -> bool {
        matches!(request, Request::BeginNext)
    }

    fn appender(&self) -> &Appender {
        &self.appender
    }

    /// Begins the next pack, and indexes this one.
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
        self.reader
            .active
            .store(self.appender.position().file, Ordering::Release);
        Ok(())
    }
    fn write(&mut self, group: &[Request]) -> Result<Done<Self>, Failure> {
        let begin = self.appender.position();
        self.coming = group.iter().map(Self::weight).sum();
        let mut changed = Changed::new();
        let mut answers = Vec::with_capacity(group.len());
        for request in group {
            answers.push(self.write_one(request, &mut changed)?);
        }
        if self.appender.position() == begin {
            return Ok((answers, None));
        }
        let appended = self.appender.end_group()?;
        self.set_aside();
        let places = changed.iter().map(|(digest, change)| (*digest, change.now));
        let packed = Packed {
            reader: self.reader.clone(),
            group: self.unshown.add(places),
            unshown: self.unshown.clone(),
            appended,
            changed,
        };
        Ok((answers, Some(packed)))
    }

    fn undo(&mut self) -> Result<(), StoreError> {
        self.appender.undo()?;
        self.set_aside();
        Ok(())
    }

    fn stop(self) {
        self.appender.release();
        self.note();
    }
}
