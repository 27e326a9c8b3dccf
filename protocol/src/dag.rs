//! dag: being written.

use bytes::Bytes;
use cid::Cid;

/// A block whose octets were hashed and fit its CID. Only hashing makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBlock {
    cid: Cid,
    bytes: Bytes,
}

impl VerifiedBlock {
    /// The block's CID.
    #[must_use]
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// The block's octets.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
