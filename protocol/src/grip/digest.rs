//! The digest claim: which octets a token speaks of.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use cid::Cid;
use multihash::Multihash;
use sha2::{Digest as _, Sha256};

/// The multicodec of raw octets.
const RAW: u64 = 0x55;
/// The multicodec of SHA-256.
const SHA2_256: u64 = 0x12;

/// The SHA-256 of some octets, written as the CID that they have as one raw block: `bafkrei…`, 59 characters.
///
/// Two digests are compared in constant time.
#[derive(Clone, Copy, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these octets.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// From a SHA-256 that was computed elsewhere, for instance while the octets streamed past.
    #[must_use]
    pub const fn from_sha256(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The plain SHA-256.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest as a CID: version 1, codec raw, hash sha2-256.
    #[must_use]
    pub fn cid(&self) -> Cid {
        let hash = Multihash::wrap(SHA2_256, &self.0).expect("32 octets fit into a multihash of 64");
        Cid::new_v1(RAW, hash)
    }

    /// Reads the one text form there is: multibase `b` (lower-case base32), CIDv1, raw, sha2-256. None for anything
    /// else, also for other spellings of the same CID.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 59 {
            return None;
        }
        let cid = Cid::try_from(text).ok()?;
        let fits = cid.codec() == RAW && cid.hash().code() == SHA2_256 && cid.to_string() == text;
        let hash: [u8; 32] = cid.hash().digest().try_into().ok()?;
        fits.then_some(Self(hash))
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl std::hash::Hash for Digest {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cid().fmt(f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}
