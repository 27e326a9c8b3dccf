//! What is seen of a stream, however it is cut into pieces.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use cargomail_protocol::dag::{Codec, VerifiedBlock};
use cargomail_protocol::exchange::{End, Grant, Refused};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const ENDS: (IpAddr, IpAddr) = (
    IpAddr::V4(Ipv4Addr::new(127, 128, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(127, 128, 0, 2)),
);

/// What was seen when an origin said these frames, so many octets at a time.
async fn seen(frames: Vec<Frame>, piece: usize) -> Came {
    let witness = Witness::default();
    let (mut origin, destination) = tokio::io::duplex(1 << 20);
    let mut destination = witness.sees(destination, ENDS.0, ENDS.1);
    for part in frames.into_iter().flat_map(Frame::encode) {
        origin.write_all(&part).await.unwrap();
    }
    drop(origin);
    let mut read = vec![0; piece];
    while destination.read(&mut read).await.unwrap() > 0 {}
    witness.came().remove(&ENDS).unwrap_or_default()
}

fn block() -> VerifiedBlock {
    VerifiedBlock::hash(Codec::Raw, vec![7; 1000].into()).unwrap()
}

#[tokio::test]
async fn content_is_seen_with_its_grant() {
    let root = *block().cid();
    for piece in [1, 7, 1 << 16] {
        let grant = Frame::Granted(vec![Grant { root, size: 1000 }]);
        let end = Frame::End(End {
            blocks: 1,
            bytes: 1000,
        });
        let content = Frame::Block(block().into_bytes().into());
        let behind = length(content.clone()) + length(end.clone());
        let came = seen(vec![grant, content, end], piece).await;
        assert_eq!((came.octets, came.ungranted), (behind, 0));
        assert!(came.roots.into_iter().eq([root.to_string()]));
    }
}

#[tokio::test]
async fn content_without_a_grant_is_seen_as_that() {
    for piece in [1, 7, 1 << 16] {
        let came = seen(vec![Frame::Block(block().into_bytes().into())], piece).await;
        assert!(came.ungranted > 1000 && came.octets == 0 && came.roots.is_empty());
    }
}

#[tokio::test]
async fn what_has_no_content_is_not_seen() {
    let root = *block().cid();
    for said in [
        Frame::Noted,
        Frame::Refused(Refused::default()),
        Frame::Granted(vec![Grant { root, size: 1000 }]),
    ] {
        let came = seen(vec![said], 3).await;
        assert!(came.octets == 0 && came.ungranted == 0 && came.roots.is_empty());
    }
}

#[tokio::test]
async fn content_behind_a_refusal_or_a_noted_receipt_is_seen_as_without_a_grant() {
    for answer in [Frame::Noted, Frame::Refused(Refused::default())] {
        for piece in [1, 7, 1 << 16] {
            let content = Frame::Block(block().into_bytes().into());
            let came = seen(vec![answer.clone(), content.clone()], piece).await;
            assert_eq!((came.octets, came.ungranted), (0, length(content)));
        }
    }
}
