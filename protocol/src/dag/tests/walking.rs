//! The walk: gives the octets back, and nothing else through. Rows C03, C04, C05.

use std::collections::HashMap;

use ::cid::Cid;
use bytes::Bytes;
use proptest::prelude::*;

use super::{SMALL, Stored, import, pattern_of, read};
use crate::dag::node::{Link, Node};
use crate::dag::{
    BlockError, Codec, Expected, Importer, Kind, NodeError, Profile, Step, VerifiedBlock, Walk, WalkError,
};
use crate::limits;

fn walk(stored: &Stored) -> Walk {
    let resource = &stored.resource;
    Walk::with_profile(SMALL, resource.root, resource.size, 0..resource.size).expect("it was imported")
}

/// All blocks of a walk, in order.
fn visits(mut walk: Walk, blocks: &HashMap<Cid, Bytes>) -> Vec<Expected> {
    let mut visits = Vec::new();
    while let Some(next) = walk.next() {
        visits.push(next);
        walk.trust(&blocks[&next.cid]).expect("the store is right");
    }
    visits
}

/// A node above equal children, and the link to it.
fn above(child: Link, count: usize) -> (Link, Bytes) {
    let (node, bytes) = Node::above(vec![child; count]);
    let block = VerifiedBlock::hash(Codec::DagPb, bytes.clone()).expect("a node is small");
    let link = Link {
        cid: *block.cid(),
        codec: Codec::DagPb,
        size: node.size,
        tsize: node.tsize,
    };
    (link, bytes)
}

fn leaf(octets: &'static [u8]) -> (Link, Bytes) {
    let block = VerifiedBlock::hash(Codec::Raw, octets.into()).expect("a leaf is small");
    let link = Link {
        cid: *block.cid(),
        codec: Codec::Raw,
        size: octets.len() as u64,
        tsize: octets.len() as u64,
    };
    (link, block.into_bytes())
}

/// A tower of equal nodes above one leaf.
fn tower(octets: &'static [u8], width: usize, height: usize) -> (Link, HashMap<Cid, Bytes>) {
    let (mut link, bytes) = leaf(octets);
    let mut blocks = HashMap::from([(link.cid, bytes)]);
    for _ in 0..height {
        let (upper, bytes) = above(link, width);
        blocks.insert(upper.cid, bytes);
        link = upper;
    }
    (link, blocks)
}

#[test]
fn an_empty_resource_is_one_empty_leaf() {
    let resource = Importer::new().finish();
    let mut walk = Walk::new(resource.root, 0).expect("it was imported");
    assert_eq!(walk.next().map(|next| next.longest()), Some(0));
    let (_, step) = walk.verify(Bytes::new()).expect("it is the block");
    assert_eq!(
        step,
        Step::Leaf {
            offset: 0,
            content: Bytes::new()
        }
    );
    assert!(walk.is_complete());
    assert!(Walk::resume(resource.root, 0, 0).is_ok());
    assert_eq!(walk.verify(Bytes::new()), Err(WalkError::Complete));
}

#[test]
fn the_real_profile_says_how_long_each_block_may_be() {
    let octets = Bytes::from(vec![5; 2 * limits::LEAF + 10]);
    let stored = import(Profile::UNIXFS_V1_2025, &octets, limits::LEAF);
    let walk = Walk::new(stored.resource.root, stored.resource.size).expect("it was imported");
    let lengths: Vec<usize> = visits(walk, &stored.blocks)
        .iter()
        .map(Expected::longest)
        .collect();
    assert_eq!(lengths, [limits::NODE, limits::LEAF, limits::LEAF, 10]);
    let walk = Walk::resume(stored.resource.root, stored.resource.size, 2).expect("a leaf is left");
    let offsets: Vec<u64> = visits(walk, &stored.blocks)
        .iter()
        .map(|next| next.offset)
        .collect();
    assert_eq!(offsets, [0, 2 * limits::LEAF as u64]);
}

#[test]
fn a_part_that_is_not_there_cannot_be_walked() {
    let root = Codec::DagPb.cid([1; 32]);
    for (from, to) in [(0, 101), (100, 100), (5, 5), (9, 3), (100, 101)] {
        let size = 100;
        let error = Walk::range(root, size, from..to).expect_err("it is not there");
        assert_eq!(error, WalkError::Part { from, to, size });
    }
    assert!(Walk::resume(root, 100, 1).is_err());
    assert!(Walk::resume(root, 100, u64::MAX).is_err());
    assert!(Walk::resume(root, 100, 0).is_ok());
}

