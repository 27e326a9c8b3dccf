//! Frames: written by other hands, read in one form, refused early.

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::super::{Decoder, End, Expect, Fetch, Frame, FrameError, Grant, Name, Refused, Want};
use super::octets;
use crate::dag::{BlockError, ClaimedBlock, Codec, VerifiedBlock, Walk, cid};
use crate::limits;

#[derive(Deserialize)]
struct Vectors {
    frames: Vec<Good>,
    refused: Vec<Bad>,
}

#[derive(Deserialize)]
struct Good {
    name: String,
    fields: Value,
    frame: String,
}

#[derive(Deserialize)]
struct Bad {
    why: String,
    expect: String,
    frame: String,
    error: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../vectors/exchange.json")).expect("the vectors are JSON")
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).expect("the vectors are hex")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The frame that a vector describes.
fn described(vector: &Good) -> Frame {
    let fields = &vector.fields;
    let root = |want: &Value| cid::from_text(&text(&want["root"])).expect("a CID");
    let wants = || fields["wants"].as_array().expect("a list").iter();
    let number = |value: &Value| value.as_u64().expect("a number");
    match vector.name.as_str() {
        "fetch" => Frame::Fetch(Fetch {
            token: text(&fields["token"]),
            notification: text(&fields["notification"]).into_bytes(),
            wants: wants()
                .map(|want| Want {
                    root: root(want),
                    skip: number(&want["skip"]),
                })
                .collect(),
        }),
        "granted" => Frame::Granted(
            wants()
                .map(|want| Grant {
                    root: root(want),
                    size: number(&want["size"]),
                })
                .collect(),
        ),
        "refused" => Frame::Refused(Refused {
            retry_after: fields["retry_after"].as_u64(),
        }),
        "block" => Frame::Block(hex(&text(&fields["octets"])).into()),
        "end" => Frame::End(End {
            blocks: number(&fields["blocks"]),
            bytes: number(&fields["bytes"]),
        }),
        "receipt" => Frame::Receipt(text(&fields["token"])),
        "noted" => Frame::Noted,
        other => panic!("unknown frame {other}"),
    }
}

/// When a frame of that name may come.
fn moment(name: Name) -> Expect {
    match name {
        Name::Fetch | Name::Receipt => Expect::Request,
        Name::Granted | Name::Refused => Expect::Answer,
        Name::Block => Expect::Block(limits::BLOCK),
        Name::End => Expect::End,
        Name::Noted => Expect::Noted,
    }
}

#[test]
fn frames_of_other_hands_are_read_and_written_the_same() {
    for vector in vectors().frames {
        let frame = described(&vector);
        assert_eq!(
            HEXLOWER.encode(&octets([frame.clone()])),
            vector.frame,
            "{}",
            vector.name
        );
        let mut decoder = Decoder::new();
        decoder.push(&hex(&vector.frame));
        assert_eq!(decoder.poll(moment(frame.name())), Ok(Some(frame)));
        assert!(decoder.is_empty());
    }
}

#[test]
fn the_specification_shows_the_vectors() {
    let shown = crate::dag::tests::examples(include_str!("../../../spec/exchange.md"));
    let frames: Vec<String> = vectors().frames.into_iter().map(|vector| vector.frame).collect();
    assert_eq!(shown.len(), frames.len() - 1, "all but the longer block");
    for octets in shown {
        assert!(frames.contains(&octets), "{octets}");
    }
}

#[test]
fn frames_that_may_not_be_are_refused_with_their_reason() {
    for vector in vectors().refused {
        let expect = match vector.expect.as_str() {
            "Request" => Expect::Request,
            "Answer" => Expect::Answer,
            "Block" => Expect::Block(4),
            "End" => Expect::End,
            "Noted" => Expect::Noted,
            "Nothing" => Expect::Nothing,
            other => panic!("unknown moment {other}"),
        };
        let mut decoder = Decoder::new();
        decoder.push(&hex(&vector.frame));
        let error = decoder.poll(expect).expect_err(&vector.why);
        assert_eq!(format!("{error:?}"), vector.error, "{}", vector.why);
    }
}

#[test]
fn c05_a_block_longer_than_the_one_that_comes_next_is_refused_by_its_head() {
    let [head, _] = Frame::Block(vec![0; 1000].into()).encode();
    let mut decoder = Decoder::new();
    decoder.push(&head);
    assert_eq!(
        decoder.poll(Expect::Block(999)),
        Err(FrameError::TooLong {
            name: Name::Block,
            length: 1000
        })
    );
    assert_eq!(decoder.poll(Expect::Block(1000)), Ok(None));
}

