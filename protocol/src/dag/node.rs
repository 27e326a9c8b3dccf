//! Interior nodes: canonical dag-pb around a UnixFS `File` message, and nothing else.
//!
//! Written and read in the one form that the profile `unixfs-v1-2025` gives: links first, each with hash, empty name
//! and Tsize; then the data with type, filesize and one blocksize a link. No inline data, no mode, no mtime. What is read is
//! written again and must give the same octets, so unknown fields, other orders, long varints and packed lists are refused.
//! Follows the dag-pb specification (ipld.io/specs/codecs/dag-pb) and the UnixFS specification (specs.ipfs.tech/unixfs).

use ::cid::Cid;
use bytes::Bytes;
use ipld_dagpb::{PbLink, PbNode};
use prost::Message;

use super::cid::{self, CidError, Codec};
use crate::fault::{Fault, Faulty};
use crate::limits;

/// UnixFS `File`.
const FILE: i32 = 2;

/// The UnixFS `Data` message (proto2), without the fields that a file of this profile never has.
#[derive(Clone, PartialEq, Message)]
struct Data {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", optional, tag = "2")]
    data: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "3")]
    filesize: Option<u64>,
    #[prost(uint64, repeated, packed = "false", tag = "4")]
    blocksizes: Vec<u64>,
}

/// One link of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// The block linked to.
    pub(super) cid: Cid,
    /// What it is: a leaf or a node.
    pub(super) codec: Codec,
    /// Octets of the resource below it: its `blocksize`.
    pub(super) size: u64,
    /// Octets of all blocks below it, itself included: its `Tsize`.
    pub(super) tsize: u64,
}

/// A node, consistent in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// In the order of the resource; at least one, at most 1024.
    pub(super) links: Vec<Link>,
    /// Octets of the resource below it: its `filesize`, the sum of the links' sizes.
    pub(super) size: u64,
    /// Octets of all blocks below it, itself included.
    pub(super) tsize: u64,
}

/// Why a dag-pb block is no interior node of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// More octets than a node of 1024 links has ([`limits::NODE`]).
    #[error("a node of {0} octets is too large")]
    TooLarge(usize),
    /// Not dag-pb, or the data no UnixFS message.
    #[error("not a dag-pb node around a UnixFS message")]
    Malformed,
    /// It can be read, but written again it would have other octets.
    #[error("not in canonical form")]
    NotCanonical,
    /// A directory, a symbolic link or another thing that is no file (UnixFS `Data.Type`).
    #[error("UnixFS type {0} is not a file")]
    NotAFile(i32),
    /// Octets of the resource stand in the node itself.
    #[error("a node with inline data")]
    InlineData,
    /// A node without links.
    #[error("a node without links")]
    NoLinks,
    /// More links than a node may have ([`limits::LINKS`]).
    #[error("a node of {0} links")]
    TooManyLinks(usize),
    /// A link with a name: a directory's.
    #[error("a link with a name")]
    NamedLink,
    /// A link to something that is not read.
    #[error(transparent)]
    Link(#[from] CidError),
    /// A link to a block that is neither a leaf nor a node.
    #[error("a link to a dag-cbor block")]
    LinkCodec,
    /// Not as many blocksizes as links.
    #[error("{blocksizes} sizes for {links} links")]
    SizesCount {
        /// How many links there are.
        links: usize,
        /// How many sizes there are.
        blocksizes: usize,
    },
    /// A link to no octets: such a DAG could be endless.
    #[error("a link to an empty block")]
    EmptyLink,
    /// A leaf larger than a block, or a Tsize that no block of that size can have.
    #[error("a link whose sizes cannot be")]
    LinkSize,
    /// The filesize is missing, is not the sum of the blocksizes, or overflows.
    #[error("filesize and blocksizes differ")]
    FileSize,
}

impl Faulty for NodeError {
    fn fault(&self) -> Fault {
        match self {
            NodeError::TooLarge(_) | NodeError::TooManyLinks(_) => Fault::TooLarge,
            _ => Fault::Malformed,
        }
    }
}

