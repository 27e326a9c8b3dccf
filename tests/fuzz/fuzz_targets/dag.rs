//! Interior nodes from a stranger, several levels of them: a walk stays within the announced size, whatever they say.
//!
//! The input is the announced size (6 octets), then nodes, each behind two octets of length. The walk takes them
//! without hashing, as the fuzzer cannot find a node that holds its own children's hashes; it passes the leaves.
#![no_main]

use bytes::Bytes;
use cargomail_protocol::dag::{Codec, Kind, VerifiedBlock, Walk};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((size, mut rest)) = input.split_at_checked(6) else {
        return;
    };
    let size = size.iter().fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet));
    let Ok(mut walk) = Walk::new(Codec::DagPb.cid([0; 32]), size) else {
        return;
    };
    for _ in 0..100_000 {
        let Some(next) = walk.next() else {
            assert!(walk.is_complete());
            return;
        };
        assert!(next.offset + next.size <= size && next.offset == walk.position());
        if next.kind == Kind::Leaf {
            if walk.pass().is_err() {
                return;
            }
            continue;
        }
        let Some((length, tail)) = rest.split_at_checked(2) else {
            return;
        };
        let length = usize::from(length[0]) << 8 | usize::from(length[1]);
        let (node, tail) = tail.split_at(length.min(tail.len()));
        rest = tail;
        let node = Bytes::copy_from_slice(node);
        let before = walk.next();
        if walk.trust(&node).is_err() {
            assert_eq!(walk.next(), before, "a walk that refuses stays where it was");
            return;
        }
        let block = VerifiedBlock::hash(Codec::DagPb, node.clone()).expect("small");
        let mut alone = Walk::new(*block.cid(), size).expect("as above");
        let _ = alone.verify(node);
    }
});
