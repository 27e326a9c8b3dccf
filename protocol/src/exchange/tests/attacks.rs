//! Origins that lie: row C05, and everything else that cannot be verified.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::{End, Expect, Frame, FrameError, Grant, Heard, Name, Outcome, Refused, Violation, Wanted};
use super::{Got, agent, hospital, octets, served};
use crate::dag::{BlockError, WalkError};
use crate::fault::{Fault, Faulty};
use crate::limits;

/// How a fetch of everything ends when somebody has changed an honest origin's frames.
fn outcome(tamper: impl FnOnce(&mut Vec<Frame>)) -> (Outcome, Got) {
    let hospital = hospital();
    let mut agent = agent(hospital.wanted());
    let mut got = Got::default();
    let mut frames = served(hospital, &mut agent, &mut got);
    tamper(&mut frames);
    got.hear(&mut agent, &octets(frames), 1 << 20);
    (got.outcome.expect("a stream that ended is an outcome"), got)
}

fn violation(tamper: impl FnOnce(&mut Vec<Frame>)) -> (Violation, Got) {
    match outcome(tamper) {
        (Outcome::Violated(violation), got) => {
            assert!(!violation.fault().is_temporary());
            (violation, got)
        }
        (other, _) => panic!("{other:?}"),
    }
}

fn grants(frames: &mut [Frame]) -> &mut Vec<Grant> {
    match &mut frames[0] {
        Frame::Granted(grants) => grants,
        other => panic!("{other:?}"),
    }
}

// The frames: 0 granted, 1 the text, 2 the empty leaf, 3 a node, 4 to 7 its leaves, 8 end.

#[test]
fn c04_a_grant_of_another_size_is_a_violation() {
    let size = hospital().sizes[&hospital().roots[2]];
    let (violation, got) = violation(|frames| grants(frames)[2].size += 1);
    assert_eq!(
        violation,
        Violation::GrantSize {
            want: 2,
            notified: size,
            granted: size + 1
        }
    );
    assert!(got.blocks.is_empty());
}

#[test]
fn c05_a_grant_of_other_resources_is_a_violation() {
    let (grant_count, _) = violation(|frames| {
        grants(frames).pop();
    });
    assert_eq!(
        grant_count,
        Violation::GrantCount {
            wanted: 3,
            granted: 2
        }
    );
    let (swapped, _) = violation(|frames| grants(frames).swap(0, 1));
    assert_eq!(swapped, Violation::GrantRoot(0));
}

#[test]
fn c05_blocks_before_the_grant_are_a_violation() {
    let (early, got) = violation(|frames| drop(frames.remove(0)));
    assert_eq!(early, Violation::Frame(FrameError::Unexpected(Name::Block)));
    assert!(got.blocks.is_empty());
}

#[test]
fn c05_wrong_octets_are_not_stored() {
    let (wrong, got) = violation(|frames| {
        if let Frame::Block(bytes) = &mut frames[5] {
            let mut octets = bytes.bytes().to_vec();
            octets[1000] ^= 1;
            *bytes = octets.into();
        }
    });
    assert!(matches!(
        wrong,
        Violation::Block {
            want: 2,
            error: WalkError::Block(BlockError::Mismatch(_))
        }
    ));
    assert_eq!(got.blocks.len(), 4);
    assert_eq!(got.resume[&2], 1);
}

#[test]
fn c05_blocks_in_another_order_are_a_violation() {
    let (swapped, got) = violation(|frames| frames.swap(4, 5));
    assert!(matches!(swapped, Violation::Block { want: 2, .. }));
    assert_eq!(got.blocks.len(), 3);
}

#[test]
fn c05_a_block_that_was_left_out_is_a_violation() {
    let (missing, _) = violation(|frames| drop(frames.remove(7)));
    assert_eq!(missing, Violation::Frame(FrameError::Unexpected(Name::End)));
}

#[test]
fn c05_a_block_too_many_is_a_violation() {
    let (extra, got) = violation(|frames| frames.insert(8, Frame::Block(Bytes::from_static(b"more").into())));
    assert_eq!(extra, Violation::Frame(FrameError::Unexpected(Name::Block)));
    assert_eq!(got.arrived, [0, 1, 2]);
}

