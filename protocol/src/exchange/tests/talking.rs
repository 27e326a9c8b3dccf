//! Both machines, talking to each other: whole, resumed, refused, and the receipt.

use proptest::prelude::*;

use super::super::{
    Destination, DestinationAction, End, Expect, Frame, FrameError, Heard, Name, Origin, OriginAction,
    OriginEvent, Outcome, ReceiptAction, ReceiptOutcome, Receipting, Refused, RequestError, Served,
    Violation, Wanted,
};
use super::{Got, agent, answer, hospital, octets, served};
use crate::dag::{BlockError, Codec, VerifiedBlock, WalkError};
use crate::fault::Fault;
use crate::limits;

#[test]
fn everything_that_is_wanted_arrives_in_order() {
    let hospital = hospital();
    let mut agent = agent(hospital.wanted());
    let mut got = Got::default();
    let frames = served(hospital, &mut agent, &mut got);
    let Some(Frame::End(end)) = frames.last() else {
        panic!("an honest origin ends with end");
    };
    got.hear(&mut agent, &octets(frames.clone()), 70_000);
    assert_eq!(got.outcome, Some(Outcome::Complete(*end)));
    assert_eq!(got.arrived, [0, 1, 2]);
    // One text, one empty leaf, a node and its four leaves.
    assert_eq!(end.blocks, 7);
    let leaf = limits::LEAF as u64;
    assert_eq!(
        got.leaves,
        [(0, 0), (1, 0), (2, 0), (2, leaf), (2, 2 * leaf), (2, 3 * leaf)]
    );
    assert_eq!(got.held.len(), hospital.blocks.len());
    let progress = agent.progress();
    assert_eq!(progress.received, *end);
    assert_eq!((progress.content, progress.of), (progress.of, 3 * leaf + 377));
    assert_eq!(agent.expect(), Expect::Nothing);
}

#[test]
fn an_agent_that_holds_leaves_gets_only_the_others_and_the_nodes_on_the_way() {
    let hospital = hospital();
    let mut wanted = hospital.wanted();
    wanted.remove(0);
    wanted.remove(0);
    wanted[0].skip = 2;
    let mut agent = agent(wanted);
    let mut got = Got::default();
    assert_eq!(agent.progress().content, 2 * limits::LEAF as u64);
    let frames = served(hospital, &mut agent, &mut got);
    got.hear(&mut agent, &octets(frames), 1 << 20);
    assert!(matches!(
        got.outcome,
        Some(Outcome::Complete(End { blocks: 3, .. }))
    ));
    assert_eq!(agent.progress().content, agent.progress().of);
}

#[test]
fn an_agent_that_wants_to_skip_everything_is_refused() {
    let hospital = hospital();
    let fetch = |skip| {
        Frame::Fetch(super::super::Fetch {
            token: "a.b.c".into(),
            notification: Vec::new(),
            wants: vec![super::super::Want {
                root: hospital.roots[2],
                skip,
            }],
        })
    };
    for skip in [4, 5, u64::MAX] {
        let (frames, served) = answer(hospital, fetch(skip));
        assert_eq!(frames, [Frame::Refused(Refused { retry_after: None })]);
        assert!(matches!(served, Served::Skip(WalkError::Part { .. })));
    }
    assert!(matches!(answer(hospital, fetch(3)).1, Served::Whole(_)));
}

#[test]
fn who_holds_everything_asks_for_the_permission_alone() {
    let hospital = hospital();
    let (mut agent, mut got) = (agent(Vec::new()), Got::default());
    let frames = served(hospital, &mut agent, &mut got);
    assert_eq!(frames, [Frame::Granted(Vec::new()), Frame::End(End::default())]);
    got.hear(&mut agent, &octets(frames), 1);
    assert_eq!(got.outcome, Some(Outcome::Complete(End::default())));
    assert!(got.blocks.is_empty());
}

#[test]
fn what_cannot_be_asked_for_is_not_asked_for() {
    let hospital = hospital();
    let ask = |token: String, notification: Vec<u8>, wanted| {
        Destination::new(token, notification, wanted).expect_err("it cannot be asked for")
    };
    let one = hospital.wanted()[0];
    assert_eq!(
        ask(String::new(), Vec::new(), vec![one; limits::RESOURCES + 1]),
        RequestError::Count(limits::RESOURCES + 1)
    );
    assert_eq!(
        ask(String::new(), Vec::new(), vec![one, one]),
        RequestError::Twice(one.root)
    );
    let token = limits::TOKEN_CHAIN + 1;
    assert_eq!(
        ask("t".repeat(token), Vec::new(), vec![one]),
        RequestError::Token(token)
    );
    let notification = limits::NOTIFICATION + 1;
    assert_eq!(
        ask(String::new(), vec![0; notification], vec![one]),
        RequestError::Notification(notification)
    );
    let endless = Wanted {
        root: Codec::DagPb.cid([1; 32]),
        size: u64::MAX,
        skip: 0,
    };
    assert_eq!(
        ask(String::new(), Vec::new(), vec![one, endless]),
        RequestError::Want {
            want: 1,
            error: WalkError::TooLarge(u64::MAX)
        }
    );
}