#[test]
fn the_bounds_of_a_fetch_and_of_its_grant_hold_the_largest_notification() {
    let root = |n: usize| {
        let mut digest = [0xff; 32];
        digest[..8].copy_from_slice(&(n as u64).to_be_bytes());
        Codec::DagPb.cid(digest)
    };
    let fetch = Frame::Fetch(Fetch {
        token: "t".repeat(limits::TOKEN_CHAIN),
        notification: vec![b' '; limits::NOTIFICATION],
        wants: (0..limits::RESOURCES)
            .map(|n| Want {
                root: root(n),
                skip: u64::MAX,
            })
            .collect(),
    });
    let granted = Frame::Granted(
        (0..limits::RESOURCES)
            .map(|n| Grant {
                root: root(n),
                size: u64::MAX,
            })
            .collect(),
    );
    for frame in [fetch, granted] {
        let mut decoder = Decoder::new();
        decoder.push(&octets([frame.clone()]));
        assert_eq!(decoder.poll(moment(frame.name())), Ok(Some(frame)));
    }
}

/// The leaf of a resource, as a walk claims it when it comes in pieces of so many octets.
fn claimed(sent: &[u8], said: &[u8], piece: usize) -> ClaimedBlock {
    let stream = octets([Frame::Block(sent.to_vec().into())]);
    let mut decoder = Decoder::new();
    let mut came = None;
    for part in stream.chunks(piece) {
        assert_eq!(came, None, "nothing is left when the block is whole");
        decoder.push(part);
        came = decoder.poll(Expect::Block(limits::BLOCK)).expect("a right frame");
    }
    let Some(Frame::Block(came)) = came else {
        panic!("{came:?} is no block");
    };
    let said = VerifiedBlock::hash(Codec::Raw, said.to_vec().into()).expect("a block");
    let mut walk = Walk::new(*said.cid(), sent.len() as u64).expect("a resource of one leaf");
    walk.claim(came).expect("it has the size")
}

#[test]
fn c05_a_large_block_is_hashed_while_it_comes_and_one_wrong_octet_anywhere_is_found() {
    let leaf: Vec<u8> = (0..limits::LEAF as u32).map(|at| (at % 251) as u8).collect();
    for piece in [1000, 64 * 1024, limits::LEAF, 2 * limits::LEAF] {
        let block = claimed(&leaf, &leaf, piece);
        let is_hashed = piece < 2 * limits::LEAF;
        assert_eq!(
            block.unhashed(),
            if is_hashed { 0 } else { limits::LEAF },
            "{piece}"
        );
        assert_eq!(block.verify().expect("it is that block").bytes(), &leaf);
        for at in [0, 1000, limits::LEAF / 2, limits::LEAF - 1] {
            let mut wrong = leaf.clone();
            wrong[at] ^= 1;
            let found = claimed(&wrong, &leaf, piece).verify();
            assert!(matches!(found, Err(BlockError::Mismatch(_))), "{piece} {at}");
        }
    }
    // A small one is not: many of them are hashed together, elsewhere.
    let small = &leaf[..4096];
    assert_eq!(claimed(small, small, 100).unhashed(), 4096);
}

#[test]
fn octets_are_read_into_the_decoders_own_room_and_a_block_is_never_moved() {
    let leaf = Frame::Block(vec![7; limits::LEAF].into());
    let small = Frame::Block(vec![9; 4096].into());
    let end = Frame::End(End { blocks: 3, bytes: 1 });
    let stream = octets([leaf.clone(), small.clone(), small.clone(), end.clone()]);
    for piece in [1, 1000, 16 * 1024, 3 * limits::LEAF] {
        let mut decoder = Decoder::new();
        let mut left = stream.as_slice();
        let mut expected = [
            (Expect::Block(limits::LEAF), &leaf),
            (Expect::Block(4096), &small),
            (Expect::Block(4096), &small),
            (Expect::End, &end),
        ]
        .into_iter()
        .peekable();
        while let Some((expect, frame)) = expected.peek() {
            match decoder.poll(*expect).expect("right frames") {
                Some(found) => {
                    assert!(found == **frame);
                    expected.next();
                }
                None => {
                    let room = decoder.room();
                    let count = room.len().min(piece).min(left.len());
                    assert!(count > 0, "there is always room, and the stream is long enough");
                    let (now, later) = left.split_at(count);
                    room[..count].copy_from_slice(now);
                    left = later;
                    decoder.fill(count);
                }
            }
        }
        assert!(decoder.is_empty() && left.is_empty());
    }
    // Its room ends where the leaf ends.
    let mut decoder = Decoder::new();
    assert_eq!(decoder.poll(Expect::Block(limits::LEAF)), Ok(None));
    assert_eq!(decoder.room().len(), limits::LEAF + 5);
    // Nobody gets a megabyte by announcing it.
    let mut decoder = Decoder::new();
    decoder.push(&[0x80, 0x80, 0x40, Name::Fetch.octet()]);
    assert_eq!(decoder.poll(Expect::Request), Ok(None));
    assert!(decoder.room().len() <= 64 * 1024);
}

