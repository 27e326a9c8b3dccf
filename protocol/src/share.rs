//! Shares: who may fetch which resources, from whom, until when.
//!
//! Not here: where shares are kept, and who may make one. What always holds: a share lets through exactly the
//! resources, recipients and time that its sender named, and shows a recipient nobody but themselves.

use std::collections::BTreeSet;
use std::str::FromStr;

use cid::{Cid, Version};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::address::Address;
use crate::fault::{Fault, Faulty};
use crate::limits;
pub use crate::placeholder::Category;
use crate::timestamp::Timestamp;

/// Why a share or a resource was refused. Always the fault of whoever wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// Not a CIDv1 in lower-case base32 with codec raw, dag-pb or dag-cbor and hash sha2-256.
    #[error("not a CID of a resource")]
    Cid,
    /// A resource larger than [`limits::RESOURCE`].
    #[error("a resource is larger than {} octets", limits::RESOURCE)]
    TooLarge,
    /// No resource or no recipient, or more than [`limits::RESOURCES`] or [`limits::SHARE_RECIPIENTS`].
    #[error("no or too many resources or recipients")]
    Count,
    /// A resource or a recipient stands twice.
    #[error("a resource or a recipient stands twice")]
    Duplicate,
    /// Expires before it begins.
    #[error("the share expires before it begins")]
    Expiry,
}

impl Faulty for ShareError {
    fn fault(&self) -> Fault {
        match self {
            ShareError::TooLarge | ShareError::Count => Fault::TooLarge,
            ShareError::Cid | ShareError::Duplicate | ShareError::Expiry => Fault::Malformed,
        }
    }
}

/// A resource as others are told of it: its root CID and its size in octets. In text form `{"cid":"bafy…","size":5}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "ResourceText", into = "ResourceText")]
pub struct SharedResource {
    cid: Cid,
    size: u64,
}

/// [`SharedResource`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceText {
    cid: String,
    size: u64,
}

impl SharedResource {
    /// A resource.
    ///
    /// # Errors
    /// [`ShareError::Cid`] for a CID that no resource has, [`ShareError::TooLarge`] above [`limits::RESOURCE`].
    pub fn new(cid: Cid, size: u64) -> Result<Self, ShareError> {
        check_root(&cid)?;
        if size > limits::RESOURCE {
            return Err(ShareError::TooLarge);
        }
        Ok(Self { cid, size })
    }

    /// The root CID.
    #[must_use]
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// Octets of the resource.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl TryFrom<ResourceText> for SharedResource {
    type Error = ShareError;
    fn try_from(text: ResourceText) -> Result<Self, ShareError> {
        Self::new(parse_root(&text.cid)?, text.size)
    }
}

impl From<SharedResource> for ResourceText {
    fn from(resource: SharedResource) -> Self {
        Self {
            cid: resource.cid.to_string(),
            size: resource.size,
        }
    }
}

/// Reads the CID of a resource in its one text form: multibase `b`, CIDv1, codec raw, dag-pb or dag-cbor, sha2-256.
///
/// # Errors
/// [`ShareError::Cid`] for anything else.
pub fn parse_root(text: &str) -> Result<Cid, ShareError> {
    if text.len() != 59 {
        return Err(ShareError::Cid);
    }
    let cid = Cid::from_str(text).map_err(|_| ShareError::Cid)?;
    check_root(&cid)?;
    if cid.to_string() != text {
        return Err(ShareError::Cid);
    }
    Ok(cid)
}

fn check_root(cid: &Cid) -> Result<(), ShareError> {
    let codec = matches!(cid.codec(), 0x55 | 0x70 | 0x71);
    let hash = cid.hash().code() == 0x12 && cid.hash().digest().len() == 32;
    if cid.version() == Version::V1 && codec && hash {
        Ok(())
    } else {
        Err(ShareError::Cid)
    }
}

/// What a sender shared with some recipients of one mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ShareParts", into = "ShareParts")]
pub struct Share {
    parts: ShareParts,
}

