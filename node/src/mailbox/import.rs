//! A stream of octets becomes the blocks of a resource: cut here, hashed on other threads, block by block and as a whole,
//! and made durable a few at a time while the next ones come.
//!
//! What always holds: every block is durable when [`import`] returns; memory does not grow with the resource.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use cargomail_protocol::dag::cid::digest;
use cargomail_protocol::dag::{Codec, Cutter, Imported, Tree, VerifiedBlock};
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, Stream, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::io::ReaderStream;

use super::MailboxError;
use crate::app::Watch;
use crate::compute;
use crate::keeping::Shelter;
use crate::store::{BlockStore, StoreError};

/// Octets read of a file at a time.
const PIECE: usize = 256 * 1024;
/// Leaves that are hashed at a time: one for each of a few processors.
const LEAVES: usize = 4;
/// Octets that wait for a sync: large enough that syncs cost little, small enough for many imports at once.
const BATCH: usize = 4 * 1024 * 1024;
/// Batches that are made durable while another one fills.
const UNDER_WAY: usize = 2;

/// Stores a file as a resource; every block is durable on return.
///
/// # Errors
/// Those of reading the file and of the store.
pub(crate) async fn import_file(
    blocks: Arc<dyn BlockStore>,
    path: &Path,
    watch: &dyn Watch,
) -> anyhow::Result<Imported> {
    let failed = || format!("{} cannot be imported", path.display());
    let file = File::open(path).await.with_context(failed)?;
    let pieces =
        ReaderStream::with_capacity(file, PIECE).map_err(|error| MailboxError::Body(error.to_string()));
    let mut before = 0;
    let moved = |octets: u64| {
        watch.moved(octets - before);
        before = octets;
        Ok(())
    };
    import(blocks, None, pieces, moved).await.with_context(failed)
}

/// Stores a stream of octets as a resource; every block is durable on return, and in the shelter, if there is one, until a
/// record refers to the resource. `check` judges how many octets there are, before each piece is taken.
pub(super) async fn import(
    blocks: Arc<dyn BlockStore>,
    shelter: Option<&Shelter>,
    pieces: impl Stream<Item = Result<Bytes, MailboxError>>,
    mut check: impl FnMut(u64) -> Result<(), MailboxError>,
) -> Result<Imported, MailboxError> {
    let mut pieces = pin!(pieces);
    let mut cutter = Cutter::new();
    let mut tree = Tree::new();
    let mut whole = Whole::default();
    let mut hashing = FuturesOrdered::new();
    let mut storing = Storing::new(blocks, shelter);
    let mut ended = false;
    loop {
        if ended && hashing.is_empty() {
            storing.send_off();
        }
        tokio::select! {
            biased;
            piece = pieces.try_next(), if !ended && hashing.len() < LEAVES && storing.has_room() => {
                let mut leaves = Vec::new();
                if let Some(mut piece) = piece? {
                    check(cutter.size() + piece.len() as u64)?;
                    leaves.extend(std::iter::from_fn(|| cutter.cut(&mut piece)));
                } else {
                    ended = true;
                    leaves.extend(cutter.finish());
                }
                for leaf in leaves {
                    whole.push(leaf.clone()).await;
                    hashing.push_back(compute::spawn(move || VerifiedBlock::hash(Codec::Raw, leaf)));
                }
            }
            Some(leaf) = hashing.next() => {
                let leaf = done(leaf)?.expect("a leaf is no larger than a block");
                let nodes = tree.add(&leaf);
                storing.add(leaf);
                nodes.into_iter().for_each(|node| storing.add(node));
            }
            Some(stored) = storing.under_way.next() => stored?,
            else => break,
        }
    }
    let size = cutter.size();
    let (root, nodes) = tree.finish();
    nodes.into_iter().for_each(|node| storing.add(node));
    storing.finish().await?;
    let sha256 = match whole.finish().await? {
        Some(sha256) => sha256,
        None => digest(&root).expect("the root was named here"),
    };
    Ok(Imported {
        root,
        size,
        sha256,
        blocks: Vec::new(),
    })
}

/// What a thread gave.
fn done<T>(joined: Result<T, JoinError>) -> Result<T, StoreError> {
    joined.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => StoreError::Closed,
    })
}

/// A hash that is being taken.
type Hashing = JoinHandle<Result<[u8; 32], StoreError>>;

/// The hash over all octets, from the second leaf on: that of the first is in its CID. It is taken leaf by leaf, so that no thread
/// waits for a body that is slow to come.
#[derive(Default)]
struct Whole {
    first: Option<Bytes>,
    task: Option<(mpsc::Sender<Bytes>, Hashing)>,
}

impl Whole {
    async fn push(&mut self, leaf: Bytes) {
        let (sender, _) = match (&mut self.task, self.first.take()) {
            (Some(task), _) => task,
            (None, None) => {
                self.first = Some(leaf);
                return;
            }
            (task @ None, Some(first)) => {
                let (sender, leaves) = mpsc::channel(LEAVES);
                task.insert((sender, tokio::spawn(hash_all(first, leaves))))
            }
        };
        // A task that ended early failed, which is told at the end.
        let _ = sender.send(leaf).await;
    }

    /// The hash, if there was more than one leaf.
    async fn finish(self) -> Result<Option<[u8; 32]>, StoreError> {
        let Some((sender, hashing)) = self.task else {
            return Ok(None);
        };
        drop(sender);
        done(hashing.await)?.map(Some)
    }
}

async fn hash_all(first: Bytes, mut leaves: mpsc::Receiver<Bytes>) -> Result<[u8; 32], StoreError> {
    let mut hash = Sha256::new();
    let mut next = Some(first);
    while let Some(leaf) = next {
        hash = done(compute::spawn(move || hash.chain_update(leaf)).await)?;
        next = leaves.recv().await;
    }
    Ok(hash.finalize().into())
}

/// Blocks on their way to the disk.
struct Storing<'a> {
    blocks: Arc<dyn BlockStore>,
    shelter: Option<&'a Shelter>,
    waiting: Vec<VerifiedBlock>,
    octets: usize,
    under_way: FuturesOrdered<BoxFuture<'a, Result<(), StoreError>>>,
}

impl<'a> Storing<'a> {
    fn new(blocks: Arc<dyn BlockStore>, shelter: Option<&'a Shelter>) -> Self {
        Self {
            blocks,
            shelter,
            waiting: Vec::new(),
            octets: 0,
            under_way: FuturesOrdered::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.octets < BATCH || self.under_way.len() < UNDER_WAY
    }

    fn add(&mut self, block: VerifiedBlock) {
        self.octets += block.bytes().len();
        self.waiting.push(block);
        if self.octets >= BATCH && self.under_way.len() < UNDER_WAY {
            self.send_off();
        }
    }

    fn send_off(&mut self) {
        self.octets = 0;
        let batch = std::mem::take(&mut self.waiting);
        if batch.is_empty() {
            return;
        }
        let (blocks, shelter) = (self.blocks.clone(), self.shelter);
        let Some(shelter) = shelter else {
            let storing = async move { blocks.put(batch).await };
            return self.under_way.push_back(Box::pin(storing));
        };
        shelter.keep(&batch);
        self.under_way.push_back(Box::pin(async move {
            blocks.put(batch.clone()).await?;
            shelter.fold(&batch);
            Ok(())
        }));
    }

    async fn finish(mut self) -> Result<(), StoreError> {
        self.send_off();
        while let Some(stored) = self.under_way.next().await {
            stored?;
        }
        Ok(())
    }
}
