//! Resources as DAGs of blocks: names, blocks, import, and verification while they arrive.
//!
//! A **block** is at most 2 MiB of octets with a CID that their SHA-256 proves. A **resource** is a DAG of blocks by the
//! profile `unixfs-v1-2025` (IPIP-499): leaves are raw octets of 1 MiB, interior nodes are dag-pb around a UnixFS
//! `File` message, balanced, with at most 1024 links; a resource of one leaf is that leaf.
//!
//! - [`cid`] reads CIDs strictly: one form for one name.
//! - [`VerifiedBlock`] is the proof that octets fit their CID; only hashing makes one. [`ClaimedBlock`] is what came, and
//!   waits for it; [`Octets`] is what came before it is known for which block.
//! - [`Importer`] turns a stream of octets into blocks, with memory that does not grow with the resource.
//! - [`Walk`] goes through a resource in depth-first pre-order, says which block comes next, and verifies what comes: for
//!   the destination that receives, the origin that sends, and whoever reads a resource or a range of it.
//!
//! What always holds: no octet of a block that was not checked against its CID is ever interpreted by [`Walk::verify`]
//! and [`Walk::claim`];
//! nothing here recurses on input; every bound stands in [`crate::limits`]. The specification is `spec/resources.md`.
//!
//! ```
//! use cargomail_protocol::dag::{Importer, Kind, Step, Walk};
//! use std::collections::HashMap;
//!
//! // Alice posts: blocks go to the store as they become complete.
//! let mut store = HashMap::new();
//! let mut importer = Importer::new();
//! let mut blocks = importer.push(vec![7; 3_000_000].into());
//! let resource = importer.finish();
//! blocks.extend(resource.blocks);
//! store.extend(blocks.into_iter().map(|block| (*block.cid(), block.into_bytes())));
//!
//! // Bob reads: the walk says which block comes next.
//! let mut walk = Walk::new(resource.root, resource.size)?;
//! let mut read = Vec::new();
//! while let Some(next) = walk.next() {
//!     if let Step::Leaf { content, .. } = walk.trust(&store[&next.cid])? {
//!         read.extend_from_slice(&content);
//!     }
//! }
//! assert_eq!(read, vec![7; 3_000_000]);
//!
//! // An agent finds where to resume after a crash: nodes are read, leaves only looked up.
//! let mut walk = Walk::new(resource.root, resource.size)?;
//! while let Some(next) = walk.next() {
//!     match (store.get(&next.cid), next.kind) {
//!         (Some(_), Kind::Leaf) => walk.pass()?,
//!         (Some(node), Kind::Node) => drop(walk.trust(node)?),
//!         (None, _) => break,
//!     }
//! }
//! assert!(walk.is_complete()); // otherwise: fetch with `skip` = walk.leaves()
//! # Ok::<(), cargomail_protocol::dag::WalkError>(())
//! ```

pub mod cid;
pub mod import;
mod node;
pub(crate) mod varint;
pub mod walk;

use ::cid::Cid;
use bytes::Bytes;
use sha2::{Digest, Sha256};

pub use self::cid::{CidError, Codec};
pub use self::import::{Cutter, Imported, Importer, Tree};
pub use self::node::NodeError;
pub use self::walk::{Expected, Kind, Step, Walk, WalkError};
use crate::fault::{Fault, Faulty};
use crate::limits;

/// A block whose octets were hashed and fit its CID. Only hashing makes one.
///
/// It says nothing about the form of the octets: a dag-pb block may still be no node. [`Walk`] judges that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBlock {
    cid: Cid,
    bytes: Bytes,
}

/// Why octets are no block of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// More octets than a block may have ([`limits::BLOCK`]).
    #[error("a block of {0} octets is too large")]
    TooLarge(usize),
    /// The CID is none that this system reads.
    #[error(transparent)]
    Cid(#[from] CidError),
    /// The octets' hash is another one.
    #[error("the octets are not those of {0}")]
    Mismatch(Cid),
}

impl Faulty for BlockError {
    fn fault(&self) -> Fault {
        match self {
            BlockError::TooLarge(_) => Fault::TooLarge,
            BlockError::Cid(_) | BlockError::Mismatch(_) => Fault::Malformed,
        }
    }
}

/// Octets that came for a block. Those of a large one were hashed while they came, if a [`Decoder`](crate::exchange::Decoder) took them
/// from a stream.
#[derive(Debug, Clone)]
pub struct Octets {
    bytes: Bytes,
    digest: Option<[u8; 32]>,
}

