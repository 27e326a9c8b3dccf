//! What several of the DAG's tests need.

mod cids;
mod importing;
mod walking;

use std::collections::HashMap;

use ::cid::Cid;
use bytes::Bytes;

use super::{Imported, Importer, Profile, Step, VerifiedBlock, Walk, WalkError};

/// A profile so small that a few hundred octets make a tree of several levels.
pub(crate) const SMALL: Profile = Profile {
    leaf: 16,
    links: 3,
    grain: 1,
};

/// A resource and where its blocks are.
pub(crate) struct Stored {
    pub(crate) resource: Imported,
    pub(crate) blocks: HashMap<Cid, Bytes>,
}

/// Octet `x` of the vectors' pattern.
pub(crate) fn pattern(x: u64) -> u8 {
    ((x * x + x / 251) % 256) as u8
}

pub(crate) fn pattern_of(size: usize) -> Bytes {
    (0..size as u64).map(pattern).collect::<Vec<_>>().into()
}

/// Imports `octets` in pieces of `piece`.
pub(crate) fn import(profile: Profile, octets: &Bytes, piece: usize) -> Stored {
    let mut importer = Importer::with_profile(profile);
    let mut blocks = HashMap::new();
    let mut keep = |made: &[VerifiedBlock]| {
        for block in made {
            blocks.insert(*block.cid(), block.bytes().clone());
        }
    };
    let mut rest = octets.clone();
    while !rest.is_empty() {
        keep(&importer.push(rest.split_to(piece.min(rest.len()))));
    }
    let resource = importer.finish();
    keep(&resource.blocks);
    Stored { resource, blocks }
}

/// Walks to the end with blocks from a store; gives the content.
pub(crate) fn read(walk: &mut Walk, blocks: &HashMap<Cid, Bytes>) -> Result<Vec<u8>, WalkError> {
    let mut content = Vec::new();
    while let Some(next) = walk.next() {
        let bytes = blocks.get(&next.cid).expect("every block was stored");
        if let (_, Step::Leaf { content: leaf, .. }) = walk.verify(bytes.clone())? {
            content.extend_from_slice(&leaf);
        }
    }
    Ok(content)
}

/// The octets, in hex, that a specification's text shows: indented lines of hex, with an explanation behind `;`.
pub(crate) fn examples(text: &str) -> Vec<String> {
    let hex_of = |line: &str| -> Option<String> {
        let octets = line.strip_prefix("    ")?.split(';').next()?;
        let hex: String = octets.split_whitespace().collect();
        hex.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(hex)
    };
    text.split("\n\n")
        .filter_map(|paragraph| paragraph.lines().map(hex_of).collect::<Option<String>>())
        .filter(|hex| !hex.is_empty())
        .collect()
}
