//! The graph of references: every kind of record that refers to resources, and what it refers to.
//!
//! A new kind of record is added to [`Holder`] when it refers to something, else to [`OTHERS`]. A store with a record that is of
//! neither kind is not collected, so none can be forgotten.

use std::collections::HashSet;
use std::sync::Arc;

use cargomail_protocol::dag::{Codec, Kind, Walk};
use cargomail_protocol::timestamp::Timestamp;
use cid::Cid;

use super::Standing;
use crate::store::typed::Stored;
use crate::store::{BlockStore, Record, RecordStore, StoreError};
use crate::{broker, mailbox};

/// Records read at a time.
const PAGE: usize = 200;
/// Nodes below one root that are remembered as read; beyond that they are read again.
const NODES: usize = 64 * 1024;
/// Blocks of a walk after which others have their turn.
const TURN: usize = 4096;
/// Sorts behind every key that begins alike.
const LAST: char = char::MAX;

/// A kind of record that refers to resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Somebody posted it, or it was retrieved for them.
    Holding,
    /// Somebody shares it.
    Share,
    /// It is on its way to somebody; and the notification of it.
    Retrieval,
    /// The notification by which somebody was allowed to fetch.
    Grant,
    /// A message that arrives, and the notification of its resources.
    Arriving,
    /// A message that leaves.
    Leaving,
    /// A message in a User Mailbox.
    Message,
    /// A message that its user deleted while a legal hold stood.
    HiddenMessage,
    /// A legal hold on one resource.
    LegalHold,
}

/// Records that refer to no resource, by the beginnings of their keys.
const OTHERS: [&str; 27] = [
    "account/",
    "collection",
    "folder/",
    "granted/",
    "job-message/",
    "job-of/",
    "job-open/",
    "job-place/",
    "ledger-head",
    "ledger/",
    "legal-holds",
    "preferences/",
    "queued/",
    "receipt/",
    "received/",
    "replay/",
    "resource/",
    "seen/",
    "sent-receipt/",
    "session/",
    "share-by/",
    "share-ends/",
    "share-last/",
    "share-of/",
    "share-to/",
    "submitted/",
    "usage/",
];

impl Holder {
    pub(crate) const ALL: [Holder; 9] = [
        Holder::Holding,
        Holder::Share,
        Holder::Retrieval,
        Holder::Grant,
        Holder::Arriving,
        Holder::Leaving,
        Holder::Message,
        Holder::HiddenMessage,
        Holder::LegalHold,
    ];

    /// How the keys of such records begin.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Holder::Holding => "holding/",
            Holder::Share => "share/",
            Holder::Retrieval => "job/",
            Holder::Grant => "grant/",
            Holder::Arriving => "inbound/",
            Holder::Leaving => "outbound/",
            Holder::Message => "message/",
            Holder::HiddenMessage => "hidden-message/",
            Holder::LegalHold => "legal-hold/",
        }
    }

    /// What people are told that it is.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Holder::Holding => "holding",
            Holder::Share => "share",
            Holder::Retrieval => "retrieval",
            Holder::Grant => "grant",
            Holder::Arriving => "arriving message",
            Holder::Leaving => "leaving message",
            Holder::Message => "message",
            Holder::HiddenMessage => "deleted message under legal hold",
            Holder::LegalHold => "legal hold",
        }
    }

    fn of(key: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|holder| key.starts_with(holder.prefix()))
    }
}

/// A resource that is referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Root {
    pub(crate) cid: Cid,
    pub(crate) size: u64,
    /// Whether all of it has to be here, or only what has come so far.
    pub(crate) whole: bool,
}

impl Root {
    /// None for octets that stand in the record itself.
    pub(crate) fn of(stored: &Stored) -> Option<Self> {
        stored.is_resource().then_some(Self {
            cid: stored.cid,
            size: stored.size,
            whole: true,
        })
    }
}

/// What one record refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// What kind of record it is.
    pub(crate) holder: Holder,
    /// The record.
    pub(crate) key: String,
    /// Whose matter it is; empty where it is nobody's.
    pub(crate) whose: String,
    /// Of which mail, if of one.
    pub(crate) message_id: String,
    /// Until when it refers, where that is known.
    pub(crate) until: Option<Timestamp>,
    /// To what.
    pub(crate) roots: Vec<Root>,
}

/// What is needed to say whether a record still refers.
pub(crate) struct Judge<'a> {
    pub(crate) blocks: &'a dyn BlockStore,
    pub(crate) now: Timestamp,
    pub(crate) standing: &'a Standing,
}

