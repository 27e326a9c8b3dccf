//! The walk: a resource, block by block, in depth-first pre-order, verified while it goes.
//!
//! A walk starts from the root's CID and the announced size. It always knows the one block that comes next
//! ([`Walk::next`]); whoever has the octets hands them over, and the walk checks them and knows the blocks behind.
//! Three take the same walk, so that they agree on the order without a word on the wire:
//!
//! - the destination **verifies** what arrives: [`Walk::verify`], or [`Walk::claim`] where leaves are hashed elsewhere;
//! - the origin, and whoever reads a resource from its own checked store, **reads**: [`Walk::trust`], which leaves out
//!   only the hashing;
//! - whoever asks which leaves are still missing **passes** those that are there: [`Walk::pass`].
//!
//! # The part that is walked
//!
//! Each block covers octets of the resource: a leaf its own, a node those of the leaves below it. A walk over the range
//! `from..to` visits the blocks that cover at least one octet of it and leaves out all others. A resume that skips `n` leaves
//! is the range from `n` MiB on, `n × 1,048,576..size`: in a resource of the profile the blocks left out are the first
//! `n` leaves and the nodes whose leaves are all among them; the nodes on the way to leaf `n` are visited again. A walk
//! over everything visits every block, the empty leaf of an empty resource too.
//!
//! # Bounds
//!
//! The announced size is the cap: each node must account for exactly the octets that its link announced, no link is
//! empty, a DAG has at most [`limits::DAG_DEPTH`] levels, and a walk visits at most [`limits::DAG_BLOCKS`] blocks and one
//! more for each [`limits::DAG_GRAIN`] octets. Memory: at most 1024 links for each level.

use std::ops::Range;

use ::cid::Cid;
use bytes::Bytes;

use super::cid::{self, CidError, Codec};
use super::node::{Link, Node, NodeError};
use super::{BlockError, ClaimedBlock, Octets, Profile, VerifiedBlock};
use crate::fault::{Fault, Faulty};
use crate::limits;

/// A walk through one resource or a part of it.
#[derive(Debug, Clone)]
pub struct Walk {
    /// Blocks to visit; the last comes next.
    due: Vec<Due>,
    /// The octets of the resource that are walked.
    range: Range<u64>,
    /// The announced size.
    size: u64,
    /// How many blocks may still be visited.
    budget: u64,
    profile: Profile,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    expected: Expected,
    /// What the link above said of all blocks below; the root has no link.
    tsize: Option<u64>,
    /// 1 for the root.
    level: usize,
}

/// The block that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its name.
    pub cid: Cid,
    /// What it is.
    pub kind: Kind,
    /// Where the octets of the resource that it covers begin.
    pub offset: u64,
    /// How many octets of the resource it covers; for a leaf that is its length.
    pub size: u64,
}

/// What a block is within a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An interior node.
    Node,
    /// A leaf: octets of the resource. Also a dag-cbor block, which is a resource of its own: its links are not followed.
    Leaf,
}

impl Expected {
    /// How many octets the block has at most; a leaf has exactly so many.
    #[must_use]
    pub fn longest(&self) -> usize {
        match self.kind {
            Kind::Node => limits::NODE,
            Kind::Leaf => usize::try_from(self.size).map_or(limits::BLOCK, |size| size.min(limits::BLOCK)),
        }
    }
}

/// What a block turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A node, whose first child comes next.
    Node,
    /// A leaf.
    Leaf {
        /// Where in the resource `content` begins.
        offset: u64,
        /// The leaf's octets that lie in the range that is walked: a slice of the block, all of it but at the range's ends.
        content: Bytes,
    },
}

/// Why a walk cannot go on. The walk is as it was before: right octets may still follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// The announced size is above [`limits::RESOURCE`].
    #[error("a resource of {0} octets is too large")]
    TooLarge(u64),
    /// The root is a single block, and the announced size more than a block has.
    #[error("a single block cannot have {0} octets")]
    SingleBlock(u64),
    /// The root's name is not read.
    #[error(transparent)]
    Root(#[from] CidError),
    /// The part to walk is not within the resource, or empty although the resource is not.
    #[error("the part {from}..{to} is not in a resource of {size} octets")]
    Part {
        /// Its first octet.
        from: u64,
        /// The octet behind its last.
        to: u64,
        /// The announced size.
        size: u64,
    },
    /// The octets are not the block that comes next.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The block is a bad node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The block covers more or fewer octets than announced by the node above it, or by the root's announcement.
    #[error("{found} octets where {announced} were announced")]
    Size {
        /// What the link or the announcement said.
        announced: u64,
        /// What the block says or has.
        found: u64,
    },
    /// The blocks below have other sizes than the Tsize of the link said.
    #[error("a Tsize of {found} where {announced} was announced")]
    Tsize {
        /// What the link said.
        announced: u64,
        /// What the node says.
        found: u64,
    },
    /// More levels than [`limits::DAG_DEPTH`].
    #[error("the DAG is too deep")]
    TooDeep,
    /// More blocks than a resource of this size may have.
    #[error("the DAG has too many blocks for its size")]
    TooManyBlocks,
    /// Only a leaf can be passed, and a node comes next.
    #[error("a node cannot be passed")]
    NotALeaf,
    /// Nothing comes next.
    #[error("the resource is complete")]
    Complete,
}

