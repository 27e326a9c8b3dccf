//! CIDs, read strictly: CIDv1, codec raw, dag-pb or dag-cbor, hash sha2-256 of 32 octets, shortest varints, nothing
//! behind; as text only multibase base32 in lower case. So one block of one codec has one name, octet by octet and letter
//! by letter, and a name can be a key.
//!
//! Follows the CID specification (github.com/multiformats/cid) and narrows it; rows C01 and C02.

use std::sync::LazyLock;

use ::cid::Cid;
use ::cid::multihash::Multihash;
use data_encoding::{Encoding, Specification};
use serde::{Deserialize, Deserializer, Serializer};

use super::varint;
use crate::fault::{Fault, Faulty};

/// The multihash code of sha2-256, the only hash.
const SHA2_256: u64 = 0x12;
/// The multihash code of "no hash": the name holds the octets themselves.
const IDENTITY: u64 = 0x00;
/// Octets of a digest.
const DIGEST: usize = 32;
/// Octets of every CID that is read: version, codec, hash, length, digest.
pub const BYTES: usize = 4 + DIGEST;
/// Letters of every CID that is read: the multibase prefix and 36 octets in base32.
pub const TEXT: usize = 1 + (BYTES * 8).div_ceil(5);

/// What a block's octets are (multicodec).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Octets as they are, `0x55`: every leaf.
    Raw,
    /// Canonical dag-pb, `0x70`: interior nodes.
    DagPb,
    /// Strict dag-cbor, `0x71`: a structured document of one block.
    DagCbor,
}

impl Codec {
    /// The multicodec code.
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Codec::Raw => 0x55,
            Codec::DagPb => 0x70,
            Codec::DagCbor => 0x71,
        }
    }

    /// The codec of a multicodec code.
    ///
    /// # Errors
    /// [`CidError::Codec`] for every other one.
    pub const fn from_code(code: u64) -> Result<Self, CidError> {
        match code {
            0x55 => Ok(Codec::Raw),
            0x70 => Ok(Codec::DagPb),
            0x71 => Ok(Codec::DagCbor),
            other => Err(CidError::Codec(other)),
        }
    }

    /// The CID of a block of this codec whose SHA-256 is `digest`.
    #[must_use]
    pub fn cid(self, digest: [u8; DIGEST]) -> Cid {
        let hash = Multihash::wrap(SHA2_256, &digest).expect("32 octets fit into a multihash of 64");
        Cid::new_v1(self.code(), hash)
    }
}

/// Why a name is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidError {
    /// The text is not the multibase prefix `b` and base32 in lower case without padding, with zero bits at its end.
    #[error("not base32 in lower case")]
    NotBase32Lower,
    /// More letters or octets than any name has.
    #[error("too long for a CID")]
    TooLong,
    /// It ends too early.
    #[error("a truncated CID")]
    Truncated,
    /// A number is written in more octets than it needs, or in more than nine.
    #[error("a varint that is not in its shortest form")]
    Varint,
    /// CIDv0, an alias of a dag-pb CIDv1.
    #[error("CIDv0 is not read")]
    VersionZero,
    /// A version that nobody has defined.
    #[error("unknown CID version {0}")]
    Version(u64),
    /// A codec other than raw, dag-pb and dag-cbor.
    #[error("codec {0:#x} is not read")]
    Codec(u64),
    /// The identity hash: octets that hide in a name.
    #[error("an identity CID")]
    Identity,
    /// A hash other than sha2-256.
    #[error("hash {0:#x} is not read")]
    Hash(u64),
    /// A digest of sha2-256 that has not 32 octets.
    #[error("a digest of {0} octets")]
    DigestLength(u64),
    /// Something stands behind the digest.
    #[error("octets behind a CID")]
    Trailing,
}

impl Faulty for CidError {
    fn fault(&self) -> Fault {
        Fault::Malformed
    }
}

/// Names longer than this are not even decoded: no multihash that exists needs more.
const LONGEST: usize = 256;

static BASE32_LOWER: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification
        .encoding()
        .expect("32 distinct symbols are an encoding")
});

/// Reads the text form, `bafkrei…`: 59 letters.
///
/// # Errors
/// A [`CidError`] that says what is wrong.
pub fn from_text(text: &str) -> Result<Cid, CidError> {
    if text.len() > LONGEST {
        return Err(CidError::TooLong);
    }
    if text.len() == 46 && text.starts_with("Qm") {
        return Err(CidError::VersionZero);
    }
    let letters = text.strip_prefix('b').ok_or(CidError::NotBase32Lower)?;
    let bytes = BASE32_LOWER
        .decode(letters.as_bytes())
        .map_err(|_| CidError::NotBase32Lower)?;
    from_bytes(&bytes)
}

/// Reads the binary form: 36 octets.
///
/// # Errors
/// A [`CidError`] that says what is wrong.
pub fn from_bytes(bytes: &[u8]) -> Result<Cid, CidError> {
    if bytes.len() > LONGEST {
        return Err(CidError::TooLong);
    }
    if bytes.starts_with(&[0x12, 0x20]) {
        return Err(CidError::VersionZero);
    }
    let (version, rest) = number(bytes)?;
    match version {
        1 => {}
        0 => return Err(CidError::VersionZero),
        other => return Err(CidError::Version(other)),
    }
    let (code, rest) = number(rest)?;
    let codec = Codec::from_code(code)?;
    let (hash, rest) = number(rest)?;
    check_hash(hash)?;
    let (length, rest) = number(rest)?;
    if length != DIGEST as u64 {
        return Err(CidError::DigestLength(length));
    }
    let (digest, trailing) = rest.split_first_chunk::<DIGEST>().ok_or(CidError::Truncated)?;
    if !trailing.is_empty() {
        return Err(CidError::Trailing);
    }
    Ok(codec.cid(*digest))
}

/// Checks a name that was read elsewhere, and says what its block is.
///
/// # Errors
/// A [`CidError`] for a name that [`from_bytes`] would not read.
pub fn check(cid: &Cid) -> Result<Codec, CidError> {
    if cid.version() != ::cid::Version::V1 {
        return Err(CidError::VersionZero);
    }
    let codec = Codec::from_code(cid.codec())?;
    check_hash(cid.hash().code())?;
    if usize::from(cid.hash().size()) != DIGEST {
        return Err(CidError::DigestLength(u64::from(cid.hash().size())));
    }
    Ok(codec)
}

/// The SHA-256 in a name.
///
/// # Errors
/// A [`CidError`] for a name that [`check`] refuses.
pub fn digest(cid: &Cid) -> Result<[u8; DIGEST], CidError> {
    check(cid)?;
    let digest = cid.hash().digest();
    digest
        .try_into()
        .map_err(|_| CidError::DigestLength(digest.len() as u64))
}

fn check_hash(code: u64) -> Result<(), CidError> {
    match code {
        SHA2_256 => Ok(()),
        IDENTITY => Err(CidError::Identity),
        other => Err(CidError::Hash(other)),
    }
}

fn number(bytes: &[u8]) -> Result<(u64, &[u8]), CidError> {
    let read = varint::read(bytes).map_err(|_| CidError::Varint)?;
    read.ok_or(CidError::Truncated)
}

/// Writes a CID as text: for `#[serde(serialize_with)]` in JSON forms, see [`deserialize`].
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(cid: &Cid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cid)
}

/// Reads a CID as strict text: with [`serialize`] this module is a `#[serde(with = "crate::dag::cid")]`.
///
/// # Errors
/// The deserializer's, with the [`CidError`] as its text.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cid, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    from_text(&text).map_err(serde::de::Error::custom)
}