/// The parts of a [`Share`], checked by [`Share::new`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareParts {
    /// Names the share.
    pub id: Uuid,
    /// Who shares.
    pub sender: Address,
    /// With whom; hidden recipients are among them.
    pub recipients: Vec<Address>,
    /// What.
    pub resources: Vec<SharedResource>,
    /// What kind of correspondence it is.
    pub category: Category,
    /// The Message-ID of the placeholder, with its angle brackets.
    pub message_id: String,
    /// When it was made.
    pub created: Timestamp,
    /// The first moment at which nothing may be fetched any more.
    pub expires: Timestamp,
    /// When the sender took it back, if so.
    pub revoked: Option<Timestamp>,
}

/// A share as one of its recipients sees it: nobody else is named in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShareView {
    /// Who shares.
    pub sender: Address,
    /// The one who looks.
    pub recipient: Address,
    /// What.
    pub resources: Vec<SharedResource>,
    /// What kind of correspondence it is.
    pub category: Category,
    /// The Message-ID of the placeholder.
    pub message_id: String,
    /// Until when.
    pub expires: Timestamp,
}

impl Share {
    /// A share.
    ///
    /// # Errors
    /// [`ShareError`] for none or too many resources or recipients, for one that stands twice, and for an expiry that
    /// is not after the creation.
    pub fn new(parts: ShareParts) -> Result<Self, ShareError> {
        let counts = (1..=limits::RESOURCES).contains(&parts.resources.len())
            && (1..=limits::SHARE_RECIPIENTS).contains(&parts.recipients.len());
        if !counts {
            return Err(ShareError::Count);
        }
        let people: BTreeSet<_> = parts.recipients.iter().collect();
        let roots: BTreeSet<_> = parts.resources.iter().map(SharedResource::cid).collect();
        if people.len() != parts.recipients.len() || roots.len() != parts.resources.len() {
            return Err(ShareError::Duplicate);
        }
        if parts.expires <= parts.created {
            return Err(ShareError::Expiry);
        }
        Ok(Self { parts })
    }

    /// Its parts.
    #[must_use]
    pub fn parts(&self) -> &ShareParts {
        &self.parts
    }

    /// Names the share.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.parts.id
    }

    /// Takes it back. A second time changes nothing.
    pub fn revoke(&mut self, now: Timestamp) {
        self.parts.revoked.get_or_insert(now);
    }

    /// Whether anything may be fetched by it at this moment.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.parts.revoked.is_none() && now < self.parts.expires
    }

    /// Whether `recipient` may fetch all of `roots` that `sender` shared. False for no roots at all. What a stranger
    /// is told does not depend on why it is false.
    #[must_use]
    pub fn may_fetch(&self, roots: &[Cid], sender: &Address, recipient: &Address, now: Timestamp) -> bool {
        let held: BTreeSet<_> = self.parts.resources.iter().map(SharedResource::cid).collect();
        let people = self.parts.sender == *sender && self.parts.recipients.contains(recipient);
        let all = !roots.is_empty() && roots.iter().all(|root| held.contains(root));
        people && all && self.is_open(now)
    }

    /// The share as this recipient sees it; none for anybody else.
    #[must_use]
    pub fn shown_to(&self, recipient: &Address) -> Option<ShareView> {
        let parts = &self.parts;
        parts.recipients.contains(recipient).then(|| ShareView {
            sender: parts.sender.clone(),
            recipient: recipient.clone(),
            resources: parts.resources.clone(),
            category: parts.category.clone(),
            message_id: parts.message_id.clone(),
            expires: parts.expires,
        })
    }
}

impl TryFrom<ShareParts> for Share {
    type Error = ShareError;
    fn try_from(parts: ShareParts) -> Result<Self, ShareError> {
        Self::new(parts)
    }
}

impl From<Share> for ShareParts {
    fn from(share: Share) -> Self {
        share.parts
    }
}

#[cfg(test)]
mod tests;
