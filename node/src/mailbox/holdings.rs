//! Who holds which resources, and how much of their quota that takes.
//!
//! What always holds: every change of somebody's holdings is made under the condition that their `usage` record is as it was
//! read, so that two at once never pass the quota together.

use std::sync::Arc;

use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::dag::Codec;
use cargomail_protocol::limits;
use cargomail_protocol::share::{SharedResource, parse_root};
use cargomail_protocol::timestamp::Timestamp;
use cid::Cid;
use serde::{Deserialize, Serialize};

use super::{MailboxError, who};
use crate::accounts::{Account, Accounts};
use crate::keeping::Standing;
use crate::keeping::references::Holder;
use crate::store::{CommitError, Cond, Op, RecordStore, StoreError, Version, typed};

/// `holding/<who>/<cid>` → [`Holding`].
const HOLDINGS: &str = Holder::Holding.prefix();
/// Records read at a time.
const PAGE: usize = 500;

/// A resource that is here whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resource {
    /// Its octets.
    pub(super) size: u64,
    /// SHA-256 over all of them in lower-case hex, if they passed here in order; those of a retrieved one are proved by
    /// its CID alone.
    pub(super) sha256: Option<String>,
    /// The Resource Mailboxes that sent all of it: who has sent it once shows nobody anything by not sending it again
    /// (row T11). The newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) from: Vec<Locator>,
}

impl Resource {
    /// Remembers that it came whole from there.
    pub(super) fn came_from(&mut self, origin: &Locator) {
        self.from.retain(|other| other != origin);
        if self.from.len() >= limits::ORIGINS_REMEMBERED {
            self.from.remove(0);
        }
        self.from.push(origin.clone());
    }
}

/// That somebody holds a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Holding {
    /// Its octets.
    pub(super) size: u64,
    /// Since when.
    pub(super) since: Timestamp,
    /// When they deleted it, if it stays because a legal hold stood: then it is not theirs any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hidden: Option<Timestamp>,
}

/// What of somebody's quota is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Usage {
    /// Octets of resources that they hold.
    pub(super) held: u64,
    /// Octets that are kept free for what has come of retrievals that wait.
    pub(super) claimed: u64,
    /// Retrievals on their way.
    pub(super) jobs: u32,
}

