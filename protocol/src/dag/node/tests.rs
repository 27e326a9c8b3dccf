//! Nodes that are none: row C03, and C04 as far as one node shows it.

use bytes::Bytes;
use ipld_dagpb::{PbLink, PbNode};
use proptest::prelude::*;
use prost::Message;

use super::{Data, FILE, Node, NodeError};
use crate::dag::Codec;
use crate::dag::cid::CidError;

/// A node of two leaves of 7 and 5 octets, before somebody spoils it.
fn parts() -> (PbNode, Data) {
    let link = |octet: u8, size: u64| PbLink {
        cid: Codec::Raw.cid([octet; 32]),
        name: Some(String::new()),
        size: Some(size),
    };
    let outer = PbNode {
        links: vec![link(1, 7), link(2, 5)],
        data: None,
    };
    let inner = Data {
        kind: FILE,
        data: None,
        filesize: Some(12),
        blocksizes: vec![7, 5],
    };
    (outer, inner)
}

fn octets(mut outer: PbNode, inner: &Data) -> Bytes {
    outer.data = Some(inner.encode_to_vec().into());
    outer.into_bytes().into()
}

/// What a node is refused with, after `spoil` has changed it.
fn refusal(spoil: impl FnOnce(&mut PbNode, &mut Data)) -> NodeError {
    let (mut outer, mut inner) = parts();
    spoil(&mut outer, &mut inner);
    Node::read(&octets(outer, &inner)).expect_err("it was spoilt")
}

/// What a node is refused with, whose UnixFS message has `more` fields behind its own.
fn refusal_of_data(data: &[u8]) -> NodeError {
    let (mut outer, _) = parts();
    outer.data = Some(Bytes::copy_from_slice(data));
    Node::read(&outer.into_bytes().into()).expect_err("it was spoilt")
}

#[test]
fn a_right_node_is_read() {
    let (outer, inner) = parts();
    let bytes = octets(outer, &inner);
    let node = Node::read(&bytes).expect("it is right");
    assert_eq!((node.size, node.tsize), (12, 12 + bytes.len() as u64));
    assert_eq!(node.links.len(), 2);
}

#[test]
fn c03_what_is_no_file_is_refused() {
    for kind in [0, 1, 3, 4, 5, 6, -1] {
        assert_eq!(refusal(|_, inner| inner.kind = kind), NodeError::NotAFile(kind));
    }
    assert_eq!(
        refusal(|_, inner| inner.data = Some(b"x".to_vec())),
        NodeError::InlineData
    );
    assert_eq!(
        refusal(|_, inner| inner.data = Some(Vec::new())),
        NodeError::InlineData
    );
    assert_eq!(
        refusal(|outer, _| outer.links[1].name = Some("b.txt".into())),
        NodeError::NamedLink
    );
    assert_eq!(
        refusal(|outer, _| outer.links[1].cid = Codec::DagCbor.cid([2; 32])),
        NodeError::LinkCodec
    );
    assert_eq!(
        refusal(|outer, inner| {
            outer.links.clear();
            inner.blocksizes.clear();
            inner.filesize = Some(0);
        }),
        NodeError::NoLinks
    );
}

#[test]
fn c04_sizes_that_contradict_each_other_are_refused() {
    assert_eq!(refusal(|_, inner| inner.filesize = Some(13)), NodeError::FileSize);
    assert_eq!(refusal(|_, inner| inner.filesize = None), NodeError::FileSize);
    assert_eq!(
        refusal(|_, inner| inner.blocksizes = vec![u64::MAX, 1]),
        NodeError::FileSize
    );
    assert_eq!(
        refusal(|_, inner| inner.blocksizes = vec![12]),
        NodeError::SizesCount {
            links: 2,
            blocksizes: 1
        }
    );
    assert_eq!(
        refusal(|_, inner| inner.blocksizes = vec![12, 0]),
        NodeError::LinkSize
    );
    assert_eq!(
        refusal(|outer, inner| {
            outer.links[1].size = Some(0);
            inner.blocksizes = vec![7, 0];
            inner.filesize = Some(7);
        }),
        NodeError::EmptyLink
    );
    assert_eq!(
        refusal(|outer, _| outer.links[0].size = None),
        NodeError::LinkSize
    );
    assert_eq!(
        refusal(|outer, _| outer.links[0].size = Some(8)),
        NodeError::LinkSize
    );
    assert_eq!(
        refusal(|outer, inner| {
            outer.links[0].size = Some(3 << 20);
            inner.blocksizes = vec![3 << 20, 5];
            inner.filesize = Some((3 << 20) + 5);
        }),
        NodeError::LinkSize
    );
    // A node below cannot have fewer octets in all than it has of the resource.
    assert_eq!(
        refusal(|outer, _| outer.links[0].cid = Codec::DagPb.cid([1; 32])),
        NodeError::LinkSize
    );
}

