//! The collector: removes blocks that nothing refers to, and says what refers to the others.
//!
//! A collection takes the blocks in slices, in the order of their digests. Those of a slice are condemned, all references are
//! read and theirs are struck from the list, and the rest is swept, but for what was put meanwhile. What was committed
//! while the references were read is read from the feed of changes, so that no reference is missed by moving from one record
//! to another. Memory is bounded by the slice; the records are read once for each slice.
//!
//! What always holds: before blocks go, the record that says that their resource is here whole goes; a collection that cannot
//! read a reference, or meets a record that it does not know, removes nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cargomail_protocol::dag::Codec;
use cargomail_protocol::dag::cid::digest;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::limits;
use cargomail_protocol::timestamp::Timestamp;
use cid::Cid;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::references::{Claim, Lost, Place, References, Root, is_leaf};
use super::{LegalHolds, Shelters, Standing};
use crate::api::{CollectionView, HolderView, Why};
use crate::clock::Clock;
use crate::store::{BlockStore, CommitError, Op, Record, RecordStore, StoreError, Version, typed};
use crate::{broker, mailbox};

/// `collection` → when the last one ended.
const LAST: &str = "collection";
/// Digests, changes or sweeps at a time.
const PAGE: usize = 1000;
/// Roots that are remembered as read; beyond that they are read again.
const ROOTS: usize = 64 * 1024;
/// How long the collection in the background rests after each page: others want the disk.
const REST: Duration = Duration::from_millis(20);
/// How often the background looks whether it is time.
const LOOK: Duration = Duration::from_secs(60);

/// Why nothing, or nothing more, was collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// One is under way.
    #[error("a collection is under way already")]
    Running,
    /// A record of a kind that this program does not know.
    #[error(
        "nothing is collected: it is not known whether the record {0} refers to something; another version wrote it"
    )]
    Unknown(String),
    /// What a record refers to cannot be told.
    #[error(
        "nothing more is collected: what {key} refers to cannot be told, as {root} cannot be read ({why}); delete or restore it first"
    )]
    Lost {
        /// The record.
        key: String,
        /// The resource.
        root: String,
        /// What is wrong with it.
        why: String,
    },
    /// A record cannot be read.
    #[error("nothing more is collected: {0}")]
    Damaged(String),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for CollectError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } => CollectError::Damaged(error.to_string()),
            other => CollectError::Store(other),
        }
    }
}

impl Faulty for CollectError {
    fn fault(&self) -> Fault {
        match self {
            CollectError::Running => Fault::TryLater(Duration::from_secs(30)),
            // Told to the administrator in words, so no local failure.
            CollectError::Unknown(_) | CollectError::Lost { .. } | CollectError::Damaged(_) => Fault::Refused,
            CollectError::Store(error) => error.fault(),
        }
    }
}

/// How a collection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only tells what would go.
    Dry,
    /// At once.
    Brisk,
    /// With rests, beside everything else.
    Gentle,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Whether it only looked.
    pub dry_run: bool,
    /// Blocks that were here.
    pub blocks: u64,
    /// Their octets.
    pub octets: u64,
    /// Blocks that nothing refers to and that went, or would.
    pub freed_blocks: u64,
    /// Their octets.
    pub freed_octets: u64,
}

/// Removes what nothing refers to.
pub struct Collector {
    references: References,
    shelters: Shelters,
    holds: LegalHolds,
    clock: Arc<dyn Clock>,
    running: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    woken: Notify,
    /// Blocks that are looked at together.
    pub(super) slice: usize,
}

/// What is asked of the collector, and what came of it.
#[derive(Debug, Default)]
struct State {
    asked: Option<Mode>,
    /// From when it is asked for, or is due, until it is known what came of it.
    under_way: bool,
    last: Option<Collected>,
    failed: Option<String>,
    /// Not before, after a failure.
    again: Option<Timestamp>,
}

/// Blocks of one slice, by their digests, and which of them are referred to.
struct Slice {
    digests: Vec<[u8; 32]>,
    sizes: Vec<u32>,
    kept: Vec<bool>,
    /// Roots that were read.
    roots: HashSet<Root>,
}