impl Usage {
    /// That so many octets more are within the account's quota, while so many are coming. What stands in the way of them may be on its way
    /// only, and never come: then it is for later (row Q09).
    pub(super) fn check(&self, account: &Account, coming: u64, more: u64) -> Result<(), MailboxError> {
        let Some(quota) = account.quota else { return Ok(()) };
        let held = self.held.saturating_add(more);
        if held > quota {
            Err(MailboxError::OverQuota(quota))
        } else if held.saturating_add(self.claimed).saturating_add(coming) > quota {
            Err(MailboxError::Crowded)
        } else {
            Ok(())
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

    /// What this person holds of that name, and the version of its record.
    pub(super) async fn find(
        &self,
        address: &Address,
        cid: &Cid,
    ) -> Result<Option<(Version, Holding)>, StoreError> {
        let found = typed::read::<Holding>(&*self.records, &holding_key(address, cid)).await?;
        Ok(found.filter(|(_, holding)| holding.hidden.is_none()))
    }

    /// That this person's holding is as it was read.
    pub(super) fn is(address: &Address, cid: &Cid, version: Version) -> Cond {
        Cond::Is(holding_key(address, cid), version)
    }

    /// Octets of a resource, when this person holds it.
    pub(super) async fn size(&self, address: &Address, cid: &Cid) -> Result<Option<u64>, StoreError> {
        Ok(self.find(address, cid).await?.map(|(_, holding)| holding.size))
    }

    /// Which of the resources this person holds, with these sizes: for those, the condition that it stays so.
    pub(super) async fn standing(
        &self,
        address: &Address,
        resources: &[SharedResource],
    ) -> Result<Vec<Option<Cond>>, StoreError> {
        let keys: Vec<String> = resources
            .iter()
            .map(|resource| holding_key(address, resource.cid()))
            .collect();
        let mut standing = Vec::with_capacity(resources.len());
        for (record, resource) in self.records.get(&keys).await?.into_iter().zip(resources) {
            standing.push(match record {
                Some(record) => {
                    let holding: Holding = typed::decode(&record)?;
                    let held = holding.hidden.is_none() && holding.size == resource.size();
                    held.then_some(Cond::Is(record.key, record.version))
                }
                None => None,
            });
        }
        Ok(standing)
    }

    /// Which of the resources this person holds, with these sizes.
    pub(super) async fn held(
        &self,
        address: &Address,
        resources: &[SharedResource],
    ) -> Result<Vec<bool>, StoreError> {
        let standing = self.standing(address, resources).await?;
        Ok(standing.iter().map(Option::is_some).collect())
    }

    /// What this person holds, by CID, behind `after`: at most `limit`.
    pub(super) async fn all(
        &self,
        address: &Address,
        after: Option<&Cid>,
        limit: usize,
    ) -> Result<Vec<(Cid, Holding)>, StoreError> {
        let prefix = format!("{HOLDINGS}{}/", who(address));
        let mut after = after.map(|cid| holding_key(address, cid));
        let mut all = Vec::new();
        loop {
            let wanted = limit - all.len();
            let page = self.records.list(&prefix, after.as_deref(), wanted).await?;
            for record in &page {
                let holding: Holding = typed::decode(record)?;
                let name = record.key.strip_prefix(&prefix).map(parse_root);
                if let (Some(Ok(cid)), None) = (name, holding.hidden) {
                    all.push((cid, holding));
                }
            }
            match page.last() {
                Some(last) if page.len() == wanted && all.len() < limit => after = Some(last.key.clone()),
                _ => return Ok(all),
            }
        }
    }

    /// The resources that are here whole, with these sizes.
    pub(super) async fn whole(
        &self,
        resources: &[SharedResource],
    ) -> Result<Vec<Option<Resource>>, StoreError> {
        let keys: Vec<String> = resources
            .iter()
            .map(|resource| resource_key(resource.cid()))
            .collect();
        let mut whole = Vec::with_capacity(resources.len());
        for (record, resource) in self.records.get(&keys).await?.iter().zip(resources) {
            whole.push(match record {
                Some(record) => {
                    let whole: Resource = typed::decode(record)?;
                    Some(whole).filter(|whole| whole.size == resource.size())
                }
                None => None,
            });
        }
        Ok(whole)
    }
}

fn resource_key(cid: &Cid) -> String {
    format!("resource/{cid}")
}

fn holding_key(address: &Address, cid: &Cid) -> String {
    format!("{HOLDINGS}{}/{cid}", who(address))
}

/// Records that a resource is here whole.
pub(super) fn arrived(cid: &Cid, resource: &Resource) -> Op {
    Op::Put(resource_key(cid), typed::encode(resource))
}

/// Records that somebody holds a resource.
pub(super) fn hold(address: &Address, cid: &Cid, size: u64, since: Timestamp) -> Op {
    let holding = Holding {
        size,
        since,
        hidden: None,
    };
    Op::Put(holding_key(address, cid), typed::encode(&holding))
}

/// Somebody holds a resource no longer; where a legal hold stands, it is hidden instead.
pub(super) fn part_with(address: &Address, cid: &Cid, holding: &Holding, hidden: Option<Timestamp>) -> Op {
    let key = holding_key(address, cid);
    match hidden {
        Some(_) => {
            let Holding { size, since, .. } = *holding;
            let hidden = Holding { size, since, hidden };
            Op::Put(key, typed::encode(&hidden))
        }
        None => Op::Delete(key),
    }
}

/// Lets go what users deleted while a legal hold stood that stands no longer.
pub(crate) async fn let_go(records: &dyn RecordStore) -> Result<(), StoreError> {
    let mut after: Option<String> = None;
    loop {
        let standing = Standing::read(records).await?;
        let page = records.list(HOLDINGS, after.as_deref(), PAGE).await?;
        for record in &page {
            let holding: Holding = typed::decode(record)?;
            let name = record
                .key
                .strip_prefix(HOLDINGS)
                .and_then(|rest| rest.rsplit_once('/'));
            let Some((whose, Ok(cid))) = name.map(|(whose, cid)| (whose, parse_root(cid))) else {
                continue;
            };
            if holding.hidden.is_none() || standing.holds(whose, &cid) {
                continue;
            }
            let when = vec![Cond::Is(record.key.clone(), record.version), standing.unchanged()];
            match records.commit(when, vec![Op::Delete(record.key.clone())]).await {
                // Posted again, or held again: the next collection looks anew.
                Ok(_) | Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error),
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
            _ => return Ok(()),
        }
    }
}

/// A resource that is here whole.
pub(crate) struct Here {
    /// Its octets.
    pub(crate) size: u64,
    /// That it is still so.
    pub(crate) unchanged: Cond,
    /// Says so anew, so that who takes the record for unused is told of a conflict.
    pub(crate) put: Op,
}

/// What is here whole under that name.
pub(crate) async fn resource(records: &dyn RecordStore, cid: &Cid) -> Result<Option<Here>, StoreError> {
    let key = resource_key(cid);
    let found = typed::read::<Resource>(records, &key).await?;
    Ok(found.map(|(version, resource)| Here {
        size: resource.size,
        unchanged: Cond::Is(key, version),
        put: arrived(cid, &resource),
    }))
}

/// Nothing referred to these blocks up to a commit: no resource with such a root is here whole, unless it came anew since.
pub(crate) async fn no_longer_whole(
    records: &dyn RecordStore,
    digests: impl Iterator<Item = [u8; 32]>,
    seen: Version,
) -> Result<(), StoreError> {
    let keys: Vec<String> = digests
        .flat_map(|digest| {
            [Codec::Raw, Codec::DagPb, Codec::DagCbor].map(|codec| resource_key(&codec.cid(digest)))
        })
        .collect();
    let mut found: Vec<_> = records.get(&keys).await?.into_iter().flatten().collect();
    found.retain(|record| record.version <= seen);
    if found.is_empty() {
        return Ok(());
    }
    let (when, then) = found
        .iter()
        .map(|record| {
            let unchanged = Cond::Is(record.key.clone(), record.version);
            (unchanged, Op::Delete(record.key.clone()))
        })
        .unzip();
    match records.commit(when, then).await {
        Ok(_) => return Ok(()),
        Err(CommitError::Conflict(_)) => {}
        Err(CommitError::Store(error)) => return Err(error),
    }
    // Some of them came anew: those stay, the others go one by one.
    for record in found {
        let when = vec![Cond::Is(record.key.clone(), record.version)];
        match records.commit(when, vec![Op::Delete(record.key)]).await {
            Ok(_) | Err(CommitError::Conflict(_)) => {}
            Err(CommitError::Store(error)) => return Err(error),
        }
    }
    Ok(())
}
