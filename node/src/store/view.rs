//! What readers see: the index, and over it what became durable since. One view is one moment, after a whole number of commits.

use super::StoreError;
use super::Version;
use super::frame::Digest;
use super::fresh::Fresh;
use super::index::{Entry, Index};
use super::log::{Place, Position};

/// A moment of the store.
pub(super) struct View<'a> {
    index: &'a dyn Index,
    fresh: &'a Fresh,
}

impl<'a> View<'a> {
    /// Both are held still by whoever makes it.
    pub(super) fn new(index: &'a dyn Index, fresh: &'a Fresh) -> Self {
        Self { index, fresh }
    }

    /// Where a block is.
    pub(super) fn block(&self, digest: &Digest) -> Result<Option<Place>, StoreError> {
        match self.fresh.block(digest) {
            Some(known) => Ok(known),
            None => self.index.block(digest),
        }
    }

    /// Blocks after a digest, ascending.
    pub(super) fn blocks_after(
        &self,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, Place)>, StoreError> {
        let index = |after: Option<&Digest>| self.index.blocks_after(after, limit);
        merge(self.fresh.blocks_after(after), after.copied(), index, limit)
    }

    /// Where a record is.
    pub(super) fn record(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        match self.fresh.record(key) {
            Some(known) => Ok(known),
            None => self.index.record(key),
        }
    }

    /// Records whose key has a prefix, after a key, ascending.
    pub(super) fn records_after(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Entry)>, StoreError> {
        let index =
            |after: Option<&String>| self.index.records_after(prefix, after.map(String::as_str), limit);
        let fresh = self.fresh.records_after(prefix, after);
        merge(fresh, after.map(ToOwned::to_owned), index, limit)
    }

    /// The last remembered position at or before a version.
    pub(super) fn mark(&self, version: Version) -> Result<Option<Position>, StoreError> {
        match self.fresh.mark(version) {
            Some(at) => Ok(Some(at)),
            None => self.index.mark(version),
        }
    }
}

/// The first `limit` of what stands in the index, with what is known newer over it. Both ascend from `after`; the index
/// is asked for `limit` at a time.
fn merge<'a, K: Ord + Clone + 'a, V>(
    fresh: impl Iterator<Item = (&'a K, Option<V>)>,
    mut after: Option<K>,
    index: impl Fn(Option<&K>) -> Result<Vec<(K, V)>, StoreError>,
    limit: usize,
) -> Result<Vec<(K, V)>, StoreError> {
    let mut merged = Vec::new();
    let mut fresh = fresh.peekable();
    while merged.len() < limit {
        let page = index(after.as_ref())?;
        let is_last = page.len() < limit;
        after = page.last().map(|(key, _)| key.clone());
        for (key, value) in page {
            while let Some((before, known)) = fresh.next_if(|(next, _)| **next < key) {
                merged.extend(known.map(|known| (before.clone(), known)));
            }
            match fresh.next_if(|(next, _)| **next == key) {
                Some((_, known)) => merged.extend(known.map(|known| (key, known))),
                None => merged.push((key, value)),
            }
            if merged.len() >= limit {
                break;
            }
        }
        if is_last {
            let rest = fresh
                .by_ref()
                .filter_map(|(key, known)| Some((key.clone(), known?)));
            merged.extend(rest.take(limit.saturating_sub(merged.len())));
            break;
        }
    }
    merged.truncate(limit);
    Ok(merged)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::merge;

    proptest! {
        #[test]
        fn what_is_newer_hides_what_is_older(
            old in proptest::collection::btree_map(0_u8..60, 0_u8..9, 0..40),
            new in proptest::collection::btree_map(0_u8..60, proptest::option::of(0_u8..9), 0..40),
            after in proptest::option::of(0_u8..60),
            limit in 0_usize..50,
        ) {
            let from = after.map_or(0, |after| after + 1);
            let index = |after: Option<&u8>| {
                let from = after.map_or(0, |after| after + 1);
                Ok(old.range(from..).take(limit).map(|(key, value)| (*key, *value)).collect())
            };
            let fresh = new.range(from..).map(|(key, value)| (key, *value));
            let merged = merge(fresh, after, index, limit).unwrap();
            let mut expected: BTreeMap<u8, u8> = old.clone();
            for (key, value) in &new {
                match value {
                    Some(value) => expected.insert(*key, *value),
                    None => expected.remove(key),
                };
            }
            let expected: Vec<_> = expected.range(from..).take(limit).map(|(key, value)| (*key, *value)).collect();
            prop_assert_eq!(merged, expected);
        }
    }
}
