//! Blocks on their way from a stream to the disk: hashed on other threads, if they were not while they came, and made durable while the next ones come.
//!
//! What always holds: only what was verified reaches the store; blocks are told of in the order in which they came, first
//! that they are verified, then that they are durable; nothing is taken while [`Intake::has_room`] says no. So memory is bounded, and
//! what is not written and noted yet, which would come twice if the node were killed, is never more than one block.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cargomail_protocol::dag::{BlockError, ClaimedBlock, VerifiedBlock};
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::limits;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use tokio::time::Instant;

use super::jobs::Place;
use crate::compute;
use crate::store::{BlockStore, Settling, StoreError};

/// Octets of one stream that are not durable yet: a disk that syncs slowly keeps the line waiting no sooner.
const ROOM: usize = 6 * 1024 * 1024;
/// How long a disk may be full: less than an origin waits for a reader.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked whether it is still.
pub(super) const AGAIN: Duration = Duration::from_millis(50);
/// Blocks that go on their way together, however small they are.
const BLOCKS: usize = 1024;
/// So many octets of small blocks go on their way together. Fewer are hashed at once rather than on a thread that must be woken for it.
const FEW: usize = 64 * 1024;

/// Work on groups, whose ends are told in the order of their beginnings.
type UnderWay<T> = FuturesOrdered<BoxFuture<'static, Result<T, StoreError>>>;

/// Blocks that came and are not durable yet.
pub(super) struct Intake {
    store: Arc<dyn BlockStore>,
    /// Octets of all of them.
    octets: usize,
    /// Octets that came.
    taken: u64,
    /// Octets of them that the store has written.
    written: u64,
    filling: Group<ClaimedBlock>,
    hashing: UnderWay<Hashed>,
    writing: UnderWay<Written>,
    settling: UnderWay<Stored>,
    /// The last try to store some found no room.
    full: Arc<AtomicBool>,
}

struct Group<B> {
    blocks: Vec<B>,
    octets: usize,
    /// Up to where the job has come by them.
    place: Option<Place>,
}

struct Hashed {
    verified: Group<VerifiedBlock>,
    failed: Option<BlockError>,
}

/// Octets of a group, and up to where the job has come by it.
type Stored = (usize, Option<Place>);

/// A group that is in the store's file.
struct Written {
    stored: Stored,
    settling: Settling<StoreError>,
}

/// What became of blocks.
pub(super) enum Settled {
    /// They fit their names.
    Verified {
        /// The blocks, in their order.
        blocks: Vec<VerifiedBlock>,
        /// Why the one behind them does not.
        failed: Option<BlockError>,
        /// Up to where the job has come by them.
        place: Option<Place>,
        /// Octets of them.
        octets: usize,
    },
    /// They, and all before, outlive the process.
    Written,
    /// They, and all before, are durable; up to where the job has come by them.
    Durable(Option<Place>),
}

impl Intake {
    pub(super) fn new(store: Arc<dyn BlockStore>) -> Self {
        Self {
            store,
            octets: 0,
            taken: 0,
            written: 0,
            filling: Group::new(),
            hashing: FuturesOrdered::new(),
            writing: FuturesOrdered::new(),
            settling: FuturesOrdered::new(),
            full: Arc::default(),
        }
    }

    /// Whether another block of so many octets may be taken, when so many octets of those that came are noted. On a full disk none is.
    pub(super) fn has_room(&self, block: usize, noted: u64) -> bool {
        let is_full = self.full.load(Ordering::Relaxed);
        let at_risk = self.taken - noted.min(self.written);
        let is_one = at_risk == 0 || at_risk + block as u64 <= limits::LEAF as u64;
        self.octets < ROOM && self.filling.blocks.len() < BLOCKS && !is_full && is_one
    }

    /// Whether the store has room for another block beside those that are on their way.
    pub(super) fn room(&self) -> Result<(), StoreError> {
        self.store.room((self.octets + limits::BLOCK) as u64)
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.octets == 0
    }

    /// Takes a block, and up to where the job will have come by it. A large one goes on its way at once, small ones gather
    /// while others are on theirs.
    pub(super) fn take(&mut self, block: ClaimedBlock, place: Option<Place>) {
        self.octets += block.size();
        self.taken += block.size() as u64;
        self.filling.octets += block.size();
        self.filling.blocks.push(block);
        self.filling.place = place;
        self.go_on();
    }

