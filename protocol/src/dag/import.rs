//! Import: a stream of octets becomes a resource's blocks, by the profile `unixfs-v1-2025`.
//!
//! Memory: one leaf that is not full yet, and at each level of the tree at most 1024 links that have no node above them
//! yet. A leaf that lies within one pushed piece is a slice of it and is not copied.

use ::cid::Cid;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::node::{Link, Node};
use super::{Codec, Profile, VerifiedBlock};

/// Imports one resource: [`push`](Importer::push) its octets in order, then [`finish`](Importer::finish). It is a
/// [`Cutter`], a [`Tree`] and two hashes in a row; whoever has threads for the hashing puts them together otherwise.
///
/// The importer takes any amount; who calls it refuses what exceeds [`crate::limits::RESOURCE`] or a quota, by
/// [`size`](Importer::size).
#[derive(Debug)]
pub struct Importer {
    cutter: Cutter,
    tree: Tree,
    whole: Sha256,
}

/// Cuts octets into leaves. A leaf that lies within one piece is a slice of it and is not copied.
#[derive(Debug)]
pub struct Cutter {
    leaf: usize,
    pending: Pending,
    size: u64,
}

/// Builds the nodes above the leaves of one resource.
#[derive(Debug)]
pub struct Tree {
    profile: Profile,
    /// `levels[0]` are leaves, `levels[n + 1]` the nodes above `levels[n]`; none is ever longer than a node.
    levels: Vec<Vec<Link>>,
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
            cutter: Cutter::with_profile(profile),
            tree: Tree::with_profile(profile),
            whole: Sha256::new(),
        }
    }

    /// Octets taken so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.cutter.size()
    }

    /// Takes the next octets, and gives the blocks that they completed, each before the nodes above it.
    pub fn push(&mut self, mut piece: Bytes) -> Vec<VerifiedBlock> {
        self.whole.update(&piece);
        let mut blocks = Vec::new();
        while let Some(leaf) = self.cutter.cut(&mut piece) {
            self.add(leaf, &mut blocks);
        }
        blocks
    }

    /// Ends the resource. One that has no octets is one empty leaf.
    #[must_use]
    pub fn finish(mut self) -> Imported {
        let mut blocks = Vec::new();
        if let Some(leaf) = self.cutter.finish() {
            self.add(leaf, &mut blocks);
        }
        let (root, nodes) = self.tree.finish();
        blocks.extend(nodes);
        Imported {
            root,
            size: self.cutter.size(),
            sha256: self.whole.finalize().into(),
            blocks,
        }
    }

    fn add(&mut self, leaf: Bytes, blocks: &mut Vec<VerifiedBlock>) {
        let leaf = VerifiedBlock::of(Codec::Raw, leaf);
        let nodes = self.tree.add(&leaf);
        blocks.push(leaf);
        blocks.extend(nodes);
    }
}

impl Default for Cutter {
    fn default() -> Self {
        Self::new()
    }
}

impl Cutter {
    /// A cutter for one resource.
    #[must_use]
    pub fn new() -> Self {
        Self::with_profile(Profile::UNIXFS_V1_2025)
    }

    fn with_profile(profile: Profile) -> Self {
        Self {
            leaf: profile.leaf,
            pending: Pending::Slice(Bytes::new()),
            size: 0,
        }
    }

    /// Octets taken so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes octets from the beginning of a piece: all of it, or up to the end of a leaf, which is given.
    pub fn cut(&mut self, piece: &mut Bytes) -> Option<Bytes> {
        let room = self.leaf - self.pending.len();
        let part = piece.split_to(room.min(piece.len()));
        self.size += part.len() as u64;
        if !part.is_empty() {
            self.pending.push(part, self.leaf);
        }
        (self.pending.len() == self.leaf).then(|| self.pending.take())
    }

    /// At the end of the resource: the last leaf, if there is one more. A resource that has no octets is one empty leaf.
    pub fn finish(&mut self) -> Option<Bytes> {
        (self.pending.len() > 0 || self.size == 0).then(|| self.pending.take())
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// The tree of one resource.
    #[must_use]
    pub fn new() -> Self {
        Self::with_profile(Profile::UNIXFS_V1_2025)
    }

    fn with_profile(profile: Profile) -> Self {
        Self {
            profile,
            levels: Vec::new(),
        }
    }

    /// Takes the next leaf that a [`Cutter`] gave, and gives the nodes that it completed.
    pub fn add(&mut self, leaf: &VerifiedBlock) -> Vec<VerifiedBlock> {
        let size = leaf.bytes().len() as u64;
        let link = Link {
            cid: *leaf.cid(),
            codec: Codec::Raw,
            size,
            tsize: size,
        };
        let mut nodes = Vec::new();
        self.place(link, &mut nodes);
        nodes
    }

    /// Ends the resource, which has at least one leaf: its root, and the nodes that only the end completed, the root last.
    /// No nodes when the root was complete before.
    ///
    /// # Panics
    /// When no leaf was added: also an empty resource has one.
    #[must_use]
    pub fn finish(mut self) -> (Cid, Vec<VerifiedBlock>) {
        let mut nodes = Vec::new();
        let root = self.close(&mut nodes);
        (root, nodes)
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
