//! Import: a stream of octets becomes a resource's blocks, by the profile `unixfs-v1-2025`.
//!
//! Memory: one leaf that is not full yet, and at each level of the tree at most 1024 links that have no node above them
//! yet. A leaf that lies within one pushed piece is a slice of it and is not copied.

use ::cid::Cid;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::node::{Link, Node};
use super::{Codec, Profile, VerifiedBlock};

/// Imports one resource: [`push`](Importer::push) its octets in order, then [`finish`](Importer::finish).
///
/// The importer takes any amount; who calls it refuses what exceeds [`crate::limits::RESOURCE`] or a quota, by
/// [`size`](Importer::size).
#[derive(Debug)]
pub struct Importer {
    profile: Profile,
    pending: Pending,
    /// `levels[0]` are leaves, `levels[n + 1]` the nodes above `levels[n]`; none is ever longer than a node.
    levels: Vec<Vec<Link>>,
    whole: Sha256,
    size: u64,
}

/// A resource that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The name of the whole resource.
    pub root: Cid,
    /// Its octets.
    pub size: u64,
    /// SHA-256 over all its octets; for a resource of one leaf also the digest in `root`.
    pub sha256: [u8; 32],
    /// The blocks that only the end completed: the last leaf and the nodes above, the root last. Empty when the root was
    /// complete before.
    pub blocks: Vec<VerifiedBlock>,
}

/// The octets of a leaf that is not full yet.
#[derive(Debug)]
enum Pending {
    /// None so far, or those of one piece, not copied.
    Slice(Bytes),
    /// Those of several pieces, joined.
    Joined(BytesMut),
}

impl Default for Importer {
    fn default() -> Self {
        Self::new()
    }
}

impl Importer {
    /// An importer for one resource.
    #[must_use]
    pub fn new() -> Self {
        Self::with_profile(Profile::UNIXFS_V1_2025)
    }

    pub(crate) fn with_profile(profile: Profile) -> Self {
        Self {
            profile,
            pending: Pending::Slice(Bytes::new()),
            levels: Vec::new(),
            whole: Sha256::new(),
            size: 0,
        }
    }

    /// Octets taken so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next octets, and gives the blocks that they completed, each before the nodes above it.
    pub fn push(&mut self, mut piece: Bytes) -> Vec<VerifiedBlock> {
        self.whole.update(&piece);
        self.size += piece.len() as u64;
        let mut blocks = Vec::new();
        while !piece.is_empty() {
            let room = self.profile.leaf - self.pending.len();
            let part = piece.split_to(room.min(piece.len()));
            self.pending.push(part, self.profile.leaf);
            if self.pending.len() == self.profile.leaf {
                self.complete_leaf(&mut blocks);
            }
        }
        blocks
    }

    /// Ends the resource. One that has no octets is one empty leaf.
    #[must_use]
    pub fn finish(mut self) -> Imported {
        let mut blocks = Vec::new();
        if self.pending.len() > 0 || self.size == 0 {
            self.complete_leaf(&mut blocks);
        }
        let root = self.close(&mut blocks);
        Imported {
            root,
            size: self.size,
            sha256: self.whole.finalize().into(),
            blocks,
        }
    }

    fn complete_leaf(&mut self, blocks: &mut Vec<VerifiedBlock>) {
        let leaf = VerifiedBlock::of(Codec::Raw, self.pending.take());
        let size = leaf.bytes().len() as u64;
        let link = Link {
            cid: *leaf.cid(),
            codec: Codec::Raw,
            size,
            tsize: size,
        };
        blocks.push(leaf);
        self.place(link, blocks);
    }

    /// Puts a leaf into its level, and closes every level that it filled.
    fn place(&mut self, link: Link, blocks: &mut Vec<VerifiedBlock>) {
        let mut carried = Some(link);
        let mut height = 0;
        while let Some(link) = carried.take() {
            if height == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let level = &mut self.levels[height];
            level.push(link);
            if level.len() == self.profile.links {
                carried = Some(gather(level, blocks));
                height += 1;
            }
        }
    }

    /// Closes the levels from the leaves up; the one link that remains at the top is the root.
    fn close(&mut self, blocks: &mut Vec<VerifiedBlock>) -> Cid {
        let mut levels = std::mem::take(&mut self.levels);
        let top = levels.len().saturating_sub(1);
        let mut carried = None;
        for (height, level) in levels.iter_mut().enumerate() {
            level.extend(carried.take());
            carried = match level.as_slice() {
                [] => None,
                [only] if height == top => Some(*only),
                _ => Some(gather(level, blocks)),
            };
        }
        carried.expect("even an empty resource has a leaf").cid
    }
}

/// Makes the node above all links of a level, and empties the level.
fn gather(level: &mut Vec<Link>, blocks: &mut Vec<VerifiedBlock>) -> Link {
    let (node, bytes) = Node::above(std::mem::take(level));
    let block = VerifiedBlock::of(Codec::DagPb, bytes);
    let link = Link {
        cid: *block.cid(),
        codec: Codec::DagPb,
        size: node.size,
        tsize: node.tsize,
    };
    blocks.push(block);
    link
}

impl Pending {
    fn len(&self) -> usize {
        match self {
            Pending::Slice(bytes) => bytes.len(),
            Pending::Joined(bytes) => bytes.len(),
        }
    }

    /// Adds octets. The first piece is kept as it is; a second one makes room for the leaf that they grow into.
    fn push(&mut self, part: Bytes, leaf: usize) {
        match self {
            Pending::Slice(first) if first.is_empty() => *first = part,
            Pending::Slice(first) => {
                let mut joined = BytesMut::with_capacity(leaf.min(2 * (first.len() + part.len())));
                joined.extend_from_slice(first);
                joined.extend_from_slice(&part);
                *self = Pending::Joined(joined);
            }
            Pending::Joined(joined) => joined.extend_from_slice(&part),
        }
    }

    fn take(&mut self) -> Bytes {
        match std::mem::replace(self, Pending::Slice(Bytes::new())) {
            Pending::Slice(bytes) => bytes,
            Pending::Joined(bytes) => bytes.freeze(),
        }
    }
}
