//! What the thread of the index and those who wait for it tell each other.

use std::time::{Duration, Instant};

use cargomail_protocol::limits;

use super::super::checkpoint::{Checkpoint, Covered};

/// When the thread ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    NotYet,
    /// When the index has everything.
    Done,
    /// At once.
    Now,
}

/// What the thread and those who wait for it tell each other.
pub(super) struct Flow {
    /// Octets of what the index is still to be told, and of what is about to come.
    pub(super) weight: usize,
    /// Everything that came was taken.
    pub(super) idle: bool,
    /// When the first of what was not taken came.
    pub(super) begun: Instant,
    /// The number of the last item that the index has.
    pub(super) applied: u64,
    pub(super) covered: Covered,
    /// Entries that the index took in since it settled, and since when.
    pub(super) unsettled: usize,
    pub(super) since: Option<Instant>,
    /// It is to settle when it has this item.
    pub(super) asked: Option<u64>,
    /// The index failed and could not be made anew.
    pub(super) is_broken: bool,
    pub(super) end: End,
}

impl Flow {
    /// Everything up to the checkpoint is in the index; it settles unless the checkpoint says that it has.
    pub(super) fn new(checkpoint: &Checkpoint) -> Self {
        Self {
            weight: 0,
            idle: true,
            begun: Instant::now(),
            applied: 0,
            covered: checkpoint.covered(),
            unsettled: 0,
            since: None,
            asked: checkpoint.index.is_none().then_some(0),
            is_broken: false,
            end: End::NotYet,
        }
    }

    /// How long it is still waited for more; not at all when enough came, without end when nothing did.
    pub(super) fn gathering(&self) -> Duration {
        if self.idle {
            Duration::MAX
        } else if self.weight >= limits::STORE_INDEX_GATHERED {
            Duration::ZERO
        } else {
            limits::STORE_INDEX_GATHER.saturating_sub(self.begun.elapsed())
        }
    }
}
