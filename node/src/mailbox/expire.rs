//! The end of shares whose time is over: it stands in the ledger, and what only they kept is kept no longer.
//!
//! What always holds: nothing is granted by a share after its end, whether it is written down already or not; the end is
//! written down once.

use std::time::Duration;

use cargomail_protocol::ledger::{Act, Event};
use cargomail_protocol::share::Share;
use cargomail_protocol::timestamp::Timestamp;
use tokio_util::sync::CancellationToken;

use super::share::roots;
use super::{Mailbox, MailboxError};
use crate::store::{CommitError, Cond, Op, typed};

/// Shares that have not ended: `share-ends/<end>-<id>`, the first to end first.
const ENDS: &str = "share-ends/";
/// How often ends are looked for.
const LOOK: Duration = Duration::from_secs(30);
/// Ends read at a time.
const PAGE: usize = 200;

/// Where it stands when a share ends.
pub(super) fn key(share: &Share) -> String {
    format!("{ENDS}{:016x}-{}", share.parts().expires.millis(), share.id())
}

impl Mailbox {
    /// Writes down which shares have ended, until cancelled.
    pub(super) async fn expire(&self, shutdown: &CancellationToken) {
        loop {
            if let Err(error) = self.end_shares(self.now()).await {
                tracing::error!(%error, step = "share", "the ends of shares cannot be written down");
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn end_shares(&self, now: Timestamp) -> Result<(), MailboxError> {
        let records = &self.needs.records;
        let mut after: Option<String> = None;
        loop {
            let page = records.list(ENDS, after.as_deref(), PAGE).await?;
            for entry in &page {
                let Some((end, id)) = entry.key.strip_prefix(ENDS).and_then(|rest| rest.split_once('-'))
                else {
                    continue;
                };
                if u64::from_str_radix(end, 16).is_ok_and(|end| end > now.millis()) {
                    return Ok(());
                }
                let share = typed::read::<Share>(&**records, &format!("share/{id}")).await?;
                let events = share.iter().map(|(_, share)| told(share)).collect();
                let when = vec![Cond::Is(entry.key.clone(), entry.version)];
                let then = vec![Op::Delete(entry.key.clone())];
                match self.needs.ledger.commit(when, then, events).await {
                    Ok(_) => tracing::info!(step = "share", %id, "a share has ended"),
                    // Taken back at this very moment, or somebody else wrote the ledger: looked at again later.
                    Err(CommitError::Conflict(_)) => {}
                    Err(CommitError::Store(error)) => return Err(error.into()),
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(()),
            }
        }
    }
}

fn told(share: &Share) -> Event {
    Event {
        act: Act::Expired,
        parties: vec![share.parts().sender.to_string()],
        message_id: share.parts().message_id.clone(),
        resources: roots(&share.parts().resources),
        evidence: String::new(),
    }
}
