//! Alice, Bob, the places of their resources, and messages between them.

use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::placeholder::{
    Category, Description, Mailbox, Origin, Piece, Placeholder, ResourceRef, Split, TransferEncoder,
};
use cargomail_protocol::timestamp::Timestamp;
use cid::Cid;
use multihash::Multihash;
use sha2::{Digest, Sha256};

pub(crate) fn alice() -> Mailbox {
    Mailbox::named("Alice Sanders", Address::parse("alice@foo.com").unwrap())
}

pub(crate) fn bob() -> Mailbox {
    Mailbox::bare(Address::parse("bob@bar.com").unwrap())
}

pub(crate) fn hospital() -> Origin {
    let expires = Some(Timestamp::from_seconds(1_796_389_501));
    Origin {
        locator: Locator::parse("mailbox.hospital.com").unwrap(),
        expires,
    }
}

pub(crate) fn healthcare() -> Category {
    Category::parse("healthcare").unwrap()
}

/// The reference to octets that are one block.
pub(crate) fn stored(octets: &[u8]) -> ResourceRef {
    let digest: [u8; 32] = Sha256::digest(octets).into();
    let cid = Cid::new_v1(0x55, Multihash::wrap(0x12, &digest).unwrap());
    ResourceRef {
        cid,
        size: octets.len() as u64,
        sha256: Some(digest),
    }
}

/// The placeholder of a message whose bodies were stored at the hospital.
pub(crate) fn posted(split: &Split) -> Placeholder {
    let parts: Vec<(Description, ResourceRef)> = split
        .bodies
        .iter()
        .map(|body| (body.description.clone(), stored(&body.octets)))
        .collect();
    split
        .template
        .clone()
        .into_placeholder(hospital(), healthcare(), parts)
        .unwrap()
}

/// The message that the pieces make, with each resource fed to its encoder in chunks.
pub(crate) fn written(pieces: &[Piece], bodies: &[Vec<u8>], chunk: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => out.extend_from_slice(bytes),
            Piece::Resource { index, encoding } => {
                let mut encoder = TransferEncoder::new(*encoding);
                bodies[*index]
                    .chunks(chunk.max(1))
                    .for_each(|chunk| encoder.write(chunk, &mut out));
                encoder.finish(&mut out);
            }
        }
    }
    out
}

/// What always holds of a written placeholder: CR LF only, lines of at most 998 octets, and 7 bit.
pub(crate) fn assert_strict(message: &[u8]) {
    for line in message.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.len() <= 998, "a line of {} octets", line.len());
        assert!(!line.contains(&b'\r') && line.is_ascii() && !line.contains(&0));
    }
    let line_feeds = message.iter().filter(|b| **b == b'\n').count();
    assert_eq!(
        message.windows(2).filter(|pair| *pair == b"\r\n").count(),
        line_feeds
    );
}