impl Slice {
    fn keep(&mut self, cid: &Cid) {
        let found = digest(cid).map(|digest| self.digests.binary_search(&digest));
        if let Ok(Ok(at)) = found
            && let Some(kept) = self.kept.get_mut(at)
        {
            *kept = true;
        }
    }

    /// What nothing refers to, with its octets.
    fn rest(&self) -> Vec<([u8; 32], u32)> {
        let all = self.digests.iter().zip(&self.sizes).zip(&self.kept);
        all.filter(|(_, kept)| !**kept)
            .map(|((digest, size), _)| (*digest, *size))
            .collect()
    }

    fn names(&self) -> Vec<Cid> {
        self.digests
            .iter()
            .map(|digest| Codec::Raw.cid(*digest))
            .collect()
    }
}

impl Collector {
    /// A collector over these stores.
    #[must_use]
    pub fn new(
        blocks: Arc<dyn BlockStore>,
        records: Arc<dyn RecordStore>,
        shelters: Shelters,
        holds: LegalHolds,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            references: References { blocks, records },
            shelters,
            holds,
            clock,
            running: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            woken: Notify::new(),
            slice: limits::COLLECTED,
        }
    }

    /// Collects when somebody asks, and every so often, also across restarts, until cancelled.
    pub async fn run(&self, every: Option<Duration>, shutdown: CancellationToken) {
        loop {
            let asked = self.state().asked.take();
            let work = async {
                let due = match every {
                    Some(every) if asked.is_none() => self.is_due(every).await?,
                    _ => false,
                };
                let mode = match asked {
                    Some(mode) => mode,
                    None if due && self.ask(Mode::Gentle).is_ok() => {
                        self.state().asked = None;
                        Mode::Gentle
                    }
                    None => return Ok(None),
                };
                self.collect(mode).await.map(Some)
            };
            let done = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                done = work => done,
            };
            match done {
                Ok(None) => {}
                Ok(Some(collected)) => self.ended(&collected),
                Err(error) => {
                    tracing::error!(%error, "nothing, or nothing more, is collected");
                    let mut state = self.state();
                    state.under_way = false;
                    state.failed = Some(error.to_string());
                    state.again = every.map(|every| self.clock.now().plus(every));
                }
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.woken.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn ended(&self, collected: &Collected) {
        let Collected {
            dry_run,
            blocks,
            freed_blocks,
            freed_octets,
            ..
        } = *collected;
        tracing::info!(
            dry_run,
            blocks,
            freed_blocks,
            freed_octets,
            "a collection has ended"
        );
        let mut state = self.state();
        state.under_way = false;
        state.last = Some(*collected);
        state.failed = None;
        state.again = None;
    }

    /// Has a collection made by whoever [runs](Self::run).
    ///
    /// # Errors
    /// [`CollectError::Running`].
    pub fn ask(&self, mode: Mode) -> Result<(), CollectError> {
        let mut state = self.state();
        if state.under_way {
            return Err(CollectError::Running);
        }
        state.under_way = true;
        state.asked = Some(mode);
        state.last = None;
        state.failed = None;
        drop(state);
        self.woken.notify_one();
        Ok(())
    }

    /// How the collection stands that was asked for, or the last one.
    #[must_use]
    pub fn view(&self) -> CollectionView {
        let state = self.state();
        CollectionView {
            under_way: state.under_way,
            done: state.last,
            failed: state.failed.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No critical section panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn is_due(&self, every: Duration) -> Result<bool, CollectError> {
        // One that failed would fail again, and say so in the log each time.
        if self.state().again.is_some_and(|again| self.clock.now() < again) {
            return Ok(false);
        }
        let last = typed::read::<Timestamp>(&*self.references.records, LAST).await?;
        Ok(last.is_none_or(|(_, last)| self.clock.now().since(last) >= every))
    }

    /// Removes what nothing refers to.
    ///
    /// # Errors
    /// [`CollectError`]; what was removed before stays removed.
    pub async fn collect(&self, mode: Mode) -> Result<Collected, CollectError> {
        let _running = self.running.try_lock().map_err(|_| CollectError::Running)?;
        let References { blocks, records } = &self.references;
        if let Some(key) = self.references.stranger().await? {
            return Err(CollectError::Unknown(key));
        }
        if mode != Mode::Dry {
            mailbox::let_go(&**records).await?;
            broker::let_go(&**records).await?;
        }
        let mut done = Collected {
            dry_run: mode == Mode::Dry,
            ..Collected::default()
        };
        let mut after = None;
        loop {
            let mut slice = self.take(after).await?;
            let Some(last) = slice.digests.last().copied() else {
                break;
            };
            after = Some(last);
            if mode != Mode::Dry {
                blocks.condemn(&slice.names()).await?;
            }
            let standing = Standing::read(&**records).await?;
            let seen = self.strike(&mut slice, &standing, mode).await?;
            done.blocks += slice.digests.len() as u64;
            done.octets += slice.sizes.iter().map(|size| u64::from(*size)).sum::<u64>();
            for rest in slice.rest().chunks(PAGE) {
                let gone = match mode {
                    Mode::Dry => vec![true; rest.len()],
                    Mode::Brisk | Mode::Gentle => self.sweep(rest, &standing, seen).await?,
                };
                for ((_, size), _) in rest.iter().zip(gone).filter(|(_, gone)| *gone) {
                    done.freed_blocks += 1;
                    done.freed_octets += u64::from(*size);
                }
                self.rest(mode).await;
            }
        }
        if mode != Mode::Dry {
            let last = Op::Put(LAST.to_owned(), typed::encode(&self.clock.now()));
            unconditional(records.commit(Vec::new(), vec![last]).await)?;
        }
        Ok(done)
    }

    /// The blocks behind a digest, as many as are looked at together.
    async fn take(&self, mut after: Option<[u8; 32]>) -> Result<Slice, StoreError> {
        let (mut digests, mut sizes) = (Vec::new(), Vec::new());
        while digests.len() < self.slice {
            let limit = PAGE.min(self.slice - digests.len());
            let page = self.references.blocks.list(after, limit).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (digest, size) in page {
                digests.push(digest);
                sizes.push(size);
            }
        }
        Ok(Slice {
            kept: vec![false; digests.len()],
            digests,
            sizes,
            roots: HashSet::new(),
        })
    }

    /// Strikes everything that is referred to; up to which commit.
    async fn strike(
        &self,
        slice: &mut Slice,
        standing: &Standing,
        mode: Mode,
    ) -> Result<Version, CollectError> {
        let records = &*self.references.records;
        let now = self.clock.now();
        // Nothing is changed: only the version of the last commit is asked for.
        let mut seen = unconditional(records.commit(Vec::new(), Vec::new()).await)?;
        let mut place = Place::default();
        while let Some(claims) = self.references.next(&mut place, standing, now).await? {
            for claim in claims {
                self.keep(slice, &claim).await?;
            }
            self.rest(mode).await;
        }
        // Who has left a shelter before this moment has committed before it, or has asked for that and gone away.
        for (cid, size) in self.shelters.kept() {
            let whole = false;
            self.keep_below(slice, Root { cid, size, whole }, "a shelter")
                .await?;
        }
        if mode != Mode::Dry {
            self.holds.settled().await?;
        }
        loop {
            let changes = records.changes(seen, PAGE).await?;
            let Some(last) = changes.last() else {
                return Ok(seen);
            };
            seen = last.version;
            for change in changes {
                let Some(value) = change.value else { continue };
                let record = Record {
                    key: change.key,
                    version: change.version,
                    value,
                };
                if let Some(claim) = self.references.claim(&record, standing, now).await? {
                    self.keep(slice, &claim).await?;
                }
            }
        }
    }

    async fn keep(&self, slice: &mut Slice, claim: &Claim) -> Result<(), CollectError> {
        for root in &claim.roots {
            self.keep_below(slice, *root, &claim.key).await?;
        }
        Ok(())
    }

    async fn keep_below(&self, slice: &mut Slice, root: Root, key: &str) -> Result<(), CollectError> {
        if is_leaf(&root.cid) {
            slice.keep(&root.cid);
            return Ok(());
        }
        if slice.roots.contains(&root) {
            return Ok(());
        }
        self.references
            .below(root, |cid| slice.keep(cid))
            .await
            .map_err(|lost| lost.of(key))?;
        if slice.roots.len() >= ROOTS {
            slice.roots.clear();
        }
        slice.roots.insert(root);
        Ok(())
    }

    /// Sweeps what nothing referred to up to a commit, and what did not come anew since; which have gone.
    async fn sweep(
        &self,
        rest: &[([u8; 32], u32)],
        standing: &Standing,
        seen: Version,
    ) -> Result<Vec<bool>, CollectError> {
        let References { blocks, records } = &self.references;
        let Some(_unchanged) = self.holds.still(standing).await? else {
            // What a hold that came meanwhile keeps is not known: the next collection will know.
            return Ok(vec![false; rest.len()]);
        };
        let digests = rest.iter().map(|(digest, _)| *digest);
        mailbox::no_longer_whole(&**records, digests, seen).await?;
        let names: Vec<Cid> = rest.iter().map(|(digest, _)| Codec::Raw.cid(*digest)).collect();
        Ok(blocks.sweep(&names).await?)
    }

    async fn rest(&self, mode: Mode) {
        if mode == Mode::Gentle {
            tokio::time::sleep(REST).await;
        }
    }

    /// What refers to a block: everybody's, so for the administrator only.
    ///
    /// # Errors
    /// [`CollectError`].
    pub async fn why(&self, cid: &Cid) -> Result<Why, CollectError> {
        let records = &*self.references.records;
        let standing = Standing::read(records).await?;
        let mut why = Why {
            cid: cid.to_string(),
            here: self.references.blocks.has(&[*cid]).await? == [true],
            holders: Vec::new(),
        };
        let of = digest(cid).ok();
        let (mut place, now) = (Place::default(), self.clock.now());
        while let Some(claims) = self.references.next(&mut place, &standing, now).await? {
            for claim in claims {
                if why.holders.len() < limits::REFERENCES_SHOWN && self.refers(&claim, of).await {
                    why.holders.push(HolderView::from(claim));
                }
            }
        }
        let mut sheltered = false;
        for (cid, size) in self.shelters.kept() {
            let whole = false;
            let seen = |below: &Cid| sheltered |= digest(below).ok() == of;
            // What is in a shelter may not have come to the disk yet.
            let _ = self.references.below(Root { cid, size, whole }, seen).await;
        }
        if sheltered {
            why.holders.push(HolderView::under_way());
        }
        Ok(why)
    }

    async fn refers(&self, claim: &Claim, of: Option<[u8; 32]>) -> bool {
        let mut found = false;
        for root in &claim.roots {
            let seen = |cid: &Cid| found |= digest(cid).ok() == of;
            // As far as it can be read: who asks wants to know about the rest, too.
            let _ = self.references.below(*root, seen).await;
        }
        found
    }
}

impl Lost {
    fn of(self, key: &str) -> CollectError {
        CollectError::Lost {
            key: key.to_owned(),
            root: self.root.to_string(),
            why: self.why,
        }
    }
}

fn unconditional(outcome: Result<u64, CommitError>) -> Result<u64, StoreError> {
    match outcome {
        Ok(version) => Ok(version),
        Err(CommitError::Conflict(key)) => unreachable!("{key}: no condition was made"),
        Err(CommitError::Store(error)) => Err(error),
    }
}

impl From<Claim> for HolderView {
    fn from(claim: Claim) -> Self {
        Self {
            kind: claim.holder.name().to_owned(),
            whose: claim.whose,
            message_id: claim.message_id,
            until: claim.until,
            record: claim.key,
        }
    }
}
