//! Blocks on their way to the disk, a few at a time: memory does not grow with a resource, and one sync serves many blocks.

use std::sync::Arc;

use cargomail_protocol::dag::VerifiedBlock;

use crate::store::{BlockStore, StoreError};

/// Octets that wait for a sync: large enough that syncs cost little, small enough for many streams at once.
const BATCH: usize = 4 * 1024 * 1024;

/// Blocks that are not durable yet.
pub(super) struct Batch {
    blocks: Arc<dyn BlockStore>,
    waiting: Vec<VerifiedBlock>,
    octets: usize,
}

impl Batch {
    pub(super) fn new(blocks: Arc<dyn BlockStore>) -> Self {
        Self {
            blocks,
            waiting: Vec::new(),
            octets: 0,
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
        match std::mem::take(&mut self.waiting) {
            nothing if nothing.is_empty() => Ok(()),
            batch => self.blocks.put(batch).await,
        }
    }
}
