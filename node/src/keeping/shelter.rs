//! Shelters: what is stored and not yet referred to, while somebody is about to commit the record that will refer to it.
//!
//! What always holds: a block is in a shelter before it is put, and as long as the shelter stands it is reachable from what
//! is in the shelter, so that memory does not grow with a resource. Only in memory: a store belongs to one process, and after a
//! crash nobody is about to commit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cargomail_protocol::dag::{Codec, VerifiedBlock, children};
use cid::Cid;

/// All shelters of a node. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shelters(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// By its number: what is in it, and how many octets of a resource that covers.
    shelters: HashMap<u64, HashMap<Cid, u64>>,
}

impl Shelters {
    /// A shelter of one's own, until it is dropped.
    #[must_use]
    pub fn open(&self) -> Shelter {
        let mut open = self.lock();
        open.next += 1;
        let id = open.next;
        open.shelters.insert(id, HashMap::new());
        drop(open);
        Shelter {
            all: self.clone(),
            id,
        }
    }

    /// What is in any shelter at this moment; what is below it is sheltered too.
    pub(super) fn kept(&self) -> Vec<(Cid, u64)> {
        let open = self.lock();
        let all = open.shelters.values().flatten();
        all.map(|(cid, size)| (*cid, *size)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // No critical section panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps blocks that no record refers to yet. Drop it once the record is committed.
#[derive(Debug)]
pub struct Shelter {
    all: Shelters,
    id: u64,
}

impl Shelter {
    /// Takes in blocks that are about to be put.
    pub fn keep(&self, blocks: &[VerifiedBlock]) {
        let covered = |block: &VerifiedBlock| match below(block) {
            Some(children) => children.iter().map(|(_, size)| size).sum(),
            None => block.bytes().len() as u64,
        };
        let sized: Vec<(Cid, u64)> = blocks
            .iter()
            .map(|block| (*block.cid(), covered(block)))
            .collect();
        if let Some(kept) = self.all.lock().shelters.get_mut(&self.id) {
            kept.extend(sized);
        }
    }

    /// These blocks are durable: what is below the nodes among them is reachable through those, and need not be kept on its own.
    pub fn fold(&self, blocks: &[VerifiedBlock]) {
        let reachable: Vec<Cid> = blocks
            .iter()
            .filter_map(below)
            .flatten()
            .map(|(child, _)| child)
            .collect();
        if let Some(kept) = self.all.lock().shelters.get_mut(&self.id) {
            for child in reachable {
                kept.remove(&child);
            }
        }
    }
}

/// What a node links to; none for a leaf.
fn below(block: &VerifiedBlock) -> Option<Vec<(Cid, u64)>> {
    match Codec::from_code(block.cid().codec()) {
        Ok(Codec::DagPb) => children(block.bytes()).ok(),
        _ => None,
    }
}

impl Drop for Shelter {
    fn drop(&mut self) {
        self.all.lock().shelters.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cargomail_protocol::dag::Importer;
    use cargomail_protocol::limits;

    use super::*;

    #[test]
    fn a_shelter_does_not_grow_with_the_resource_and_ends_with_its_owner() {
        let shelters = Shelters::default();
        let shelter = shelters.open();
        let mut importer = Importer::new();
        let mut most = 0;
        for number in 0..3 * limits::LINKS {
            // Each leaf is another one.
            let mut leaf = vec![0; limits::LEAF];
            leaf[..8].copy_from_slice(&number.to_le_bytes());
            let blocks = importer.push(leaf.into());
            shelter.keep(&blocks);
            shelter.fold(&blocks);
            most = most.max(shelters.kept().len());
        }
        let imported = importer.finish();
        shelter.keep(&imported.blocks);
        shelter.fold(&imported.blocks);
        assert!(most <= limits::LINKS + 3, "{most}");
        assert_eq!(shelters.kept(), [(imported.root, imported.size)]);
        drop(shelter);
        assert!(shelters.kept().is_empty());
    }
}