#[test]
fn a_refusal_says_only_whether_to_come_back() {
    let hospital = hospital();
    for (fault, retry_after) in [
        (Fault::NotFound, None),
        (Fault::Refused, None),
        (Fault::Unauthenticated, None),
        (Fault::NotYetProved, Some(30)),
        (Fault::TryLater(std::time::Duration::from_secs(9)), Some(9)),
    ] {
        let mut agent = agent(hospital.wanted());
        let mut got = Got::default();
        got.follow(&mut agent);
        let mut origin = Origin::new();
        origin.handle(OriginEvent::Frame(got.fetch.clone().expect("a fetch")));
        assert!(matches!(origin.poll(), Some(OriginAction::Authorize(_))));
        assert_eq!(origin.poll(), None);
        origin.handle(OriginEvent::Refused(fault.stream().into()));
        let refused = Refused { retry_after };
        let Some(OriginAction::Send(frame)) = origin.poll() else {
            panic!("it says no");
        };
        assert_eq!(frame, Frame::Refused(refused));
        assert_eq!(origin.poll(), Some(OriginAction::Finish(Served::Refused)));
        got.hear(&mut agent, &octets([frame]), 1);
        assert_eq!(got.outcome, Some(Outcome::Refused(refused)));
    }
}

#[test]
fn an_origin_that_cannot_go_on_says_so_and_what_came_is_kept() {
    let hospital = hospital();
    let mut agent = agent(hospital.wanted());
    let mut got = Got::default();
    got.follow(&mut agent);
    let mut origin = Origin::new();
    origin.handle(OriginEvent::Frame(got.fetch.clone().expect("a fetch")));
    let mut frames = Vec::new();
    let mut reads = 0;
    let ended = loop {
        match origin.poll().expect("it goes on") {
            OriginAction::Authorize(_) => {
                origin.handle(OriginEvent::Granted(
                    hospital.roots.iter().map(|root| hospital.sizes[root]).collect(),
                ));
            }
            OriginAction::Read(cids) => {
                for cid in cids {
                    reads += 1;
                    // The fifth block has gone.
                    origin.handle(if reads == 5 {
                        OriginEvent::Missing
                    } else {
                        OriginEvent::Block(hospital.blocks[&cid].clone())
                    });
                }
            }
            OriginAction::Send(frame) => frames.push(frame),
            OriginAction::Finish(served) => break served,
            OriginAction::Note(_) => panic!("nobody sent a receipt"),
        }
    };
    assert!(matches!(ended, Served::Missing(_)));
    got.hear(&mut agent, &octets(frames), 1 << 20);
    assert!(matches!(
        got.outcome,
        Some(Outcome::Refused(Refused { retry_after: Some(_) }))
    ));
    assert_eq!(got.blocks.len(), 4);
    assert_eq!(got.resume[&2], 1);
}

#[test]
fn an_origin_whose_store_lies_sends_nothing_of_it() {
    let hospital = hospital();
    let mut origin = Origin::new();
    let mut got = Got::default();
    got.follow(&mut agent(hospital.wanted()));
    origin.handle(OriginEvent::Frame(got.fetch.expect("a fetch")));
    assert!(matches!(origin.poll(), Some(OriginAction::Authorize(_))));
    origin.handle(OriginEvent::Granted(
        hospital.roots.iter().map(|root| hospital.sizes[root]).collect(),
    ));
    assert!(matches!(
        origin.poll(),
        Some(OriginAction::Send(Frame::Granted(_)))
    ));
    let Some(OriginAction::Read(cids)) = origin.poll() else {
        panic!("it reads the first blocks");
    };
    origin.handle(OriginEvent::Block(b"short".as_slice().into()));
    assert!(matches!(
        origin.poll(),
        Some(OriginAction::Send(Frame::Refused(_)))
    ));
    assert!(
        matches!(origin.poll(), Some(OriginAction::Finish(Served::Corrupt(bad, WalkError::Size { .. }))) if bad == cids[0])
    );
}