#[test]
fn c04_an_announced_size_above_the_bounds_is_refused() {
    let raw = Codec::Raw.cid([1; 32]);
    let node = Codec::DagPb.cid([1; 32]);
    let block = limits::BLOCK as u64;
    assert!(Walk::new(raw, block).is_ok());
    assert_eq!(
        Walk::new(raw, block + 1).map(drop),
        Err(WalkError::SingleBlock(block + 1))
    );
    assert!(Walk::new(node, limits::RESOURCE).is_ok());
    assert_eq!(
        Walk::new(node, u64::MAX).map(drop),
        Err(WalkError::TooLarge(u64::MAX))
    );
}

#[test]
fn c04_a_self_similar_dag_is_refused() {
    // Four blocks of a few kilobytes that say, consistently, that they are 1 GiB in leaves of one octet.
    let (root, blocks) = tower(b"x", limits::LINKS, 3);
    let mut walk = Walk::new(root.cid, root.size).expect("the size is allowed");
    let mut visited = 0;
    let error = loop {
        let next = walk.next().expect("it would go on for a billion blocks");
        if let Err(error) = walk.trust(&blocks[&next.cid]) {
            break error;
        }
        visited += 1;
    };
    assert_eq!(error, WalkError::TooManyBlocks);
    assert_eq!(visited, limits::DAG_BLOCKS + root.size / limits::DAG_GRAIN);
}

#[test]
fn c04_a_dag_of_nodes_without_octets_is_refused() {
    let (mut link, _) = leaf(b"x");
    link.size = 0;
    link.tsize = 0;
    let (_, bytes) = above(link, 3);
    assert_eq!(Node::read(&bytes), Err(NodeError::EmptyLink));
}

#[test]
fn c04_a_dag_deeper_than_the_bound_is_refused() {
    let (root, blocks) = tower(b"alice", 1, limits::DAG_DEPTH - 1);
    let mut walk = Walk::new(root.cid, 5).expect("the size is allowed");
    assert_eq!(read(&mut walk, &blocks), Ok(b"alice".to_vec()));

    let (root, blocks) = tower(b"alice", 1, limits::DAG_DEPTH);
    let mut walk = Walk::new(root.cid, 5).expect("the size is allowed");
    assert_eq!(read(&mut walk, &blocks), Err(WalkError::TooDeep));
}

#[test]
fn c04_a_million_links_are_refused_before_they_are_read() {
    let (link, _) = leaf(b"x");
    let (_, bytes) = Node::above(vec![link; 1_000_000]);
    assert!(matches!(Node::read(&bytes), Err(NodeError::TooLarge(_))));
    let (_, bytes) = above(link, limits::LINKS + 1);
    assert_eq!(
        Node::read(&bytes),
        Err(NodeError::TooManyLinks(limits::LINKS + 1))
    );
}

#[test]
fn c04_a_node_of_the_longest_links_fits_the_bound() {
    let (mut link, _) = leaf(b"x");
    link.codec = Codec::DagPb;
    link.cid = Codec::DagPb.cid([0xff; 32]);
    link.size = limits::RESOURCE;
    link.tsize = 2 * limits::RESOURCE;
    let (_, bytes) = above(link, limits::LINKS);
    assert!(bytes.len() <= limits::NODE, "{}", bytes.len());
    assert!(Node::read(&bytes).is_ok());
}

#[test]
fn c04_a_size_other_than_announced_is_refused() {
    let stored = import(SMALL, &pattern_of(100), 100);
    let root = stored.resource.root;
    for announced in [0, 1, 99, 101, 1000] {
        let mut walk = Walk::with_profile(SMALL, root, announced, 0..announced).expect("a size is a size");
        assert_eq!(
            read(&mut walk, &stored.blocks),
            Err(WalkError::Size {
                announced,
                found: 100
            })
        );
    }
    let (raw, bytes) = leaf(b"seven..");
    let mut walk = Walk::new(raw.cid, 8).expect("a size is a size");
    let lie = WalkError::Size {
        announced: 8,
        found: 7,
    };
    assert_eq!(walk.verify(bytes), Err(lie));
}

