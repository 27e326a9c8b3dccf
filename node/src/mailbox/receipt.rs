//! The receipt, at both ends: the origin notes that an agent has stored everything; the destination's agent tells it so until
//! it is noted.
//!
//! What always holds: a receipt is taken only from the agent to which the same notification was granted, and only the
//! first one counts, however often it comes.

use std::collections::HashSet;

use cargomail_protocol::exchange::{ReceiptAction, ReceiptOutcome, Receipting};
use cargomail_protocol::grip::{self, Digest, Expectation, KeyHash, Proved};
use cargomail_protocol::ledger::{Act, Event};
use cargomail_protocol::notification::Notification;
use cargomail_protocol::receipt::{self, Receipt};
use cargomail_protocol::share::Share;
use serde_json::Value;

use super::authorize::{Grant, grant_key};
use super::fetch::Trouble;
use super::jobs::Job;
use super::line::Line;
use super::share::{received, roots, share_key};
use super::{Mailbox, MailboxError};
use crate::store::{CommitError, Cond, Op, StoreError, typed};

impl Mailbox {
    /// At the origin: makes the receipt of whoever has this key durable.
    pub(super) async fn note(&self, token: &str, key: KeyHash) -> Result<(), MailboxError> {
        // Which notification it is about, only the token itself says; that it was granted, the grant shows.
        let digest = claimed_digest(token).ok_or(MailboxError::NotShared)?;
        let expectation = Expectation::receipt(self.audience(), Proved::Peer { key }, digest);
        let chain = self.needs.verifier.verify(expectation, token).await?;
        self.count(chain.issuer())?;
        let granted = typed::read::<Grant>(&*self.needs.records, &grant_key(&chain)).await?;
        let (grant, receipt) = match (granted, Receipt::of(&chain)) {
            (Some((_, grant)), Some(receipt)) if receipt.subject == grant.recipient => (grant, receipt),
            _ => return Err(MailboxError::NotShared),
        };
        let notification = self.granted_notification(&grant).await?;
        let key = format!("receipt/{}/{}", chain.digest(), chain.issuer());
        let mut then = vec![Op::Put(key.clone(), typed::encode(&receipt))];
        let stored: HashSet<_> = notification.resources.iter().collect();
        for id in &grant.shares {
            let share = typed::read::<Share>(&*self.needs.records, &share_key(*id)).await?;
            let all = share
                .is_some_and(|(_, share)| share.parts().resources.iter().all(|one| stored.contains(one)));
            if all {
                then.push(received(*id, &grant.recipient));
            }
        }
        let event = Event {
            act: Act::Receipt,
            parties: vec![chain.issuer().to_string(), grant.recipient.to_string()],
            message_id: notification.message_id.clone(),
            resources: roots(&notification.resources),
            evidence: receipt.token,
        };
        match self
            .needs
            .ledger
            .commit(vec![Cond::Absent(key.clone())], then, vec![event])
            .await
        {
            Ok(_) => tracing::info!(
                message_id = %notification.message_id,
                step = "receipt",
                agent = %chain.issuer(),
                recipient = %grant.recipient,
                "a receipt is noted"
            ),
            Err(CommitError::Conflict(conflict)) if conflict == key => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn granted_notification(&self, grant: &Grant) -> Result<Notification, MailboxError> {
        let octets = grant.notification.read(&*self.needs.blocks).await?;
        let lost = |why: String| StoreError::Damaged {
            what: format!("notification {}", grant.notification.cid),
            why,
        };
        let octets = octets.ok_or_else(|| lost("a block is not here".to_owned()))?;
        Ok(Notification::parse(&octets).map_err(|error| lost(error.to_string()))?)
    }

    /// At the destination: tells the origin that everything is stored.
    pub(super) async fn acknowledge(&self, job: &Job, token: &str) -> Result<(), Trouble> {
        // The key may have been changed since the receipt was written.
        let token = receipt::signed_by(self.needs.signer.key(), token).map_err(MailboxError::from)?;
        if job.origin == self.options.locator {
            return self.note(&token, self.own_key()).await.map_err(Trouble::of_own);
        }
        let stream = self.reach(&job.origin).await?;
        let mut line = Line::new(stream.io);
        let mut receipting = Receipting::new(token);
        loop {
            match receipting.poll() {
                Some(ReceiptAction::Send(frame)) => {
                    if line.say(vec![frame]).await.is_err() {
                        return Err(Trouble::broken());
                    }
                }
                Some(ReceiptAction::Finish(outcome)) => return outcome_of(outcome),
                None => receipting.handle(line.hear(receipting.expect()).await),
            }
        }
    }
}

fn outcome_of(outcome: ReceiptOutcome) -> Result<(), Trouble> {
    match outcome {
        ReceiptOutcome::Noted => Ok(()),
        ReceiptOutcome::Refused(refused) => Err(Trouble::refused(refused)),
        ReceiptOutcome::Broken => Err(Trouble::broken()),
        ReceiptOutcome::Violated(error) => Err(Trouble::Violated(error.to_string())),
    }
}

/// The digest that a token 3 claims, before anything of it is believed.
fn claimed_digest(token: &str) -> Option<Digest> {
    let inspection = grip::inspect(token).ok()?;
    Digest::parse(inspection.claims.get("digest").and_then(Value::as_str)?)
}
