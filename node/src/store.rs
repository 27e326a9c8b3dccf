//! The two storage ports: blocks and records. Everything is a value in, a value out, durable on return.
//!
//! The order between them: blocks are durable before the record that refers to them.

mod carry;
mod caught;
mod checkpoint;
mod commit;
mod compact;
#[cfg(test)]
pub(crate) mod conformance;
mod dropped;
mod embedded;
mod folder;
mod frame;
mod fresh;
mod home;
mod index;
mod inspect;
mod journal;
mod kept;
mod log;
mod merge;
mod pace;
mod packer;
mod packs;
mod recover;
mod reserve;
mod scan;
mod scribe;
mod scrub;
mod seal;
mod statistics;
mod tally;
#[cfg(test)]
mod tests;
pub mod typed;
mod unshown;
mod upkeep;
mod view;
mod writer;

pub use embedded::{Embedded, EmbeddedOptions};
pub use index::IndexKind;
pub use inspect::{Checked, Step, check, discard_view};
pub use scan::Damage;
pub use scrub::Scrubbed;
pub use statistics::{Segment, Statistics};
pub use upkeep::{Compacted, Compaction, Progress};

use async_trait::async_trait;
use bytes::Bytes;
use cargomail_protocol::dag::VerifiedBlock;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::limits;
use cid::Cid;
use futures::future::BoxFuture;

/// The key of a record: segments joined by `/`, such as `share/0192…`. At most 1,024 octets.
pub type Key = String;

/// The version of a record: the sequence number of the commit that wrote it.
pub type Version = u64;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or the operating system failed; after a failed sync the store takes no more writes.
    #[error("{path}: {source}")]
    Io {
        /// What was being read or written.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// There is no room on the disk: nothing of it was done, and the store goes on by itself once there is room.
    #[error("there is no room for {path}: {why}; delete something, or add room")]
    Full {
        /// What was to be written.
        path: String,
        /// How much there is, or what the operating system said.
        why: String,
    },
    /// Changes so old that compaction has forgotten them.
    #[error("changes so old are not remembered any more")]
    Compacted,
    /// Bytes that were once written do not check any more.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// Which file and place, or which block.
        what: String,
        /// What does not fit.
        why: String,
    },
    /// A bound was passed.
    #[error("{what} is larger than the store takes ({limit} octets)")]
    TooLarge {
        /// Key, value or batch.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Another process has the data directory open.
    #[error("{0} is in use by another process: stop the node that runs there first")]
    Locked(String),
    /// The data directory is of another layout.
    #[error("{path} has layout {found}, this program reads layout {expected}")]
    Layout {
        /// The FORMAT file.
        path: String,
        /// What it says.
        found: String,
        /// What this program reads.
        expected: &'static str,
    },
    /// The store stopped taking writes after a failure.
    #[error("the store is read-only since a write failed: {0}; restart the node once the cause is mended")]
    ReadOnly(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// The same error once more, for another of those who wait for one write.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Io { path, source } => Self::Io {
                path: path.clone(),
                source: std::io::Error::new(source.kind(), source.to_string()),
            },
            Self::Full { path, why } => Self::Full {
                path: path.clone(),
                why: why.clone(),
            },
            Self::Compacted => Self::Compacted,
            Self::Damaged { what, why } => Self::Damaged {
                what: what.clone(),
                why: why.clone(),
            },
            Self::TooLarge { what, limit } => Self::TooLarge { what, limit: *limit },
            Self::Locked(path) => Self::Locked(path.clone()),
            Self::Layout {
                path,
                found,
                expected,
            } => Self::Layout {
                path: path.clone(),
                found: found.clone(),
                expected,
            },
            Self::ReadOnly(why) => Self::ReadOnly(why.clone()),
            Self::Closed => Self::Closed,
        }
    }
}

impl Faulty for StoreError {
    fn fault(&self) -> Fault {
        match self {
            StoreError::TooLarge { .. } => Fault::TooLarge,
            StoreError::Full { .. } => Fault::Full,
            _ => Fault::Local,
        }
    }
}

/// A condition of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cond {
    /// There is no record of this key.
    Absent(Key),
    /// The record of this key has this version.
    Is(Key, Version),
}

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a record.
    Put(Key, Bytes),
    /// Removes a record; no error if it is absent.
    Delete(Key),
}

