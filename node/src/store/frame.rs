//! One record of a pack or of the journal: 48 octets that describe it, and its payload.
//!
//! | octets | what |
//! |--:|---|
//! | 4 | magic |
//! | 4 | length of the payload, big-endian; the upper bits are flags: tombstone, first of its group |
//! | 32 | SHA-256 of the payload; of a tombstone, the digest of the block that is gone |
//! | 4 | CRC32C of the payload |
//! | 4 | CRC32C of the 44 octets before, begun from the store's salt |
//!
//! The salt is drawn once for a store (FORMAT). Payloads are written by strangers, and a reader that looks for the next
//! record behind a damaged one must not take a record that somebody composed inside a block for one of the store's.
//!
//! A record before which everything was synced when it was written says so, and begins a group; what is written while a sync is under
//! way goes on with the group. So a bad record with the beginning of another group behind it was synced and has been damaged
//! since, while one without is taken for the torn end of a write that nobody was told of.

use sha2::{Digest as _, Sha256};

/// The SHA-256 that names a block.
pub(super) type Digest = [u8; 32];

/// Octets before the payload.
pub(super) const HEAD: usize = 48;
/// How every record begins.
pub(super) const MAGIC: [u8; 4] = *b"\xc4rgo";
/// Longest payload.
pub(super) const PAYLOAD: usize = LENGTH as usize;

const TOMBSTONE: u32 = 1 << 31;
const FIRST: u32 = 1 << 30;
const LENGTH: u32 = (1 << 28) - 1;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The payload follows.
    Data,
    /// The block of this digest is gone.
    Tombstone,
}

/// The place of a record in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// Everything before it is durable.
    First,
    /// Something before it may not be.
    Later,
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) rank: Rank,
    pub(super) length: u32,
    pub(super) digest: Digest,
    crc: u32,
}

impl Header {
    /// The header of a payload of at most [`PAYLOAD`] octets.
    pub(super) fn of(kind: Kind, rank: Rank, digest: Digest, payload: &[u8]) -> Self {
        debug_assert!(payload.len() <= PAYLOAD);
        Self {
            kind,
            rank,
            length: payload.len() as u32 & LENGTH,
            digest,
            crc: crc32c::crc32c(payload),
        }
    }

    /// As it is written.
    pub(super) fn encode(&self, salt: u32) -> [u8; HEAD] {
        let mut flags = self.length;
        if self.kind == Kind::Tombstone {
            flags |= TOMBSTONE;
        }
        if self.rank == Rank::First {
            flags |= FIRST;
        }
        let mut octets = [0; HEAD];
        octets[..4].copy_from_slice(&MAGIC);
        octets[4..8].copy_from_slice(&flags.to_be_bytes());
        octets[8..40].copy_from_slice(&self.digest);
        octets[40..44].copy_from_slice(&self.crc.to_be_bytes());
        let crc = crc32c::crc32c_append(salt, &octets[..44]);
        octets[44..].copy_from_slice(&crc.to_be_bytes());
        octets
    }

    /// As it is read; none when this is no header of this store.
    pub(super) fn decode(octets: &[u8], salt: u32) -> Option<Self> {
        let (magic, rest) = octets.split_first_chunk::<4>()?;
        let (flags, rest) = rest.split_first_chunk::<4>()?;
        let (digest, rest) = rest.split_first_chunk::<32>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (own, _) = rest.split_first_chunk::<4>()?;
        if *magic != MAGIC || u32::from_be_bytes(*own) != crc32c::crc32c_append(salt, octets.get(..44)?) {
            return None;
        }
        let flags = u32::from_be_bytes(*flags);
        Some(Self {
            kind: if flags & TOMBSTONE == 0 {
                Kind::Data
            } else {
                Kind::Tombstone
            },
            rank: if flags & FIRST == 0 {
                Rank::Later
            } else {
                Rank::First
            },
            length: flags & LENGTH,
            digest: *digest,
            crc: u32::from_be_bytes(*crc),
        })
    }

    /// Octets of the whole record.
    pub(super) fn size(&self) -> u64 {
        HEAD as u64 + u64::from(self.length)
    }

    /// Whether this is the payload, as far as its checksum tells.
    pub(super) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && crc32c::crc32c(payload) == self.crc
    }

    /// Whether this is the payload, by its hash.
    pub(super) fn proves(&self, payload: &[u8]) -> bool {
        self.fits(payload) && (self.kind == Kind::Tombstone || sha256(payload) == self.digest)
    }
}

/// The hash of a payload.
pub(super) fn sha256(payload: &[u8]) -> Digest {
    Sha256::digest(payload).into()
}
