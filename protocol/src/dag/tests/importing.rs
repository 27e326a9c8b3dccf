//! The importer: equal to other hands, and frugal.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use proptest::prelude::*;
use serde::Deserialize;

use super::{SMALL, import, pattern};
use crate::dag::node::Node;
use crate::dag::{Codec, Importer, VerifiedBlock};
use crate::limits;

#[derive(Deserialize)]
struct Vectors {
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    content: String,
    size: u64,
    root: String,
    sha256: String,
    blocks: usize,
    tsize: Option<u64>,
    node: Option<String>,
}

/// The octets of a vector, in pieces that fit no leaf.
fn pieces(vector: &Resource) -> impl Iterator<Item = Bytes> + '_ {
    const PIECE: u64 = 300_007;
    static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];
    (0..vector.size.div_ceil(PIECE)).map(|n| {
        let from = n * PIECE;
        let to = vector.size.min(from + PIECE);
        match vector.content.as_str() {
            "zero" => Bytes::from_static(&ZEROS[..(to - from) as usize]),
            "pattern" => (from..to).map(pattern).collect::<Vec<_>>().into(),
            other => panic!("unknown content {other}"),
        }
    })
}

fn vectors() -> Vec<Resource> {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../../../vectors/resources.json")).expect("the vectors are JSON");
    vectors.resources
}

#[test]
fn the_specification_shows_the_vectors() {
    let text = include_str!("../../../spec/resources.md");
    let shown = super::examples(text);
    assert_eq!(shown.len(), 2);
    let vectors = vectors();
    for octets in shown {
        assert!(vectors.iter().any(|vector| vector.node.as_ref() == Some(&octets)));
    }
    let listed = vectors
        .iter()
        .filter(|vector| text.contains(&vector.root))
        .count();
    assert_eq!(listed, 5);
}

#[test]
fn resources_have_the_cids_that_other_implementations_of_the_profile_give() {
    for vector in vectors() {
        let mut importer = Importer::new();
        let mut count = 0;
        let mut last = None;
        let mut keep = |blocks: Vec<VerifiedBlock>| {
            count += blocks.len();
            last = blocks.into_iter().next_back().or(last.take());
        };
        for piece in pieces(&vector) {
            keep(importer.push(piece));
        }
        let mut resource = importer.finish();
        keep(std::mem::take(&mut resource.blocks));
        let what = format!("{} octets of {}", vector.size, vector.content);
        assert_eq!(resource.root.to_string(), vector.root, "{what}");
        assert_eq!(resource.size, vector.size, "{what}");
        assert_eq!(HEXLOWER.encode(&resource.sha256), vector.sha256, "{what}");
        assert_eq!(count, vector.blocks, "{what}");
        if let Some(tsize) = vector.tsize {
            let root = last.expect("it has blocks");
            assert_eq!(*root.cid(), resource.root, "{what}: the root comes last");
            let node = Node::read(root.bytes()).expect("the root is a node");
            assert_eq!((node.size, node.tsize), (vector.size, tsize), "{what}");
            if let Some(octets) = &vector.node {
                assert_eq!(&HEXLOWER.encode(root.bytes()), octets, "{what}");
            }
        }
    }
}

#[test]
fn a_leaf_within_one_piece_is_not_copied() {
    let piece = Bytes::from(vec![1; 3 * limits::LEAF]);
    let mut importer = Importer::new();
    let blocks = importer.push(piece.clone());
    assert_eq!(blocks.len(), 3);
    for (n, block) in blocks.iter().enumerate() {
        assert_eq!(block.bytes().as_ptr(), piece[n * limits::LEAF..].as_ptr());
    }
}

#[test]
fn an_imported_resource_is_complete_without_further_blocks_when_its_last_node_was_full() {
    let octets = Bytes::from(vec![0; SMALL.leaf * SMALL.links]);
    let mut importer = Importer::with_profile(SMALL);
    let blocks = importer.push(octets);
    let resource = importer.finish();
    assert!(resource.blocks.is_empty());
    assert_eq!(blocks.last().map(VerifiedBlock::cid), Some(&resource.root));
}

#[test]
fn a_resource_of_one_leaf_is_named_by_its_plain_hash() {
    for size in [0, 1, limits::LEAF] {
        let mut importer = Importer::new();
        let early = importer.push(vec![9; size].into());
        let resource = importer.finish();
        assert_eq!(resource.root, Codec::Raw.cid(resource.sha256));
        assert_eq!(early.len() + resource.blocks.len(), 1);
    }
}

proptest! {
    #[test]
    fn the_pieces_in_which_octets_come_do_not_matter(
        octets in proptest::collection::vec(any::<u8>(), 0..700),
        piece in 1usize..80,
    ) {
        let octets = Bytes::from(octets);
        let apart = import(SMALL, &octets, piece);
        let whole = import(SMALL, &octets, usize::MAX);
        prop_assert_eq!(apart.resource.root, whole.resource.root);
        prop_assert_eq!(apart.resource.sha256, whole.resource.sha256);
        prop_assert_eq!(apart.blocks, whole.blocks);
    }

    #[test]
    fn every_node_that_is_written_is_read(size in 0usize..3000) {
        let stored = import(SMALL, &super::pattern_of(size), 1000);
        for (cid, bytes) in &stored.blocks {
            if cid.codec() == Codec::DagPb.code() {
                let node = Node::read(bytes).expect("it was written here");
                prop_assert!(node.links.len() <= SMALL.links);
            }
        }
    }
}