#[test]
fn c04_a_link_that_lies_about_the_sizes_below_is_refused() {
    let (honest, bytes) = leaf(b"four");
    // A leaf said to be longer than it is.
    let lie = Link {
        size: 5,
        tsize: 5,
        ..honest
    };
    let (root, node) = above(lie, 2);
    let blocks = HashMap::from([(honest.cid, bytes.clone()), (root.cid, node)]);
    let mut walk = Walk::new(root.cid, 10).expect("a size is a size");
    let size = WalkError::Size {
        announced: 5,
        found: 4,
    };
    assert_eq!(read(&mut walk, &blocks), Err(size));

    // A node whose link says a wrong Tsize.
    let (inner, inner_bytes) = above(honest, 2);
    let lie = Link {
        tsize: inner.tsize + 1,
        ..inner
    };
    let (root, node) = above(lie, 1);
    let blocks = HashMap::from([(honest.cid, bytes), (inner.cid, inner_bytes), (root.cid, node)]);
    let mut walk = Walk::new(root.cid, 8).expect("a size is a size");
    assert!(matches!(read(&mut walk, &blocks), Err(WalkError::Tsize { .. })));
}

#[test]
fn c03_octets_under_the_wrong_codec_are_refused() {
    let block = VerifiedBlock::hash(Codec::DagPb, Bytes::from_static(b"just text")).expect("it is small");
    let mut walk = Walk::new(*block.cid(), 9).expect("the size is allowed");
    assert_eq!(
        walk.verify(block.into_bytes()),
        Err(WalkError::Node(NodeError::Malformed))
    );
    // The same digest under another codec is another name.
    let raw = VerifiedBlock::hash(Codec::Raw, Bytes::from_static(b"just text")).expect("it is small");
    let pb = Codec::DagPb.cid(crate::dag::cid::digest(raw.cid()).expect("it is ours"));
    assert_ne!(*raw.cid(), pb);
}

#[test]
fn c03_a_dag_cbor_block_is_one_leaf_and_its_links_are_not_followed() {
    let octets = Bytes::from_static(&[0xa0]);
    let block = VerifiedBlock::hash(Codec::DagCbor, octets.clone()).expect("it is small");
    let mut walk = Walk::new(*block.cid(), 1).expect("the size is allowed");
    assert_eq!(walk.next().map(|next| next.kind), Some(Kind::Leaf));
    walk.verify(octets).expect("it is the block");
    assert!(walk.is_complete());
}

#[test]
fn c05_a_block_that_is_too_large_is_refused() {
    let octets = Bytes::from(vec![0; limits::BLOCK + 1]);
    let too_large = BlockError::TooLarge(limits::BLOCK + 1);
    assert_eq!(VerifiedBlock::hash(Codec::Raw, octets.clone()), Err(too_large));
    assert_eq!(
        VerifiedBlock::check(Codec::Raw.cid([0; 32]), octets.clone()),
        Err(too_large)
    );
    assert!(VerifiedBlock::hash(Codec::Raw, octets.slice(1..)).is_ok());
}

#[test]
fn c05_a_block_that_nobody_asked_for_is_refused_and_the_right_one_still_taken() {
    let stored = import(SMALL, &pattern_of(40), 40);
    let mut walk = walk(&stored);
    let root = stored.blocks[&stored.resource.root].clone();
    let other = stored
        .blocks
        .values()
        .find(|bytes| **bytes != root)
        .expect("it has leaves");
    assert!(matches!(
        walk.verify(other.clone()),
        Err(WalkError::Block(BlockError::Mismatch(_)))
    ));
    assert!(walk.verify(root).is_ok());
}

#[test]
fn only_leaves_can_be_passed_and_passing_shows_what_is_missing() {
    let octets = pattern_of(100);
    let stored = import(SMALL, &octets, 100);
    let mut walk = walk(&stored);
    let mut held = 0;
    // The first four leaves are held.
    while let Some(next) = walk.next() {
        match next.kind {
            Kind::Node => {
                assert_eq!(walk.pass(), Err(WalkError::NotALeaf));
                walk.trust(&stored.blocks[&next.cid]).expect("the store is right");
            }
            Kind::Leaf if held < 4 => {
                walk.pass().expect("it is a leaf");
                held += 1;
            }
            Kind::Leaf => break,
        }
    }
    assert_eq!((walk.position(), walk.leaves()), (64, 4));
    let size = stored.resource.size;
    let mut rest =
        Walk::resume_with(SMALL, stored.resource.root, size, walk.leaves()).expect("some are left");
    assert_eq!(read(&mut rest, &stored.blocks), Ok(octets[64..].to_vec()));
}