#[test]
fn an_origin_reads_ahead_in_the_order_of_sending_as_far_as_it_knows_and_no_more_than_the_bound() {
    let hospital = hospital();
    let mut origin = Origin::new();
    let mut got = Got::default();
    got.follow(&mut agent(hospital.wanted()));
    origin.handle(OriginEvent::Frame(got.fetch.expect("a fetch")));
    origin.poll();
    origin.handle(OriginEvent::Granted(
        hospital.roots.iter().map(|root| hospital.sizes[root]).collect(),
    ));
    let (mut readings, mut sent) = (Vec::new(), Vec::new());
    while let Some(action) = origin.poll() {
        match action {
            OriginAction::Read(cids) => {
                let octets: usize = cids.iter().map(|cid| hospital.blocks[cid].len()).sum();
                assert!(octets <= limits::READ_AHEAD);
                for cid in &cids {
                    origin.handle(OriginEvent::Block(hospital.blocks[cid].clone()));
                }
                readings.push(cids);
            }
            OriginAction::Send(Frame::Block(octets)) => sent.push(octets.into_bytes()),
            OriginAction::Send(_) => {}
            OriginAction::Finish(served) => assert!(matches!(served, Served::Whole(_))),
            other => panic!("{other:?} is not asked for"),
        }
    }
    // The text, the empty file and the image's node, behind which nothing is known; then its leaves, one at a time.
    let lengths: Vec<_> = readings.iter().map(Vec::len).collect();
    assert_eq!(lengths, [3, 1, 1, 1, 1]);
    assert_eq!(readings.concat()[..3], hospital.roots[..]);
    let read: Vec<_> = readings
        .concat()
        .iter()
        .map(|cid| hospital.blocks[cid].clone())
        .collect();
    assert_eq!(sent, read);
}

#[test]
fn c05_a_fetch_ends_only_when_every_block_that_came_was_verified_in_its_order() {
    let hospital = hospital();
    for broken in [false, true] {
        let mut agent = agent(hospital.wanted());
        let mut got = Got::default();
        let frames = served(hospital, &mut agent, &mut got);
        let mut waiting = Vec::new();
        for frame in frames {
            agent.handle(Heard::Frame(frame));
            while let Some(action) = agent.poll() {
                match action {
                    DestinationAction::Verify { block, .. } => waiting.push(block),
                    other => panic!("{other:?} before anything was verified"),
                }
            }
        }
        assert_eq!(agent.expect(), Expect::Nothing);
        assert_eq!(agent.progress().content, 0);
        let last = waiting.len() - 1;
        for (at, block) in waiting.into_iter().enumerate() {
            assert!(!matches!(agent.poll(), Some(DestinationAction::Finish(_))));
            let verified = block.verify().expect("an honest origin");
            match broken && at == last {
                true => agent.verified(Err(BlockError::Mismatch(*verified.cid()))),
                false => agent.verified(Ok(&verified)),
            }
        }
        got.follow(&mut agent);
        match broken {
            true => assert!(matches!(
                got.outcome,
                Some(Outcome::Violated(Violation::Block { want: 2, .. }))
            )),
            false => assert!(matches!(got.outcome, Some(Outcome::Complete(_)))),
        }
    }
}

#[test]
fn c05_a_block_that_was_verified_for_another_does_not_count() {
    let hospital = hospital();
    let mut agent = agent(hospital.wanted());
    let mut got = Got::default();
    let frames = served(hospital, &mut agent, &mut got);
    for frame in frames.into_iter().take(2) {
        agent.handle(Heard::Frame(frame));
    }
    let Some(DestinationAction::Verify { block, .. }) = agent.poll() else {
        panic!("a block came");
    };
    let other = VerifiedBlock::hash(Codec::Raw, vec![1; block.size()].into()).expect("small");
    agent.verified(Ok(&other));
    got.follow(&mut agent);
    assert!(matches!(
        got.outcome,
        Some(Outcome::Violated(Violation::Block { want: 0, .. }))
    ));
}

#[test]
fn a_share_that_is_revoked_while_blocks_are_sent_stops_the_origin() {
    let hospital = hospital();
    let mut origin = Origin::new();
    let mut got = Got::default();
    got.follow(&mut agent(hospital.wanted()));
    origin.handle(OriginEvent::Frame(got.fetch.expect("a fetch")));
    origin.poll();
    origin.handle(OriginEvent::Granted(
        hospital.roots.iter().map(|root| hospital.sizes[root]).collect(),
    ));
    origin.poll();
    assert!(matches!(origin.poll(), Some(OriginAction::Read(_))));
    assert_eq!(origin.poll(), None, "one reading at a time");
    origin.handle(OriginEvent::Refused(Refused::default()));
    assert_eq!(
        origin.poll(),
        Some(OriginAction::Send(Frame::Refused(Refused::default())))
    );
    assert_eq!(origin.poll(), Some(OriginAction::Finish(Served::Refused)));
    origin.handle(OriginEvent::Block(vec![1; 300].into()));
    assert_eq!(origin.poll(), None);
}