impl Faulty for WalkError {
    fn fault(&self) -> Fault {
        match self {
            WalkError::TooLarge(_) | WalkError::TooDeep | WalkError::TooManyBlocks => Fault::TooLarge,
            WalkError::Root(error) => error.fault(),
            WalkError::Block(error) => error.fault(),
            WalkError::Node(error) => error.fault(),
            _ => Fault::Malformed,
        }
    }
}

impl Walk {
    /// A walk through a whole resource of `size` octets.
    ///
    /// # Errors
    /// [`WalkError::TooLarge`], [`WalkError::SingleBlock`], [`WalkError::Root`].
    pub fn new(root: Cid, size: u64) -> Result<Self, WalkError> {
        Self::with_profile(Profile::UNIXFS_V1_2025, root, size, 0..size)
    }

    /// A walk that leaves out what covers only the first `skip` MiB: in a resource of the profile, the first `skip` leaves.
    ///
    /// # Errors
    /// Those of [`Walk::new`]; [`WalkError::Part`] when nothing is left to walk, unless `skip` is 0.
    pub fn resume(root: Cid, size: u64, skip: u64) -> Result<Self, WalkError> {
        Self::resume_with(Profile::UNIXFS_V1_2025, root, size, skip)
    }

    /// A walk through the blocks that cover `range`, for reading a part.
    ///
    /// # Errors
    /// Those of [`Walk::new`]; [`WalkError::Part`] for a range that is not within the resource or is empty, unless the
    /// resource is.
    pub fn range(root: Cid, size: u64, range: Range<u64>) -> Result<Self, WalkError> {
        Self::with_profile(Profile::UNIXFS_V1_2025, root, size, range)
    }

    pub(crate) fn resume_with(profile: Profile, root: Cid, size: u64, skip: u64) -> Result<Self, WalkError> {
        let from = skip.saturating_mul(profile.leaf as u64);
        Self::with_profile(profile, root, size, from..size)
    }

    pub(crate) fn with_profile(
        profile: Profile,
        root: Cid,
        size: u64,
        range: Range<u64>,
    ) -> Result<Self, WalkError> {
        let kind = match cid::check(&root)? {
            Codec::DagPb => Kind::Node,
            Codec::Raw | Codec::DagCbor if size > limits::BLOCK as u64 => {
                return Err(WalkError::SingleBlock(size));
            }
            Codec::Raw | Codec::DagCbor => Kind::Leaf,
        };
        if size > limits::RESOURCE {
            return Err(WalkError::TooLarge(size));
        }
        if range.end > size || (range.is_empty() && range != (0..size)) {
            let Range { start: from, end: to } = range;
            return Err(WalkError::Part { from, to, size });
        }
        let expected = Expected {
            cid: root,
            kind,
            offset: 0,
            size,
        };
        Ok(Self {
            due: vec![Due {
                expected,
                tsize: None,
                level: 1,
            }],
            range,
            size,
            budget: limits::DAG_BLOCKS + size / profile.grain,
            profile,
        })
    }

    /// The block that comes next; none when the walk is complete.
    #[must_use]
    pub fn next(&self) -> Option<Expected> {
        self.due.last().map(|due| due.expected)
    }

