//! Who holds which resources, and how much of their quota that takes.
//!
//! What always holds: every change of somebody's holdings is made under the condition that their `usage` record is as it was
//! read, so that two at once never pass the quota together.

use std::sync::Arc;

use cargomail_protocol::address::Address;
use cargomail_protocol::share::SharedResource;
use cargomail_protocol::timestamp::Timestamp;
use cid::Cid;
use serde::{Deserialize, Serialize};

use super::{MailboxError, who};
use crate::accounts::{Account, Accounts};
use crate::store::{Cond, Op, RecordStore, StoreError, Version, typed};

/// A resource that is here whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resource {
    /// Its octets.
    pub(super) size: u64,
    /// SHA-256 over all of them in lower-case hex, if they passed here in order; those of a retrieved one are proved by
    /// its CID alone.
    pub(super) sha256: Option<String>,
}

/// That somebody holds a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holding {
    /// Its octets.
    size: u64,
    /// Since when.
    since: Timestamp,
}

/// What of somebody's quota is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Usage {
    /// Octets of resources that they hold.
    pub(super) held: u64,
    /// Octets on their way to them.
    pub(super) claimed: u64,
    /// Retrievals on their way.
    pub(super) jobs: u32,
}

impl Usage {
    /// That so many octets more are within the account's quota.
    pub(super) fn check(&self, account: &Account, more: u64) -> Result<(), MailboxError> {
        match account.quota {
            Some(quota) if self.held.saturating_add(self.claimed).saturating_add(more) > quota => {
                Err(MailboxError::OverQuota(quota))
            }
            _ => Ok(()),
        }
    }
}

/// Somebody's usage as it was read, to be written under the condition that nobody changed it.
pub(super) struct Kept {
    key: String,
    version: Option<Version>,
    pub(super) usage: Usage,
}

impl Kept {
    pub(super) fn unchanged(&self) -> Cond {
        match self.version {
            Some(version) => Cond::Is(self.key.clone(), version),
            None => Cond::Absent(self.key.clone()),
        }
    }

    pub(super) fn put(&self) -> Op {
        Op::Put(self.key.clone(), typed::encode(&self.usage))
    }
}

/// The records of resources, holdings and usage.
pub(super) struct Holdings {
    records: Arc<dyn RecordStore>,
    accounts: Accounts,
}

impl Holdings {
    pub(super) fn new(records: Arc<dyn RecordStore>, accounts: Accounts) -> Self {
        Self { records, accounts }
    }

    /// The account of somebody who must have one.
    pub(super) async fn account(&self, address: &Address) -> Result<Account, MailboxError> {
        self.accounts.find(address).await?.ok_or(MailboxError::NoSuchUser)
    }

    pub(super) async fn usage(&self, address: &Address) -> Result<Kept, StoreError> {
        let key = format!("usage/{}", who(address));
        let found = typed::read::<Usage>(&*self.records, &key).await?;
        Ok(Kept {
            key,
            version: found.map(|(version, _)| version),
            usage: found.map(|(_, usage)| usage).unwrap_or_default(),
        })
    }

    /// Octets of a resource, when this person holds it.
    pub(super) async fn size(&self, address: &Address, cid: &Cid) -> Result<Option<u64>, StoreError> {
        let held = typed::read::<Holding>(&*self.records, &holding_key(address, cid)).await?;
        Ok(held.map(|(_, holding)| holding.size))
    }

    /// Which of the resources this person holds, with these sizes.
    pub(super) async fn held(
        &self,
        address: &Address,
        resources: &[SharedResource],
    ) -> Result<Vec<bool>, StoreError> {
        let keys: Vec<String> = resources
            .iter()
            .map(|resource| holding_key(address, resource.cid()))
            .collect();
        let mut held = Vec::with_capacity(resources.len());
        for (record, resource) in self.records.get(&keys).await?.iter().zip(resources) {
            held.push(match record {
                Some(record) => typed::decode::<Holding>(record)?.size == resource.size(),
                None => false,
            });
        }
        Ok(held)
    }

    /// Which of the resources are here whole, with these sizes.
    pub(super) async fn whole(&self, resources: &[SharedResource]) -> Result<Vec<bool>, StoreError> {
        let keys: Vec<String> = resources
            .iter()
            .map(|resource| resource_key(resource.cid()))
            .collect();
        let mut whole = Vec::with_capacity(resources.len());
        for (record, resource) in self.records.get(&keys).await?.iter().zip(resources) {
            whole.push(match record {
                Some(record) => typed::decode::<Resource>(record)?.size == resource.size(),
                None => false,
            });
        }
        Ok(whole)
    }
}

fn resource_key(cid: &Cid) -> String {
    format!("resource/{cid}")
}

fn holding_key(address: &Address, cid: &Cid) -> String {
    format!("holding/{}/{cid}", who(address))
}

/// Records that a resource is here whole.
pub(super) fn arrived(cid: &Cid, resource: &Resource) -> Op {
    Op::Put(resource_key(cid), typed::encode(resource))
}

/// Records that somebody holds a resource.
pub(super) fn hold(address: &Address, cid: &Cid, size: u64, since: Timestamp) -> Op {
    Op::Put(holding_key(address, cid), typed::encode(&Holding { size, since }))
}
