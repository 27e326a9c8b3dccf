//! A user deletes a resource that they hold: their quota is free at once, the blocks go with a later collection if nobody else
//! refers to them.
//!
//! What always holds: only one's own holding ends (row T11); usage, holding and the ledger's entry are one commit; what is shared by
//! them still is deleted only when they say so, and then the shares are taken back first; while a legal hold stands, the
//! resource is hidden from its user and stays.

use cargomail_protocol::address::Address;
use cargomail_protocol::ledger::{Act, Event};
use cargomail_protocol::share::{Share, parse_root};
use cid::Cid;

use super::holdings::{Holdings, part_with};
use super::share::{PAGE, last_key, taken_back};
use super::{COMMITS, Mailbox, MailboxError, who};
use crate::api::Deleted;
use crate::keeping::Standing;
use crate::store::{CommitError, Cond, StoreError, Version};

/// What becomes of the shares that refer to what is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shares {
    /// Nothing is deleted while there are some.
    Respected,
    /// They are taken back.
    TakenBack,
}

impl Mailbox {
    /// Answers `DELETE /api/v1/resources/{cid}`.
    pub(super) async fn delete(
        &self,
        caller: &Address,
        cid: &str,
        shares: Shares,
    ) -> Result<Deleted, MailboxError> {
        let cid = parse_root(cid).map_err(|_| MailboxError::Missing)?;
        let mut revoked = Vec::new();
        for _ in 0..COMMITS {
            let found = self.holdings.find(caller, &cid).await?;
            let (version, holding) = found.ok_or(MailboxError::Missing)?;
            let last = self.last_share(caller).await?;
            let open = self.open_shares_of(caller, Some(&cid)).await?;
            match (open.first(), shares) {
                (Some((_, share)), Shares::Respected) => {
                    return Err(MailboxError::Shared {
                        cid,
                        share: share.id(),
                        until: share.parts().expires,
                    });
                }
                (Some(_), Shares::TakenBack) => {
                    for (version, mut share) in open {
                        let (when, then, event) = taken_back(&mut share, version, self.now());
                        match self.needs.ledger.commit(when, then, vec![event]).await {
                            Ok(_) => revoked.push(share.id()),
                            // It is looked at again.
                            Err(CommitError::Conflict(_)) => {}
                            Err(CommitError::Store(error)) => return Err(error.into()),
                        }
                    }
                    continue;
                }
                (None, _) => {}
            }
            let standing = Standing::read(&*self.needs.records).await?;
            let hidden = standing.holds(&who(caller), &cid).then(|| self.now());
            let mut kept = self.holdings.usage(caller).await?;
            kept.usage.held = kept.usage.held.saturating_sub(holding.size);
            let when = vec![
                kept.unchanged(),
                Holdings::is(caller, &cid, version),
                standing.unchanged(),
                last,
            ];
            let then = vec![kept.put(), part_with(caller, &cid, &holding, hidden)];
            let event = Event {
                act: Act::Deleted,
                parties: vec![caller.to_string()],
                message_id: String::new(),
                resources: vec![cid],
                evidence: String::new(),
            };
            match self.needs.ledger.commit(when, then, vec![event]).await {
                Ok(_) => {
                    tracing::info!(step = "delete", %cid, size = holding.size, "a resource is deleted by its user");
                    return Ok(Deleted {
                        cid: cid.to_string(),
                        size: holding.size,
                        revoked,
                    });
                }
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(MailboxError::Busy)
    }

    /// That this person shares nothing more meanwhile.
    async fn last_share(&self, caller: &Address) -> Result<Cond, StoreError> {
        let key = last_key(caller);
        let found = self.needs.records.get(std::slice::from_ref(&key)).await?;
        Ok(match found.into_iter().flatten().next() {
            Some(record) => Cond::Is(key, record.version),
            None => Cond::Absent(key),
        })
    }

    /// The shares of this person that have not ended; only those of one resource, where one is named.
    pub(super) async fn open_shares_of(
        &self,
        caller: &Address,
        of: Option<&Cid>,
    ) -> Result<Vec<(Version, Share)>, StoreError> {
        let prefix = format!("share-by/{}/", who(caller));
        let now = self.now();
        let mut open = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.needs.records.list(&prefix, after.as_deref(), PAGE).await?;
            for (version, share) in self.listed_shares(&page).await? {
                let names = |cid: &Cid| {
                    let mut resources = share.parts().resources.iter();
                    resources.any(|resource| resource.cid() == cid)
                };
                if share.is_open(now) && of.is_none_or(names) {
                    open.push((version, share));
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(open),
            }
        }
    }
}
