//! The exchange: frames from a stranger, to the decoder and to both machines.
//!
//! The input is what arrives on the stream; its first octet says in which pieces, and who listens.
#![no_main]

use bytes::Bytes;
use cargomail_protocol::dag::{Codec, VerifiedBlock};
use cargomail_protocol::exchange::{
    Decoder, Destination, DestinationAction, Expect, Frame, FrameError, Heard, Origin, OriginAction,
    OriginEvent, ReceiptAction, Receipting, Wanted,
};
use libfuzzer_sys::fuzz_target;

/// The frames in `stream`, as `hear` expects them, until it wants no more.
fn frames(stream: &[u8], piece: usize, mut hear: impl FnMut(Option<Result<Frame, FrameError>>) -> Expect) {
    let mut decoder = Decoder::new();
    let mut expect = hear(None);
    for octets in stream.chunks(piece) {
        decoder.push(octets);
        loop {
            match decoder.poll(expect) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    let [head, body] = frame.clone().encode();
                    let mut again = Decoder::new();
                    again.push(&head);
                    again.push(&body);
                    assert_eq!(again.poll(expect), Ok(Some(frame.clone())));
                    expect = hear(Some(Ok(frame)));
                }
                Err(error) => {
                    hear(Some(Err(error)));
                    return;
                }
            }
        }
    }
}

fn origin(stream: &[u8], piece: usize) {
    let mut machine = Origin::new();
    frames(stream, piece, |heard| {
        match heard {
            Some(Ok(frame)) => machine.handle(OriginEvent::Frame(frame)),
            Some(Err(error)) => machine.handle(OriginEvent::Malformed(error)),
            None => {}
        }
        for _ in 0..1000 {
            match machine.poll() {
                Some(OriginAction::Authorize(fetch)) => {
                    machine.handle(OriginEvent::Granted(vec![5; fetch.wants.len()]));
                }
                Some(OriginAction::Note(_)) => machine.handle(OriginEvent::Noted),
                Some(OriginAction::Read(cids)) => {
                    for _ in cids {
                        machine.handle(OriginEvent::Block(Bytes::from_static(b"hello")));
                    }
                }
                Some(OriginAction::Send(_) | OriginAction::Finish(_)) => {}
                None => break,
            }
        }
        machine.expect()
    });
}

fn destination(stream: &[u8], piece: usize) {
    let block = VerifiedBlock::hash(Codec::Raw, Bytes::from_static(b"hello")).expect("small");
    let empty = VerifiedBlock::hash(Codec::Raw, Bytes::new()).expect("small");
    let wanted = [(&block, 5), (&empty, 0)].map(|(block, size)| Wanted {
        root: *block.cid(),
        size,
        skip: 0,
    });
    let mut machine =
        Destination::new("token".to_owned(), b"{}".to_vec(), wanted.to_vec()).expect("a request");
    frames(stream, piece, |heard| {
        match heard {
            Some(Ok(frame)) => machine.handle(Heard::Frame(frame)),
            Some(Err(error)) => machine.handle(Heard::Malformed(error)),
            None => {}
        }
        while let Some(action) = machine.poll() {
            if let DestinationAction::Verify { block, .. } = action {
                match block.verify() {
                    Ok(block) => {
                        assert!(VerifiedBlock::check(*block.cid(), block.bytes().clone()).is_ok());
                        machine.verified(Ok(&block));
                    }
                    Err(error) => machine.verified(Err(error)),
                }
            }
        }
        machine.expect()
    });
}

fn receipting(stream: &[u8], piece: usize) {
    let mut machine = Receipting::new("token".to_owned());
    frames(stream, piece, |heard| {
        match heard {
            Some(Ok(frame)) => machine.handle(Heard::Frame(frame)),
            Some(Err(error)) => machine.handle(Heard::Malformed(error)),
            None => {}
        }
        while let Some(ReceiptAction::Send(_)) = machine.poll() {}
        machine.expect()
    });
}

fuzz_target!(|input: &[u8]| {
    let Some((first, stream)) = input.split_first() else {
        return;
    };
    let piece = usize::from(first >> 2) + 1;
    match first & 3 {
        0 => origin(stream, piece),
        1 => destination(stream, piece),
        _ => receipting(stream, piece),
    }
});