/// Why a commit was not made. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A condition does not hold; the key names it.
    #[error("{0} was changed by somebody else")]
    Conflict(Key),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One change that a commit made, in the order of the commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The commit.
    pub version: Version,
    /// The record.
    pub key: Key,
    /// Its new value; none when it was removed.
    pub value: Option<Bytes>,
}

/// A record as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Key,
    /// The commit that wrote it.
    pub version: Version,
    /// Its value.
    pub value: Bytes,
}

/// What is written, on its way to be durable. Whoever drops it is not told, and changes nothing.
pub type Settling<E> = BoxFuture<'static, Result<(), E>>;

/// Content-addressed blocks. Only verified blocks go in, only checked blocks come out.
#[async_trait]
pub trait BlockStore: Send + Sync + 'static {
    /// Returns when every block is durable. Each block is atomic, the batch is not. A block already here costs nothing.
    async fn put(&self, batch: Vec<VerifiedBlock>) -> Result<(), StoreError>;
    /// The same in two steps: returns when every block is written, and so outlives this process; what it returns ends when they
    /// are durable.
    async fn write(&self, batch: Vec<VerifiedBlock>) -> Result<Settling<StoreError>, StoreError> {
        self.put(batch).await?;
        Ok(Box::pin(std::future::ready(Ok(()))))
    }
    /// Whether blocks of so many octets may come, when they are not here yet: who takes them in from elsewhere asks before. That
    /// [`put`](Self::put) finds room for them is likely then, and not more. [`StoreError::Full`] when not.
    fn room(&self, _octets: u64) -> Result<(), StoreError> {
        Ok(())
    }
    /// The octets of a block, checked.
    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError>;
    /// The octets of several blocks, checked, each as [`get`](Self::get) gives it, in their order. What is wrong with one
    /// does not keep the others from being read.
    async fn get_many(&self, cids: &[Cid]) -> Vec<Result<Option<Bytes>, StoreError>> {
        let mut found = Vec::with_capacity(cids.len());
        for cid in cids {
            found.push(self.get(cid).await);
        }
        found
    }
    /// Which of the blocks are here.
    async fn has(&self, cids: &[Cid]) -> Result<Vec<bool>, StoreError>;
    /// Has those of the blocks stay that are here, as if somebody put them again; tells which those are.
    async fn keep(&self, cids: &[Cid]) -> Result<Vec<bool>, StoreError>;
    /// Says which blocks may be swept, and takes back what was said before. Whoever puts or keeps one of them afterwards, has
    /// it stay.
    async fn condemn(&self, cids: &[Cid]) -> Result<(), StoreError>;
    /// Removes those of the blocks that are condemned still; tells for each whether it was here and has gone.
    async fn sweep(&self, cids: &[Cid]) -> Result<Vec<bool>, StoreError>;
    /// Digests and sizes in ascending order, for scrub and collection. Blocks are keyed by digest: one of raw and
    /// dag-pb content that were equal octet by octet would be one block.
    async fn list(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<([u8; 32], u32)>, StoreError>;
}

/// Small named records with versions, atomic conditional commits, scans and a feed of changes.
#[async_trait]
pub trait RecordStore: Send + Sync + 'static {
    /// Records by key, in the order asked.
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError>;
    /// Records whose key starts with `prefix`, ascending, after `after`, at most `limit`.
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>, StoreError>;
    /// Makes all changes or none, if all conditions hold; durable on return.
    async fn commit(&self, when: Vec<Cond>, then: Vec<Op>) -> Result<Version, CommitError>;
    /// The same in two steps: returns when the commit is written, and so outlives this process; what it returns ends when it is durable,
    /// or with the conflict.
    async fn write(&self, when: Vec<Cond>, then: Vec<Op>) -> Result<Settling<CommitError>, CommitError> {
        self.commit(when, then).await?;
        Ok(Box::pin(std::future::ready(Ok(()))))
    }
    /// Changes of commits after `after`, at most `limit`, whole commits only (so possibly more than `limit` within one);
    /// [`StoreError::Compacted`] when some of them are not remembered any more.
    async fn changes(&self, after: Version, limit: usize) -> Result<Vec<Change>, StoreError>;
}

/// Work that waits for the disk.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StoreError::Closed),
        },
    }
}
