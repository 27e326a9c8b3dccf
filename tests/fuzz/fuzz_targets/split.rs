//! An ordinary message: taken apart, posted, written, read, reconstructed and taken apart again, it is the same.
#![no_main]

use cargomail_protocol::address::Locator;
use cargomail_protocol::placeholder::{
    Category, Header, Origin, Piece, Placeholder, ResourceRef, Split, TransferEncoder, split,
};
use cargomail_protocol::timestamp::Timestamp;
use cid::Cid;
use libfuzzer_sys::fuzz_target;
use multihash::Multihash;
use sha2::{Digest, Sha256};

fn stored(octets: &[u8]) -> ResourceRef {
    let digest: [u8; 32] = Sha256::digest(octets).into();
    let cid = Cid::new_v1(0x55, Multihash::wrap(0x12, &digest).expect("32 octets fit"));
    ResourceRef {
        cid,
        size: octets.len() as u64,
        sha256: Some(digest),
    }
}

fn posted(split: &Split) -> Option<Placeholder> {
    let origin = Origin {
        locator: Locator::parse("mailbox.hospital.com").expect("a name"),
        expires: Some(Timestamp::from_seconds(1_796_389_501)),
    };
    let category = Category::parse("healthcare").expect("a token");
    let parts = split
        .bodies
        .iter()
        .map(|body| (body.description.clone(), stored(&body.octets)))
        .collect();
    split
        .template
        .clone()
        .into_placeholder(origin, category, parts)
        .ok()
}

fuzz_target!(|message: &[u8]| {
    let Ok(mut first) = split(message) else {
        return;
    };
    first.template.category = None;
    if first.template.headers.first("Message-ID").is_none() {
        first
            .template
            .headers
            .push(Header::new("Message-ID", "<1@foo.com>").expect("a field"));
    }
    let Some(placeholder) = posted(&first) else {
        return;
    };
    let encoded = placeholder.encode().expect("it has an expiry");
    let read = Placeholder::parse(&encoded)
        .expect("what is written is good")
        .expect("and a placeholder");
    assert_eq!(read, placeholder);
    let mut again = Vec::new();
    for piece in read.reconstruct() {
        match piece {
            Piece::Bytes(bytes) => again.extend_from_slice(&bytes),
            Piece::Resource { index, encoding } => {
                let mut encoder = TransferEncoder::new(encoding);
                first.bodies[index]
                    .octets
                    .chunks(5)
                    .for_each(|chunk| encoder.write(chunk, &mut again));
                encoder.finish(&mut again);
            }
        }
    }
    let second = split(&again).expect("what is reconstructed is good");
    assert!(second == first, "{}", String::from_utf8_lossy(&again));
});