fn any_root() -> impl Strategy<Value = ::cid::Cid> {
    (any::<[u8; 32]>(), 0..3usize)
        .prop_map(|(digest, codec)| [Codec::Raw, Codec::DagPb, Codec::DagCbor][codec].cid(digest))
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let octets = || proptest::collection::vec(any::<u8>(), 0..300);
    let list = || proptest::collection::btree_map(any_root(), any::<u64>(), 1..6);
    prop_oneof![
        ("\\PC{0,60}", octets(), list()).prop_map(|(token, notification, wants)| Frame::Fetch(Fetch {
            token,
            notification,
            wants: wants
                .into_iter()
                .map(|(root, skip)| Want { root, skip })
                .collect(),
        })),
        list().prop_map(|wants| Frame::Granted(
            wants
                .into_iter()
                .map(|(root, size)| Grant { root, size })
                .collect()
        )),
        any::<Option<u64>>().prop_map(|retry_after| Frame::Refused(Refused { retry_after })),
        octets().prop_map(|octets| Frame::Block(octets.into())),
        any::<(u64, u64)>().prop_map(|(blocks, bytes)| Frame::End(End { blocks, bytes })),
        "\\PC{0,60}".prop_map(Frame::Receipt),
        Just(Frame::Noted),
    ]
}

proptest! {
    #[test]
    fn frames_that_are_written_are_read_however_they_are_cut(
        frames in proptest::collection::vec(any_frame(), 1..6),
        chunk in 1usize..50,
    ) {
        let mut decoder = Decoder::new();
        let mut read = Vec::new();
        for part in octets(frames.clone()).chunks(chunk) {
            decoder.push(part);
            while let Some(expected) = frames.get(read.len()) {
                match decoder.poll(moment(expected.name())) {
                    Ok(Some(frame)) => read.push(frame),
                    Ok(None) => break,
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            }
        }
        prop_assert_eq!(read, frames);
        prop_assert!(decoder.is_empty());
    }

    #[test]
    fn a_frame_with_a_changed_octet_is_refused_or_is_written_as_it_was_read(
        frame in any_frame(),
        at in any::<proptest::sample::Index>(),
        octet in any::<u8>(),
    ) {
        let expect = moment(frame.name());
        let mut changed = octets([frame]);
        let at = at.index(changed.len());
        changed[at] = octet;
        let mut decoder = Decoder::new();
        decoder.push(&changed);
        if let Ok(Some(read)) = decoder.poll(expect) {
            let written = octets([read]);
            prop_assert_eq!(&written[..], &changed[..written.len()]);
        }
    }

    #[test]
    fn octets_by_chance_never_panic(
        octets in proptest::collection::vec(any::<u8>(), 0..200),
        name in 0u8..8,
        which in 0usize..6,
    ) {
        let expect = [
            Expect::Request, Expect::Answer, Expect::Block(100), Expect::End, Expect::Noted, Expect::Nothing,
        ][which];
        let mut decoder = Decoder::new();
        decoder.push(&octets);
        drop(decoder.poll(expect));
        // And with a right head before them, so that the bodies' readers see them too.
        let mut decoder = Decoder::new();
        let mut length = unsigned_varint::encode::usize_buffer();
        decoder.push(unsigned_varint::encode::usize(octets.len() + 1, &mut length));
        decoder.push(&[name]);
        decoder.push(&octets);
        drop(decoder.poll(expect));
    }
}
