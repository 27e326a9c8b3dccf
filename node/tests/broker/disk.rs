//! Disks that take no writes for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use cargomail_node::store::{Change, CommitError, Cond, Key, Op, Record, RecordStore, StoreError, Version};

/// Says whether the records of a broker can be changed.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<State>);

#[derive(Default)]
struct State {
    broken: AtomicBool,
    refused: AtomicUsize,
}

impl Disk {
    pub(crate) fn breaks(&self) {
        self.0.broken.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_mended(&self) {
        self.0.broken.store(false, Ordering::SeqCst);
    }

    /// Changes that were refused so far.
    pub(crate) fn refused(&self) -> usize {
        self.0.refused.load(Ordering::SeqCst)
    }

    /// Those records on this disk.
    pub(crate) fn with(&self, records: Arc<dyn RecordStore>) -> Arc<dyn RecordStore> {
        Arc::new(Records {
            disk: self.clone(),
            records,
        })
    }
}

struct Records {
    disk: Disk,
    records: Arc<dyn RecordStore>,
}

#[async_trait]
impl RecordStore for Records {
    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        self.records.get(keys).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.records.list(prefix, after, limit).await
    }

    async fn commit(&self, when: Vec<Cond>, then: Vec<Op>) -> Result<Version, CommitError> {
        if self.disk.0.broken.load(Ordering::SeqCst) {
            self.disk.0.refused.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::ReadOnly("a sync failed".to_owned()).into());
        }
        self.records.commit(when, then).await
    }

    async fn changes(&self, after: Version, limit: usize) -> Result<Vec<Change>, StoreError> {
        self.records.changes(after, limit).await
    }
}
