//! Blocks on their way to the disk, a few at a time: memory does not grow with a resource, and one sync serves many blocks.

use std::sync::Arc;

use cargomail_protocol::dag::VerifiedBlock;

use crate::keeping::Shelter;
use crate::store::{BlockStore, StoreError};

/// Octets that wait for a sync: large enough that syncs cost little, small enough for many streams at once.
const BATCH: usize = 4 * 1024 * 1024;

/// Blocks that are not durable yet.
pub(super) struct Batch {
    blocks: Arc<dyn BlockStore>,
    shelter: Option<Shelter>,
    waiting: Vec<VerifiedBlock>,
    octets: usize,
}

impl Batch {
    /// A batch of blocks that a record refers to already.
    pub(super) fn new(blocks: Arc<dyn BlockStore>) -> Self {
        Self {
            blocks,
            shelter: None,
            waiting: Vec::new(),
            octets: 0,
        }
    }

    /// A batch of blocks that no record refers to yet: it is dropped once one is committed.
    pub(super) fn sheltered(blocks: Arc<dyn BlockStore>, shelter: Shelter) -> Self {
        Self {
            shelter: Some(shelter),
            ..Self::new(blocks)
        }
    }

    /// Takes blocks; stores what waits once it is enough, and tells whether nothing waits any more.
    pub(super) async fn add(
        &mut self,
        blocks: impl IntoIterator<Item = VerifiedBlock>,
    ) -> Result<bool, StoreError> {
        for block in blocks {
            self.octets += block.bytes().len();
            self.waiting.push(block);
        }
        if self.octets >= BATCH {
            self.flush().await?;
        }
        Ok(self.waiting.is_empty())
    }

    /// Makes everything durable.
    pub(super) async fn flush(&mut self) -> Result<(), StoreError> {
        self.octets = 0;
        let batch = std::mem::take(&mut self.waiting);
        if batch.is_empty() {
            return Ok(());
        }
        let Some(shelter) = &self.shelter else {
            return self.blocks.put(batch).await;
        };
        shelter.keep(&batch);
        self.blocks.put(batch.clone()).await?;
        shelter.fold(&batch);
        Ok(())
    }
}