/// The same octets, hashed or not.
impl PartialEq for Octets {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Octets {}

impl<T: Into<Bytes>> From<T> for Octets {
    fn from(bytes: T) -> Self {
        Self {
            bytes: bytes.into(),
            digest: None,
        }
    }
}

impl Octets {
    /// With the hash that was made of these very octets.
    pub(crate) fn hashed(bytes: Bytes, hash: Sha256) -> Self {
        Self {
            bytes,
            digest: Some(hash.finalize().into()),
        }
    }

    /// The octets.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The octets alone.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    fn verify(self, cid: Cid) -> Result<VerifiedBlock, BlockError> {
        let codec = self::cid::check(&cid)?;
        check_size(&self.bytes)?;
        let block = match self.digest {
            Some(digest) => VerifiedBlock::named(codec, self.bytes, digest),
            None => VerifiedBlock::of(codec, self.bytes),
        };
        if block.cid != cid {
            return Err(BlockError::Mismatch(cid));
        }
        Ok(block)
    }
}

/// Octets that are said to be a block, and were not compared with its name: to be verified elsewhere, on another thread say. Nothing can
/// be done with them before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedBlock {
    cid: Cid,
    octets: Octets,
}

impl ClaimedBlock {
    /// The CID that the octets are said to have.
    #[must_use]
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// How many octets there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.octets.bytes.len()
    }

    /// How many octets are to be hashed yet: all, or none.
    #[must_use]
    pub fn unhashed(&self) -> usize {
        self.octets.digest.map_or(self.size(), |_| 0)
    }

    /// Hashes them, unless they were hashed while they came, and compares.
    ///
    /// # Errors
    /// Those of [`VerifiedBlock::check`].
    pub fn verify(self) -> Result<VerifiedBlock, BlockError> {
        self.octets.verify(self.cid)
    }
}

impl VerifiedBlock {
    /// Names octets by their hash.
    ///
    /// # Errors
    /// [`BlockError::TooLarge`] above 2 MiB.
    pub fn hash(codec: Codec, bytes: Bytes) -> Result<Self, BlockError> {
        check_size(&bytes)?;
        Ok(Self::of(codec, bytes))
    }

    /// Checks octets against the CID that they are said to have.
    ///
    /// # Errors
    /// [`BlockError::Cid`] for a name that [`cid::check`] refuses, [`BlockError::TooLarge`] above 2 MiB,
    /// [`BlockError::Mismatch`] when the hash is another.
    pub fn check(cid: Cid, bytes: Bytes) -> Result<Self, BlockError> {
        Octets::from(bytes).verify(cid)
    }

    /// Hashes octets that are known not to exceed a block: what the importer makes.
    fn of(codec: Codec, bytes: Bytes) -> Self {
        debug_assert!(bytes.len() <= limits::BLOCK);
        let digest = Sha256::digest(&bytes).into();
        Self::named(codec, bytes, digest)
    }

    fn named(codec: Codec, bytes: Bytes, digest: [u8; 32]) -> Self {
        Self {
            cid: codec.cid(digest),
            bytes,
        }
    }

    /// The block's CID.
    #[must_use]
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// The block's octets.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The block's octets, without the proof.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

fn check_size(bytes: &Bytes) -> Result<(), BlockError> {
    if bytes.len() > limits::BLOCK {
        return Err(BlockError::TooLarge(bytes.len()));
    }
    Ok(())
}

/// The blocks that a node links to, in the order of the resource, and how many of its octets each of them covers.
///
/// # Errors
/// [`NodeError`] when the octets are no interior node.
pub fn children(node: &Bytes) -> Result<Vec<(Cid, u64)>, NodeError> {
    let node = node::Node::read(node)?;
    Ok(node.links.iter().map(|link| (link.cid, link.size)).collect())
}

/// The shape in which resources are imported, and the unit in which a walk is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Profile {
    /// Octets of a full leaf.
    pub(crate) leaf: usize,
    /// Links of a full node.
    pub(crate) links: usize,
    /// Octets of a resource that allow one more block.
    pub(crate) grain: u64,
}

impl Profile {
    /// The only profile on the wire (IPIP-499).
    pub(crate) const UNIXFS_V1_2025: Profile = Profile {
        leaf: limits::LEAF,
        links: limits::LINKS,
        grain: limits::DAG_GRAIN,
    };
}

#[cfg(test)]
pub(crate) mod tests;
