//! What a user holds here, how much of their quota it takes, and why a resource of theirs is kept.
//!
//! What always holds: only what is the caller's own is shown; anything else looks as if it were not there (row H05).

use cargomail_protocol::address::Address;
use cargomail_protocol::share::parse_root;
use cid::Cid;

use super::{Mailbox, MailboxError, who};
use crate::api::{HeldView, HolderView, UsageView, Why};
use crate::keeping::references::Holder;

/// Resources on one page at most.
const PAGE: usize = 500;

impl Mailbox {
    /// Answers `GET /api/v1/resources`: a page in the order of the CIDs.
    pub(super) async fn listed(
        &self,
        caller: &Address,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Vec<HeldView>, MailboxError> {
        let after = after.map(parse_root).transpose()?;
        let limit = limit.unwrap_or(PAGE).clamp(1, PAGE);
        let held = self.holdings.all(caller, after.as_ref(), limit).await?;
        let view = held.into_iter().map(|(cid, holding)| HeldView {
            cid: cid.to_string(),
            size: holding.size,
            since: holding.since,
        });
        Ok(view.collect())
    }

    /// Answers `GET /api/v1/usage`.
    pub(super) async fn usage(&self, caller: &Address) -> Result<UsageView, MailboxError> {
        let account = self.holdings.account(caller).await?;
        let usage = self.holdings.usage(caller).await?.usage;
        Ok(UsageView {
            held: usage.held,
            claimed: usage.claimed.saturating_add(self.coming.to(caller)),
            retrievals: usage.jobs,
            quota: account.quota,
        })
    }

    /// Answers `GET /api/v1/resources/{cid}/why`: the caller's own holding, shares and retrievals of it.
    pub(super) async fn why(&self, caller: &Address, cid: &str) -> Result<Why, MailboxError> {
        let cid = parse_root(cid).map_err(|_| MailboxError::Missing)?;
        let mut holders = Vec::new();
        if self.holdings.find(caller, &cid).await?.is_some() {
            let record = format!("{}{}/{cid}", Holder::Holding.prefix(), who(caller));
            holders.push(view(Holder::Holding, caller, record));
        }
        for (_, share) in self.open_shares_of(caller, Some(&cid)).await? {
            let parts = share.parts();
            holders.push(HolderView {
                message_id: parts.message_id.clone(),
                until: Some(parts.expires),
                ..view(Holder::Share, caller, super::share::share_key(parts.id))
            });
        }
        for job in self.jobs.of(caller, None).await? {
            if !job.state.is_final() && self.names(&job, &cid).await? {
                holders.push(HolderView {
                    message_id: job.message_id.clone(),
                    until: Some(job.expires),
                    ..view(Holder::Retrieval, caller, super::jobs::key(&job.id))
                });
            }
        }
        if holders.is_empty() {
            return Err(MailboxError::Missing);
        }
        Ok(Why {
            cid: cid.to_string(),
            here: holders
                .iter()
                .any(|holder| holder.kind != Holder::Retrieval.name()),
            holders,
        })
    }

    async fn names(&self, job: &super::jobs::Job, cid: &Cid) -> Result<bool, MailboxError> {
        let (notification, _) = super::jobs::notification(&*self.needs.blocks, job).await?;
        let mut resources = notification.resources.iter();
        Ok(resources.any(|resource| resource.cid() == cid))
    }
}

fn view(holder: Holder, whose: &Address, record: String) -> HolderView {
    HolderView {
        kind: holder.name().to_owned(),
        whose: who(whose),
        message_id: String::new(),
        until: None,
        record,
    }
}