#[test]
fn c05_a_block_too_large_is_a_violation() {
    let (large, _) = violation(|frames| frames[4] = Frame::Block(vec![0; limits::BLOCK + 1].into()));
    assert_eq!(
        large,
        Violation::Frame(FrameError::TooLong {
            name: Name::Block,
            length: limits::BLOCK as u64 + 1
        })
    );
    assert_eq!(large.fault(), Fault::TooLarge);
}

#[test]
fn an_end_with_other_counts_is_a_violation() {
    for change in [
        |end: &mut End| end.blocks -= 1,
        |end: &mut End| end.blocks += 1,
        |end: &mut End| end.bytes += 1,
    ] {
        let (counted, _) = violation(|frames| {
            if let Some(Frame::End(end)) = frames.last_mut() {
                change(end);
            }
        });
        assert!(matches!(counted, Violation::Miscounted { .. }));
    }
}

#[test]
fn a_stream_that_ends_without_end_is_a_break_even_when_every_block_came() {
    let (broken, got) = outcome(|frames| drop(frames.pop()));
    assert_eq!(broken, Outcome::Broken);
    assert_eq!(got.arrived, [0, 1, 2]);
}

#[test]
fn an_end_instead_of_an_answer_is_a_violation() {
    let (early, _) = violation(|frames| *frames = vec![Frame::End(End::default())]);
    assert_eq!(early, Violation::Frame(FrameError::Unexpected(Name::End)));
}

#[test]
fn frames_of_the_destination_are_no_answer() {
    for frame in [Frame::Noted, Frame::Receipt("d.e.f".into())] {
        let name = frame.name();
        let (foreign, _) = violation(|frames| *frames = vec![frame]);
        assert_eq!(foreign, Violation::Frame(FrameError::Unexpected(name)));
    }
}

#[test]
fn nothing_is_believed_after_the_outcome() {
    let mut agent = agent(hospital().wanted());
    let mut got = Got::default();
    got.follow(&mut agent);
    agent.handle(Heard::Frame(Frame::Refused(Refused::default())));
    agent.handle(Heard::Frame(Frame::Granted(Vec::new())));
    agent.handle(Heard::Ended);
    got.follow(&mut agent);
    assert_eq!(got.outcome, Some(Outcome::Refused(Refused::default())));
    assert_eq!((agent.expect(), agent.next()), (Expect::Nothing, None));
}

#[test]
fn c04_a_resource_that_is_larger_than_notified_is_a_violation() {
    let hospital = hospital();
    let wanted = Wanted {
        size: 5,
        ..hospital.wanted()[2]
    };
    let mut agent = agent(vec![wanted]);
    let mut got = Got::default();
    let mut frames = served(hospital, &mut agent, &mut got);
    grants(&mut frames)[0].size = 5;
    got.hear(&mut agent, &octets(frames), 1 << 20);
    assert!(matches!(
        got.outcome,
        Some(Outcome::Violated(Violation::Block {
            want: 0,
            error: WalkError::Size { announced: 5, .. }
        }))
    ));
    assert!(got.blocks.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn c05_any_changed_octet_of_the_stream_ends_it_without_success(
        at in any::<proptest::sample::Index>(),
        near_the_head in any::<bool>(),
        bit in 0u32..8,
    ) {
        let hospital = hospital();
        let mut agent = agent(hospital.wanted());
        let mut got = Got::default();
        let mut stream = octets(served(hospital, &mut agent, &mut got));
        let at = at.index(if near_the_head { 600 } else { stream.len() });
        stream[at] ^= 1 << bit;
        got.hear(&mut agent, &stream, 1 << 20);
        prop_assert!(!matches!(got.outcome, None | Some(Outcome::Complete(_))), "{at}");
        for block in &got.blocks {
            prop_assert_eq!(hospital.blocks.get(block.cid()), Some(block.bytes()));
        }
    }
}