    /// Sends what has gathered on its way if nothing else is, or if it is enough.
    fn go_on(&mut self) {
        let idle = self.hashing.is_empty() && self.writing.is_empty() && self.settling.is_empty();
        if idle || self.hashing.is_empty() && self.filling.octets >= FEW {
            self.send_off();
        }
    }

    /// Sends what has gathered on its way.
    pub(super) fn send_off(&mut self) {
        if !self.filling.blocks.is_empty() {
            let group = std::mem::replace(&mut self.filling, Group::new());
            self.hashing.push_back(Box::pin(hash(group)));
        }
    }

    /// What became of the oldest blocks that are on their way; none when nothing is.
    pub(super) async fn next(&mut self) -> Option<Result<Settled, StoreError>> {
        let settled = tokio::select! {
            biased;
            Some(stored) = self.settling.next() => Some(stored.map(|(octets, place)| {
                self.octets -= octets;
                Settled::Durable(place)
            })),
            Some(written) = self.writing.next() => Some(written.map(|written| self.settle(written))),
            Some(hashed) = self.hashing.next() => Some(hashed.map(|hashed| self.store(hashed))),
            else => None,
        };
        self.go_on();
        settled
    }

    fn store(&mut self, hashed: Hashed) -> Settled {
        let Hashed { verified, failed } = hashed;
        if failed.is_some() {
            // What came behind it is of no use to anybody, and no place behind it may ever be told.
            self.filling = Group::new();
            self.hashing = FuturesOrdered::new();
        }
        let Group {
            blocks,
            octets,
            place,
        } = verified;
        let (store, batch, full) = (self.store.clone(), blocks.clone(), self.full.clone());
        let writing = async move {
            let settling = while_full(async || {
                let written = store.write(batch.clone()).await;
                let is_full = written.as_ref().is_err_and(|error| error.fault() == Fault::Full);
                full.store(is_full, Ordering::Relaxed);
                written
            })
            .await?;
            let stored = (octets, place);
            Ok(Written { stored, settling })
        };
        self.writing.push_back(Box::pin(writing));
        Settled::Verified {
            blocks,
            failed,
            place,
            octets,
        }
    }

    fn settle(&mut self, Written { stored, settling }: Written) -> Settled {
        self.written += stored.0 as u64;
        self.settling.push_back(Box::pin(async move {
            settling.await?;
            Ok(stored)
        }));
        Settled::Written
    }
}

impl<B> Group<B> {
    fn new() -> Self {
        Self {
            blocks: Vec::new(),
            octets: 0,
            place: None,
        }
    }
}

/// How long it is waited for a disk that has no room to receive anything.
#[derive(Default)]
pub(super) struct Patience {
    since: Option<Instant>,
}

impl Patience {
    /// Why it is not waited for any longer, once nothing is on its way any more: whoever waits holds a place that others could have.
    pub(super) fn over(&mut self, room: Result<(), StoreError>, is_idle: bool) -> Option<StoreError> {
        let Err(error) = room else {
            self.since = None;
            return None;
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        (is_idle && since.elapsed() >= PATIENCE).then_some(error)
    }
}

/// Does something again while the disk is full, for a moment: then what is on its way need not come twice.
async fn while_full<T, E: Faulty, F: Future<Output = Result<T, E>>>(
    mut work: impl FnMut() -> F,
) -> Result<T, E> {
    let until = Instant::now() + PATIENCE;
    loop {
        match work().await {
            Err(error) if error.fault() == Fault::Full && Instant::now() < until => {
                tokio::time::sleep(AGAIN).await;
            }
            done => return done,
        }
    }
}

async fn hash(group: Group<ClaimedBlock>) -> Result<Hashed, StoreError> {
    let unhashed: usize = group.blocks.iter().map(ClaimedBlock::unhashed).sum();
    if unhashed < FEW {
        return Ok(verify(group));
    }
    match compute::spawn(move || verify(group)).await {
        Ok(hashed) => Ok(hashed),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StoreError::Closed),
        },
    }
}

/// The blocks up to the first that is none.
fn verify(group: Group<ClaimedBlock>) -> Hashed {
    let mut verified = Group {
        blocks: Vec::with_capacity(group.blocks.len()),
        octets: group.octets,
        place: group.place,
    };
    for block in group.blocks {
        match block.verify() {
            Ok(block) => verified.blocks.push(block),
            Err(error) => {
                verified.place = None;
                return Hashed {
                    verified,
                    failed: Some(error),
                };
            }
        }
    }
    Hashed {
        verified,
        failed: None,
    }
}

#[cfg(test)]
mod tests;