    /// The blocks that come next for certain, in their order: up to the next node, behind which nothing is known yet.
    pub fn coming(&self) -> impl Iterator<Item = Expected> + '_ {
        let mut behind_a_node = false;
        self.due
            .iter()
            .rev()
            .map(|due| due.expected)
            .take_while(move |expected| !std::mem::replace(&mut behind_a_node, expected.kind == Kind::Node))
    }

    /// Whether every block was visited.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.due.is_empty()
    }

    /// The announced size.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Up to which octet the resource was walked, as far as the walk's range goes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next().map_or(self.range.end, |expected| {
            expected.offset.clamp(self.range.start, self.range.end)
        })
    }

    /// The `skip` with which another walk can [`resume`](Walk::resume) here: whole MiB before [`position`](Walk::position).
    /// Of a complete walk through everything, the number of full leaves.
    #[must_use]
    pub fn leaves(&self) -> u64 {
        self.position() / self.profile.leaf as u64
    }

    /// Takes the octets of the next block from a stranger: hashes them, and only then looks into them.
    ///
    /// # Errors
    /// A [`WalkError`]; the walk stays where it was.
    pub fn verify(&mut self, bytes: Bytes) -> Result<(VerifiedBlock, Step), WalkError> {
        let due = *self.due.last().ok_or(WalkError::Complete)?;
        let block = VerifiedBlock::check(due.expected.cid, bytes)?;
        let step = self.take(due, block.bytes())?;
        Ok((block, step))
    }

    /// Takes the octets of the next block from a stranger, and goes on before a leaf is hashed: a leaf is only measured here,
    /// for the walk does not look into it. A node is hashed before anything looks into it, as by [`Walk::verify`].
    ///
    /// # Errors
    /// A [`WalkError`]; the walk stays where it was.
    pub fn claim(&mut self, octets: Octets) -> Result<ClaimedBlock, WalkError> {
        let due = *self.due.last().ok_or(WalkError::Complete)?;
        let cid = due.expected.cid;
        match due.expected.kind {
            Kind::Leaf => {
                check_size(due.expected.size, octets.bytes().len() as u64)?;
                self.visit(Vec::new())?;
            }
            Kind::Node => {
                let block = octets.clone().verify(cid)?;
                self.take(due, block.bytes())?;
            }
        }
        Ok(ClaimedBlock { cid, octets })
    }

    /// Takes the octets of the next block from one's own store, which checked them: everything but the hash is verified.
    ///
    /// # Errors
    /// A [`WalkError`]; the walk stays where it was. The store, or who put the resource into it, is at fault.
    pub fn trust(&mut self, bytes: &Bytes) -> Result<Step, WalkError> {
        let due = *self.due.last().ok_or(WalkError::Complete)?;
        self.take(due, bytes)
    }

    /// Goes past the next block, a leaf that is already held, without its octets.
    ///
    /// # Errors
    /// [`WalkError::NotALeaf`], [`WalkError::Complete`], [`WalkError::TooManyBlocks`].
    pub fn pass(&mut self) -> Result<(), WalkError> {
        let due = *self.due.last().ok_or(WalkError::Complete)?;
        if due.expected.kind == Kind::Node {
            return Err(WalkError::NotALeaf);
        }
        self.visit(Vec::new())
    }

    /// Goes past the next block and all that are below it. For whoever looks at what is here of a resource that is not here
    /// whole; a walk that left something out is complete without it.
    ///
    /// # Errors
    /// [`WalkError::Complete`], [`WalkError::TooManyBlocks`].
    pub fn leave_out(&mut self) -> Result<(), WalkError> {
        if self.due.is_empty() {
            return Err(WalkError::Complete);
        }
        self.visit(Vec::new())
    }

    fn take(&mut self, due: Due, bytes: &Bytes) -> Result<Step, WalkError> {
        match due.expected.kind {
            Kind::Leaf => self.take_leaf(due.expected, bytes),
            Kind::Node => self.take_node(due, bytes),
        }
    }

    fn take_leaf(&mut self, expected: Expected, bytes: &Bytes) -> Result<Step, WalkError> {
        check_size(expected.size, bytes.len() as u64)?;
        self.visit(Vec::new())?;
        let end = expected.offset + expected.size;
        let from = self.range.start.clamp(expected.offset, end);
        let to = self.range.end.clamp(from, end);
        let within = |position: u64| {
            usize::try_from(position - expected.offset).expect("a leaf is no larger than a block")
        };
        Ok(Step::Leaf {
            offset: from,
            content: bytes.slice(within(from)..within(to)),
        })
    }

    fn take_node(&mut self, due: Due, bytes: &Bytes) -> Result<Step, WalkError> {
        let node = Node::read(bytes)?;
        check_size(due.expected.size, node.size)?;
        if let Some(announced) = due.tsize
            && announced != node.tsize
        {
            let found = node.tsize;
            return Err(WalkError::Tsize { announced, found });
        }
        let level = due.level + 1;
        let deepest = node.links.iter().any(|link| link.codec == Codec::DagPb);
        if level + usize::from(deepest) > limits::DAG_DEPTH {
            return Err(WalkError::TooDeep);
        }
        let children = self.children(&node.links, due.expected.offset, level);
        self.visit(children)?;
        Ok(Step::Node)
    }

    /// The children that cover octets of the range, the last first.
    fn children(&self, links: &[Link], mut offset: u64, level: usize) -> Vec<Due> {
        let mut children = Vec::with_capacity(links.len());
        for link in links {
            let end = offset + link.size;
            if offset < self.range.end && end > self.range.start {
                children.push(Due {
                    expected: link.expected(offset),
                    tsize: Some(link.tsize),
                    level,
                });
            }
            offset = end;
        }
        children.reverse();
        children
    }

    /// Replaces the block that was due by its children, within the budget.
    fn visit(&mut self, children: Vec<Due>) -> Result<(), WalkError> {
        self.budget = self.budget.checked_sub(1).ok_or(WalkError::TooManyBlocks)?;
        self.due.pop();
        self.due.extend(children);
        Ok(())
    }
}

impl Link {
    fn expected(&self, offset: u64) -> Expected {
        Expected {
            cid: self.cid,
            kind: match self.codec {
                Codec::DagPb => Kind::Node,
                Codec::Raw | Codec::DagCbor => Kind::Leaf,
            },
            offset,
            size: self.size,
        }
    }
}

fn check_size(announced: u64, found: u64) -> Result<(), WalkError> {
    if announced == found {
        Ok(())
    } else {
        Err(WalkError::Size { announced, found })
    }
}