#[test]
fn what_is_missing_is_left_out_with_everything_below_it() {
    let stored = import(SMALL, &pattern_of(2000), 100);
    let all = visits(walk(&stored), &stored.blocks);
    let missing = all
        .iter()
        .position(|next| next.kind == Kind::Node && next.cid != stored.resource.root)
        .expect("it has nodes below the root");
    let lost = all[missing];
    let mut walk = walk(&stored);
    let mut visited = Vec::new();
    while let Some(next) = walk.next() {
        if next.cid == lost.cid {
            walk.leave_out().expect("a node comes next");
        } else {
            visited.push(next);
            walk.trust(&stored.blocks[&next.cid]).expect("the store is right");
        }
    }
    let below = |next: &&Expected| {
        (lost.offset..lost.offset + lost.size).contains(&next.offset) && next.cid != stored.resource.root
    };
    let expected: Vec<_> = all.iter().filter(|next| !below(next)).copied().collect();
    assert_eq!(visited, expected);
    assert!(walk.is_complete());
    assert_eq!(walk.leave_out(), Err(WalkError::Complete));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_walk_gives_back_what_was_imported(size in 0usize..4000, piece in 1usize..900) {
        let octets = pattern_of(size);
        let stored = import(SMALL, &octets, piece);
        let mut walk = walk(&stored);
        prop_assert_eq!(read(&mut walk, &stored.blocks), Ok(octets.to_vec()));
        prop_assert!(walk.is_complete());
        prop_assert_eq!(walk.position(), size as u64);
    }

    #[test]
    fn a_range_gives_exactly_its_octets(size in 1usize..2000, ends in any::<[proptest::sample::Index; 2]>()) {
        let octets = pattern_of(size);
        let stored = import(SMALL, &octets, 512);
        let [a, b] = ends.map(|end| end.index(size + 1));
        let (from, to) = (a.min(b), a.max(b));
        prop_assume!(from < to);
        let mut walk = Walk::with_profile(SMALL, stored.resource.root, size as u64, from as u64..to as u64).expect("it is within");
        prop_assert_eq!(read(&mut walk, &stored.blocks), Ok(octets[from..to].to_vec()));
    }

    #[test]
    fn a_resume_visits_exactly_what_covers_later_octets(size in 1usize..3000, skip in any::<proptest::sample::Index>()) {
        let stored = import(SMALL, &pattern_of(size), 512);
        let leaves = size.div_ceil(SMALL.leaf);
        let skip = skip.index(leaves) as u64;
        let from = skip * SMALL.leaf as u64;
        let resumed = Walk::resume_with(SMALL, stored.resource.root, size as u64, skip).expect("a leaf is left");
        prop_assert_eq!(resumed.leaves(), skip);
        let mut expected = visits(walk(&stored), &stored.blocks);
        expected.retain(|visit| visit.offset + visit.size > from);
        prop_assert_eq!(visits(resumed, &stored.blocks), expected);
    }

    #[test]
    fn c05_any_mutation_of_any_block_is_refused(size in 0usize..600, which in any::<proptest::sample::Index>(), bit in any::<proptest::sample::Index>()) {
        let octets = pattern_of(size);
        let stored = import(SMALL, &octets, 512);
        let order = visits(walk(&stored), &stored.blocks);
        let target = which.index(order.len());
        let mut walk = walk(&stored);
        for (n, visit) in order.iter().enumerate() {
            let right = stored.blocks[&visit.cid].clone();
            if n == target {
                let mut wrong = right.to_vec();
                if wrong.is_empty() {
                    wrong.push(0);
                } else {
                    let at = bit.index(wrong.len() * 8);
                    wrong[at / 8] ^= 1 << (at % 8);
                }
                let refused = walk.verify(wrong.into());
                prop_assert!(matches!(refused, Err(WalkError::Block(BlockError::Mismatch(_)))));
                prop_assert!(right.is_empty() || walk.verify(right.slice(1..)).is_err());
            }
            prop_assert!(walk.verify(right).is_ok());
        }
        prop_assert!(walk.is_complete());
    }
}
