//! What was kept for others' questions, and is asked for no more, is forgotten (row Q09): what was granted, and retrievals that have ended.
//!
//! What always holds: a grant stays as long as a receipt for it may come, a retrieval as long as its broker may ask; what happened stands in
//! the ledger.

use std::time::Duration;

use cargomail_protocol::limits;
use cargomail_protocol::share::Share;
use cargomail_protocol::timestamp::Timestamp;
use tokio_util::sync::CancellationToken;

use super::authorize::{Grant, granted_key};
use super::jobs::{self, Job};
use super::share::{self, share_key};
use super::{Mailbox, MailboxError};
use crate::keeping::references::Holder;
use crate::store::{CommitError, Cond, Op, Record, StoreError, typed};

/// How often is looked for what is over.
const LOOK: Duration = Duration::from_secs(3600);
/// Records read at a time.
const PAGE: usize = 200;

impl Mailbox {
    /// Forgets what is over, until cancelled.
    pub(super) async fn forget(&self, shutdown: &CancellationToken) {
        loop {
            for kind in [Holder::Grant, Holder::Retrieval] {
                if let Err(error) = self.forget_all(kind).await {
                    tracing::error!(%error, kind = kind.name(), "what is over could not be forgotten");
                }
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Looks at every record of a kind. One that cannot be read stops nothing.
    async fn forget_all(&self, kind: Holder) -> Result<(), MailboxError> {
        let mut after: Option<String> = None;
        loop {
            let page = self
                .needs
                .records
                .list(kind.prefix(), after.as_deref(), PAGE)
                .await?;
            for record in &page {
                let looked = match kind {
                    Holder::Grant => self.of_grant(record).await,
                    _ => self.of_job(record),
                };
                match looked {
                    Ok(gone) if gone.is_empty() => {}
                    Ok(gone) => {
                        let when = vec![Cond::Is(record.key.clone(), record.version)];
                        match self.needs.records.commit(when, gone).await {
                            // It is used at this moment: it is looked at again later.
                            Ok(_) | Err(CommitError::Conflict(_)) => {}
                            Err(CommitError::Store(error)) => return Err(error.into()),
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "a record cannot be read; an operator has to look");
                    }
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// What goes with a grant, if all its shares ended so long ago that no token lives by which a receipt could come.
    async fn of_grant(&self, record: &Record) -> Result<Vec<Op>, StoreError> {
        let grant: Grant = typed::decode(record)?;
        let now = self.now();
        let over = |since: Timestamp| now.since(since) > limits::NOTIFY_TOKEN_LIFE;
        if !over(grant.since) {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = grant.shares.iter().map(|share| share_key(*share)).collect();
        for some in keys.chunks(share::PAGE) {
            for record in self.needs.records.get(some).await?.iter().flatten() {
                let share: Share = typed::decode(record)?;
                let parts = share.parts();
                let ended = parts
                    .revoked
                    .map_or(parts.expires, |revoked| revoked.min(parts.expires));
                if !over(ended) {
                    return Ok(Vec::new());
                }
            }
        }
        let mut gone = vec![record.key.clone()];
        let name = record.key.strip_prefix(Holder::Grant.prefix());
        gone.extend(name.map(|name| format!("receipt/{name}")));
        let shares = grant.shares.iter();
        gone.extend(shares.map(|share| granted_key(*share, &grant.recipient)));
        Ok(gone.into_iter().map(Op::Delete).collect())
    }

    /// What goes with a retrieval, if it ended so long ago that nobody asks for it.
    fn of_job(&self, record: &Record) -> Result<Vec<Op>, StoreError> {
        let job: Job = typed::decode(record)?;
        let now = self.now();
        let over = |since: Timestamp| now.since(since) > limits::REMEMBERED;
        // What is due is due no later than its end, or was the last try of its receipt.
        let ended = job.state.is_final() && job.receipt.is_none() && over(job.since) && over(job.tries.due);
        Ok(if ended { jobs::forget(&job) } else { Vec::new() })
    }
}