impl Node {
    /// Reads a node and checks everything that can be known without its children.
    pub(super) fn read(bytes: &Bytes) -> Result<Self, NodeError> {
        if bytes.len() > limits::NODE {
            return Err(NodeError::TooLarge(bytes.len()));
        }
        let outer = PbNode::from_bytes(bytes.clone()).map_err(|_| NodeError::Malformed)?;
        let data = outer.data.as_ref().ok_or(NodeError::Malformed)?;
        let inner = Data::decode(data.as_ref()).map_err(|_| NodeError::Malformed)?;
        check_form(&outer, &inner)?;
        let links = read_links(&outer, &inner)?;
        if write(&links).as_ref() != Some(bytes) {
            return Err(NodeError::NotCanonical);
        }
        Node::of(links, bytes.len())
    }

    /// The node above `links`, as a block's octets and what its own link must say. The links' sizes are the importer's
    /// own and cannot overflow.
    pub(super) fn above(links: Vec<Link>) -> (Self, Bytes) {
        let bytes = write(&links).expect("an imported resource has fewer than 2^64 octets");
        let node = Node::of(links, bytes.len()).expect("an imported resource has fewer than 2^64 octets");
        (node, bytes)
    }

    fn of(links: Vec<Link>, length: usize) -> Result<Self, NodeError> {
        let mut tsize = length as u64;
        for link in &links {
            tsize = tsize.checked_add(link.tsize).ok_or(NodeError::LinkSize)?;
        }
        let size = sum(&links).ok_or(NodeError::FileSize)?;
        Ok(Node { links, size, tsize })
    }
}

/// What the UnixFS message must say, given the node around it.
fn check_form(outer: &PbNode, inner: &Data) -> Result<(), NodeError> {
    let links = outer.links.len();
    if inner.kind != FILE {
        return Err(NodeError::NotAFile(inner.kind));
    }
    if inner.data.is_some() {
        return Err(NodeError::InlineData);
    }
    if links == 0 {
        return Err(NodeError::NoLinks);
    }
    if links > limits::LINKS {
        return Err(NodeError::TooManyLinks(links));
    }
    if inner.blocksizes.len() != links {
        return Err(NodeError::SizesCount {
            links,
            blocksizes: inner.blocksizes.len(),
        });
    }
    let total = inner
        .blocksizes
        .iter()
        .try_fold(0_u64, |sum, size| sum.checked_add(*size));
    if total.is_none() || inner.filesize != total {
        return Err(NodeError::FileSize);
    }
    Ok(())
}

fn read_links(outer: &PbNode, inner: &Data) -> Result<Vec<Link>, NodeError> {
    outer
        .links
        .iter()
        .zip(&inner.blocksizes)
        .map(|(link, size)| read_link(link, *size))
        .collect()
}

fn read_link(link: &PbLink, size: u64) -> Result<Link, NodeError> {
    if link.name.as_deref().is_some_and(|name| !name.is_empty()) {
        return Err(NodeError::NamedLink);
    }
    let codec = cid::check(&link.cid)?;
    let tsize = link.size.ok_or(NodeError::LinkSize)?;
    if size == 0 {
        return Err(NodeError::EmptyLink);
    }
    let possible = match codec {
        Codec::Raw => size <= limits::BLOCK as u64 && tsize == size,
        Codec::DagPb => tsize > size,
        Codec::DagCbor => return Err(NodeError::LinkCodec),
    };
    if !possible {
        return Err(NodeError::LinkSize);
    }
    Ok(Link {
        cid: link.cid,
        codec,
        size,
        tsize,
    })
}

/// The canonical octets; none when the sizes overflow.
fn write(links: &[Link]) -> Option<Bytes> {
    let data = Data {
        kind: FILE,
        data: None,
        filesize: Some(sum(links)?),
        blocksizes: links.iter().map(|link| link.size).collect(),
    };
    let node = PbNode {
        links: links
            .iter()
            .map(|link| PbLink {
                cid: link.cid,
                name: Some(String::new()),
                size: Some(link.tsize),
            })
            .collect(),
        data: Some(data.encode_to_vec().into()),
    };
    Some(node.into_bytes().into())
}

fn sum(links: &[Link]) -> Option<u64> {
    links
        .iter()
        .try_fold(0_u64, |sum, link| sum.checked_add(link.size))
}

#[cfg(test)]
mod tests;