/// The records and the blocks that they refer to. Cheap to clone.
#[derive(Clone)]
pub(super) struct References {
    pub(super) blocks: Arc<dyn BlockStore>,
    pub(super) records: Arc<dyn RecordStore>,
}

impl References {
    /// The key of a record of which nobody knows whether it refers to something.
    pub(super) async fn stranger(&self) -> Result<Option<String>, StoreError> {
        let holders = Holder::ALL.map(Holder::prefix);
        let mut after: Option<String> = None;
        while let Some(record) = self.records.list("", after.as_deref(), 1).await?.pop() {
            let known = holders.iter().chain(&OTHERS);
            // The longest: `share-by/` is no `share`.
            let known = known
                .filter(|known| record.key.starts_with(**known))
                .max_by_key(|known| known.len());
            match known {
                Some(known) if known.ends_with('/') => after = Some(format!("{known}{LAST}")),
                Some(known) if record.key == **known => after = Some(record.key),
                _ => return Ok(Some(record.key)),
            }
        }
        Ok(None)
    }

    /// What a record refers to at this moment; none when it refers to nothing, or not any more.
    pub(super) async fn claim(
        &self,
        record: &Record,
        standing: &Standing,
        now: Timestamp,
    ) -> Result<Option<Claim>, StoreError> {
        let Some(holder) = Holder::of(&record.key) else {
            return Ok(None);
        };
        let judge = Judge {
            blocks: &*self.blocks,
            now,
            standing,
        };
        match holder {
            Holder::Holding | Holder::Share | Holder::Retrieval | Holder::Grant => {
                mailbox::claim(holder, record, &judge).await
            }
            Holder::Arriving | Holder::Leaving | Holder::Message | Holder::HiddenMessage => {
                broker::claim(holder, record, standing)
            }
            Holder::LegalHold => super::hold::claim(record),
        }
    }

    /// The claims of the next page of records, possibly none; nothing after the last page.
    pub(super) async fn next(
        &self,
        place: &mut Place,
        standing: &Standing,
        now: Timestamp,
    ) -> Result<Option<Vec<Claim>>, StoreError> {
        let Some(holder) = Holder::ALL.get(place.holder) else {
            return Ok(None);
        };
        let after = place.after.as_deref();
        let page = self.records.list(holder.prefix(), after, PAGE).await?;
        let mut claims = Vec::with_capacity(page.len());
        for record in &page {
            claims.extend(self.claim(record, standing, now).await?);
        }
        match page.last() {
            Some(last) if page.len() == PAGE => place.after = Some(last.key.clone()),
            _ => {
                *place = Place {
                    holder: place.holder + 1,
                    after: None,
                }
            }
        }
        Ok(Some(claims))
    }

    /// Gives the name of every block below a root to `each`, its own included. Nodes are read, leaves are not. What is below a node
    /// that stands at several places is given once: the blocks of one resource may be few, and the ways to them 2^28 (row C04).
    pub(super) async fn below(&self, root: Root, mut each: impl FnMut(&Cid)) -> Result<(), Lost> {
        let lost = |why: String| Lost { root: root.cid, why };
        let mut walk = match Walk::new(root.cid, root.size) {
            Ok(walk) => walk,
            Err(error) if root.whole => return Err(lost(error.to_string())),
            // Nothing of it can have come.
            Err(_) => return Ok(()),
        };
        let mut read = HashSet::new();
        let mut steps = 0_usize;
        while let Some(next) = walk.next() {
            steps += 1;
            if steps.is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
            each(&next.cid);
            let stepped = match next.kind {
                Kind::Leaf => walk.pass(),
                Kind::Node if read.contains(&(next.cid, next.size)) => walk.leave_out(),
                Kind::Node => match self.blocks.get(&next.cid).await {
                    Ok(Some(node)) => {
                        if read.len() >= NODES {
                            read.clear();
                        }
                        read.insert((next.cid, next.size));
                        walk.trust(&node).map(drop)
                    }
                    Ok(None) if root.whole => return Err(lost(format!("{} is not here", next.cid))),
                    Ok(None) => walk.leave_out(),
                    Err(error) => return Err(lost(error.to_string())),
                },
            };
            match stepped {
                Ok(()) => {}
                Err(error) if root.whole => return Err(lost(error.to_string())),
                // It is no resource, and what is behind could not have come.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}

/// How far the records were read.
#[derive(Debug, Default)]
pub(super) struct Place {
    holder: usize,
    after: Option<String>,
}

/// A node that is referred to cannot be read, so what is below it is not known.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) root: Cid,
    pub(super) why: String,
}

/// Whether a root alone says all that it refers to.
pub(super) fn is_leaf(cid: &Cid) -> bool {
    Codec::from_code(cid.codec()) != Ok(Codec::DagPb)
}