#[test]
fn an_origin_hears_one_request_and_nothing_else() {
    for (expect, frame) in [
        (Name::Noted, Frame::Noted),
        (Name::End, Frame::End(End::default())),
        (Name::Block, Frame::Block(vec![1].into())),
    ] {
        let mut origin = Origin::new();
        assert_eq!(origin.expect(), Expect::Request);
        origin.handle(OriginEvent::Frame(frame));
        assert_eq!(
            origin.poll(),
            Some(OriginAction::Finish(Served::Violated(FrameError::Unexpected(
                expect
            ))))
        );
    }
    let mut origin = Origin::new();
    origin.handle(OriginEvent::Frame(Frame::Receipt("d.e.f".into())));
    assert_eq!(origin.expect(), Expect::Nothing);
    origin.handle(OriginEvent::Ended);
    assert_eq!(origin.poll(), Some(OriginAction::Note("d.e.f".into())));
    assert_eq!(origin.poll(), Some(OriginAction::Finish(Served::Broken)));
}

#[test]
fn a_receipt_is_noted_and_its_sender_knows() {
    let mut sender = Receipting::new("d.e.f".into());
    let Some(ReceiptAction::Send(receipt)) = sender.poll() else {
        panic!("it sends the receipt");
    };
    assert_eq!(sender.poll(), None);
    let (frames, ended) = answer(hospital(), receipt);
    assert_eq!((&frames[..], ended), (&[Frame::Noted][..], Served::Noted));
    assert_eq!(sender.expect(), Expect::Noted);
    sender.handle(Heard::Frame(Frame::Noted));
    assert_eq!(sender.expect(), Expect::Nothing);
    assert_eq!(sender.poll(), Some(ReceiptAction::Finish(ReceiptOutcome::Noted)));
    assert_eq!(sender.poll(), None);
    sender.handle(Heard::Ended);
    assert_eq!(sender.poll(), None);
}

#[test]
fn a_receipt_that_was_not_noted_is_not_taken_for_noted() {
    let refused = Refused { retry_after: Some(5) };
    for (heard, outcome) in [
        (Heard::Ended, ReceiptOutcome::Broken),
        (
            Heard::Frame(Frame::Refused(refused)),
            ReceiptOutcome::Refused(refused),
        ),
        (
            Heard::Frame(Frame::End(End::default())),
            ReceiptOutcome::Violated(FrameError::Unexpected(Name::End)),
        ),
        (
            Heard::Malformed(FrameError::Length),
            ReceiptOutcome::Violated(FrameError::Length),
        ),
    ] {
        let mut sender = Receipting::new("d.e.f".into());
        sender.poll();
        sender.handle(heard);
        assert_eq!(sender.poll(), Some(ReceiptAction::Finish(outcome)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn c05_any_truncation_is_a_break_and_the_rest_comes_by_resuming(cut in any::<proptest::sample::Index>()) {
        let hospital = hospital();
        let mut first = agent(hospital.wanted());
        let mut got = Got::default();
        let stream = octets(served(hospital, &mut first, &mut got));
        got.hear(&mut first, &stream[..cut.index(stream.len())], 90_000);
        prop_assert_eq!(got.outcome, Some(Outcome::Broken));

        // What has arrived is not wanted again, the rest from where it broke.
        let wanted: Vec<Wanted> = hospital
            .wanted()
            .into_iter()
            .enumerate()
            .filter(|(want, _)| !got.arrived.contains(want))
            .map(|(want, wanted)| Wanted { skip: got.resume.get(&want).copied().unwrap_or(0), ..wanted })
            .collect();
        if wanted.is_empty() {
            prop_assert_eq!(got.held.len(), hospital.blocks.len());
            return Ok(());
        }
        let mut second = agent(wanted);
        let stream = octets(served(hospital, &mut second, &mut got));
        got.outcome = None;
        got.hear(&mut second, &stream, 90_000);
        prop_assert!(matches!(got.outcome, Some(Outcome::Complete(_))));
        prop_assert_eq!(got.held.len(), hospital.blocks.len());
    }
}
