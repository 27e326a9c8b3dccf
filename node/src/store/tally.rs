//! How many octets of each pack are still wanted: what compaction decides by. Derived from the view, kept in memory only.
//!
//! What always holds: of the digests up to the cursor, every place in the view is counted, and nothing else is. The counting goes
//! on page by page after an opening while blocks come and go; a change behind the cursor is counted when the cursor gets there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::StoreError;
use super::frame::{Digest, HEAD};
use super::home::Home;
use super::log::Place;

/// Blocks that are counted at once; whoever writes waits for no more than these.
const PAGE: usize = 1000;

/// What became of the place of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) before: Option<Place>,
    pub(super) now: Option<Place>,
}

/// The count of one store.
#[derive(Default)]
pub(super) struct Tally(Mutex<State>);

#[derive(Default)]
struct State {
    cursor: Cursor,
    live: BTreeMap<u32, u64>,
}

#[derive(Default)]
enum Cursor {
    #[default]
    Begin,
    At(Digest),
    End,
}

impl Tally {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the next page; false when everything is counted.
    pub(super) fn count_on(&self, home: &Home) -> Result<bool, StoreError> {
        let mut state = self.state();
        let after = match state.cursor {
            Cursor::Begin => None,
            Cursor::At(digest) => Some(digest),
            Cursor::End => return Ok(false),
        };
        let page = home.read(|view, _| view.blocks_after(after.as_ref(), PAGE))?;
        for (_, place) in &page {
            state.add(*place);
        }
        state.cursor = match page.last() {
            Some((digest, _)) => Cursor::At(*digest),
            None => Cursor::End,
        };
        Ok(!page.is_empty())
    }

    /// Shows changes in the view and counts them, so that nobody counts a page in between.
    pub(super) fn change<T>(&self, changes: &[(Digest, Change)], show: impl FnOnce() -> T) -> T {
        let mut state = self.state();
        let shown = show();
        for (digest, change) in changes {
            let counted = match &state.cursor {
                Cursor::Begin => false,
                Cursor::At(cursor) => digest <= cursor,
                Cursor::End => true,
            };
            if counted {
                if let Some(before) = change.before {
                    state.take(before);
                }
                if let Some(now) = change.now {
                    state.add(now);
                }
            }
        }
        shown
    }

    /// Octets of the records in a pack that the view points to; none while that is still counted.
    pub(super) fn live(&self, pack: u32) -> Option<u64> {
        let state = self.state();
        match state.cursor {
            Cursor::End => Some(state.live.get(&pack).copied().unwrap_or_default()),
            Cursor::Begin | Cursor::At(_) => None,
        }
    }
}

impl State {
    fn add(&mut self, place: Place) {
        *self.live.entry(place.file).or_default() += size(place);
    }

    fn take(&mut self, place: Place) {
        if let Some(live) = self.live.get_mut(&place.file) {
            *live = live.saturating_sub(size(place));
            if *live == 0 {
                self.live.remove(&place.file);
            }
        }
    }
}

/// Octets of a block's record.
pub(super) fn size(place: Place) -> u64 {
    HEAD as u64 + u64::from(place.length)
}
