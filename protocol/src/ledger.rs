//! The ledger: what a Resource Mailbox did, as a chain of entries that nobody can change unseen.
//!
//! An entry is strict dag-cbor and holds the SHA-256 of the entry before it; `spec/ledger.md` is the specification. Not
//! here: where entries are kept. What always holds: an [`Entry`] that is read back has the octets that were hashed, and a
//! [`Checker`] that took every entry of a chain has found each in its place and unchanged.

use cid::Cid;
use ipld_core::codec::Codec;
use serde::{Deserialize, Serialize};
use serde_ipld_dagcbor::codec::DagCborCodec;
use sha2::{Digest, Sha256};

use crate::fault::{Fault, Faulty};
use crate::timestamp::Timestamp;

/// The longest entry: a chain of tokens, and a CID of some 60 octets for each of a message's resources.
pub const ENTRY: usize = crate::limits::TOKEN_CHAIN + crate::limits::RESOURCES * 64 + 8 * 1024;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// A user posted resources.
    Posted,
    /// A user shared resources with others.
    Shared,
    /// A user took a share back.
    Revoked,
    /// A broker notified this mailbox of resources for one of its users.
    Notified,
    /// This mailbox let an agent fetch.
    Granted,
    /// This mailbox fetched resources and verified them.
    Retrieved,
    /// An agent acknowledged resources, at the origin; or this mailbox's own acknowledgement, at the destination.
    Receipt,
    /// A share or a job ended because its time was over.
    Expired,
    /// A user deleted resources.
    Deleted,
    /// An administrator looked at or changed a user's matter, or placed or released a legal hold.
    Access,
}

/// What is told of an act. Empty fields are written, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// What happened.
    pub act: Act,
    /// Who is concerned: addresses, locators, client identifiers.
    pub parties: Vec<String>,
    /// The Message-ID of the mail, with its angle brackets; empty where there is none.
    pub message_id: String,
    /// The roots of the resources.
    pub resources: Vec<Cid>,
    /// The token or chain of tokens that authorized the act, or the receipt itself, as it came; empty for acts of the
    /// mailbox's own users.
    pub evidence: String,
}

/// An entry of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its place, counted from 0.
    pub index: u64,
    /// SHA-256 of the entry before it; zeros in the first.
    #[serde(with = "serde_bytes")]
    pub previous: [u8; 32],
    /// When it was written.
    pub time: Timestamp,
    /// What happened.
    pub event: Event,
}

/// The end of a chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// How many entries there are.
    pub entries: u64,
    /// SHA-256 of the last; zeros when there is none.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 32],
}

/// Why a chain is not what it should be. Somebody or something changed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Not the strict dag-cbor of an entry.
    #[error("entry {0} is malformed")]
    Malformed(u64),
    /// Another place than its index says: an entry is missing or stands twice.
    #[error("where entry {expected} should stand, entry {found} stands")]
    OutOfPlace {
        /// The place.
        expected: u64,
        /// What the entry says.
        found: u64,
    },
    /// The entry before it was changed, or this one was put in.
    #[error("entry {0} does not follow from the entry before it")]
    Broken(u64),
    /// The chain has another end than was noted apart from it: entries were cut off, or the last one changed.
    #[error("the ledger ends with entry {found}, its head says {said}")]
    Head {
        /// Entries found.
        found: u64,
        /// Entries that the head counts.
        said: u64,
    },
}

impl Faulty for LedgerError {
    fn fault(&self) -> Fault {
        Fault::Local
    }
}

impl Head {
    /// The entry that comes next, its octets, and the head with it.
    #[must_use]
    pub fn next(&self, time: Timestamp, event: Event) -> (Vec<u8>, Head) {
        let entry = Entry {
            index: self.entries,
            previous: self.hash,
            time,
            event,
        };
        let octets =
            DagCborCodec::encode_to_vec(&entry).expect("names, numbers and octets can always be written");
        let head = Head {
            entries: self.entries + 1,
            hash: Sha256::digest(&octets).into(),
        };
        (octets, head)
    }
}

/// Checks a chain, entry by entry, with memory that does not grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checker {
    head: Head,
}

impl Checker {
    /// A checker before the first entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn push(&mut self, octets: &[u8]) -> Result<Entry, LedgerError> {
        let expected = self.head.entries;
        let malformed = LedgerError::Malformed(expected);
        if octets.len() > ENTRY {
            return Err(malformed);
        }
        let entry: Entry = DagCborCodec::decode_from_slice(octets).map_err(|_| malformed.clone())?;
        if DagCborCodec::encode_to_vec(&entry).map_err(|_| malformed.clone())? != octets {
            return Err(malformed);
        }
        if entry.index != expected {
            let found = entry.index;
            return Err(LedgerError::OutOfPlace { expected, found });
        }
        if entry.previous != self.head.hash {
            return Err(LedgerError::Broken(expected));
        }
        self.head = Head {
            entries: expected + 1,
            hash: Sha256::digest(octets).into(),
        };
        Ok(entry)
    }

    /// That the chain ends where its head says.
    ///
    /// # Errors
    /// [`LedgerError::Head`].
    pub fn finish(&self, said: &Head) -> Result<(), LedgerError> {
        if self.head == *said {
            return Ok(());
        }
        Err(LedgerError::Head {
            found: self.head.entries,
            said: said.entries,
        })
    }
}

#[cfg(test)]
mod tests;