#[test]
fn c03_only_the_canonical_form_is_read() {
    let (outer, inner) = parts();
    let right = octets(outer.clone(), &inner);
    let data = inner.encode_to_vec();

    // A link without its empty name.
    let mut unnamed = outer.clone();
    unnamed.links[0].name = None;
    assert_eq!(Node::read(&octets(unnamed, &inner)), Err(NodeError::NotCanonical));

    // Data before links.
    let (links, tail) = right.split_at(right.len() - data.len() - 2);
    let swapped = [tail, links].concat().into();
    assert_eq!(Node::read(&swapped), Err(NodeError::NotCanonical));

    // The length of the data in two octets instead of one.
    let long = [links, &[0x0a, 0x80 | data.len() as u8, 0x00], &data[..]]
        .concat()
        .into();
    assert_eq!(Node::read(&long), Err(NodeError::NotCanonical));

    // The data twice.
    let twice = [&right[..], tail].concat().into();
    assert!(Node::read(&twice).is_err());
}

#[test]
fn c03_a_message_with_mode_or_time_or_in_another_form_is_refused() {
    let (_, inner) = parts();
    let data = inner.encode_to_vec();
    let mode = [&data[..], &[0x38, 0xa4, 0x03]].concat();
    assert_eq!(refusal_of_data(&mode), NodeError::NotCanonical);
    let mtime = [&data[..], &[0x42, 0x02, 0x08, 0x01]].concat();
    assert_eq!(refusal_of_data(&mtime), NodeError::NotCanonical);
    let unknown = [&data[..], &[0x78, 0x01]].concat();
    assert_eq!(refusal_of_data(&unknown), NodeError::NotCanonical);
    // type 2, filesize 12, blocksizes 7 and 5 as one packed list
    assert_eq!(
        refusal_of_data(&[0x08, 0x02, 0x18, 0x0c, 0x22, 0x02, 0x07, 0x05]),
        NodeError::NotCanonical
    );
    // the type behind everything else
    assert_eq!(
        refusal_of_data(&[0x18, 0x0c, 0x20, 0x07, 0x20, 0x05, 0x08, 0x02]),
        NodeError::NotCanonical
    );
    assert_eq!(refusal_of_data(b"\xff\xff"), NodeError::Malformed);
}

#[test]
fn c01_c02_a_link_to_what_is_not_read_is_refused() {
    let identity = ::cid::multihash::Multihash::wrap(0, b"hidden").expect("it is short");
    assert_eq!(
        refusal(|outer, _| outer.links[0].cid = ::cid::Cid::new_v1(0x55, identity)),
        NodeError::Link(CidError::Identity)
    );
    let version_zero = ::cid::Cid::new_v0(*Codec::DagPb.cid([3; 32]).hash()).expect("it is sha2-256");
    assert_eq!(
        refusal(|outer, _| outer.links[0].cid = version_zero),
        NodeError::Link(CidError::VersionZero)
    );
}

proptest! {
    #[test]
    fn c03_octets_by_chance_are_refused_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Node::read(&bytes.into()).is_err());
    }

    #[test]
    fn c03_a_node_with_changed_octets_is_refused_or_read_as_what_it_is(at in any::<proptest::sample::Index>(), octet in any::<u8>(), cut in any::<proptest::sample::Index>()) {
        let (outer, inner) = parts();
        let right = octets(outer, &inner);
        let mut changed = right.to_vec();
        changed[at.index(right.len())] = octet;
        if let Ok(node) = Node::read(&changed.clone().into()) {
            let (_, written) = Node::above(node.links);
            prop_assert_eq!(&changed[..], &written[..]);
        }
        prop_assert!(Node::read(&right.slice(..cut.index(right.len()))).is_err());
    }
}
