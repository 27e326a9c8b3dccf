//! Step 2, share: a user lets others fetch what they hold, sees who has fetched it, and takes it back.
//!
//! What always holds: nobody shares what they do not hold; a share names the sender's account as it is registered, whatever
//! case the session was opened with.

use std::collections::HashSet;

use cargomail_protocol::address::Address;
use cargomail_protocol::ledger::{Act, Event};
use cargomail_protocol::notification::Notification;
use cargomail_protocol::share::{Share, ShareParts, SharedResource};
use cargomail_protocol::timestamp::Timestamp;
use uuid::Uuid;

use super::{COMMITS, LISTED, Mailbox, MailboxError, expire, hashed, named, newest, who};
use crate::api::{NewShare, ShareView};
use crate::clock;
use crate::store::{CommitError, Cond, Op, Record, StoreError, Version, typed};

/// Recipients that one ledger entry names: with all resources of a mail they fit into an entry.
const PARTIES: usize = 100;
/// Shares read at a time: the largest take most of a MiB.
pub(super) const PAGE: usize = 20;

impl Mailbox {
    /// Makes a share.
    pub(super) async fn share(&self, caller: &Address, new: NewShare) -> Result<ShareView, MailboxError> {
        let sender = self.holdings.account(caller).await?.address;
        // That they are held still is a condition: what is deleted meanwhile is not shared.
        let held = self.holdings.standing(&sender, &new.resources).await?;
        let mut when = Vec::with_capacity(held.len() + 1);
        for (held, resource) in held.into_iter().zip(&new.resources) {
            when.push(held.ok_or_else(|| MailboxError::NotHeld(resource.cid().to_string()))?);
        }
        let now = self.now();
        let share = Share::new(ShareParts {
            id: clock::uuid(&*self.needs.clock, &*self.needs.randomness),
            sender: sender.clone(),
            recipients: new.recipients,
            resources: new.resources,
            category: new.category,
            message_id: new.message_id,
            created: now,
            expires: new.expires,
            revoked: None,
        })?;
        self.check_notifiable(&share)?;
        let id = share.id();
        let mut then = vec![
            Op::Put(share_key(id), typed::encode(&share)),
            Op::Put(
                format!("share-by/{}/{}", who(&sender), newest(now, id)),
                typed::encode(&()),
            ),
            Op::Put(
                format!(
                    "{}{}",
                    of_message(&sender, &share.parts().message_id),
                    newest(now, id)
                ),
                typed::encode(&()),
            ),
            Op::Put(expire::key(&share), typed::encode(&())),
            Op::Put(last_key(&sender), typed::encode(&())),
        ];
        for recipient in &share.parts().recipients {
            let key = format!("{}{}", between(&sender, recipient), newest(now, id));
            then.push(Op::Put(key, typed::encode(&())));
        }
        when.push(Cond::Absent(share_key(id)));
        self.needs.ledger.commit(when, then, told(&share)).await?;
        tracing::info!(
            message_id = %share.parts().message_id,
            step = "share",
            %id,
            resources = share.parts().resources.len(),
            recipients = share.parts().recipients.len(),
            expires = %share.parts().expires,
            "resources are shared"
        );
        self.view(&share).await
    }

    /// That a broker can tell each recipient's destination of this share.
    fn check_notifiable(&self, share: &Share) -> Result<(), MailboxError> {
        let parts = share.parts();
        let longest = parts
            .recipients
            .iter()
            .max_by_key(|recipient| recipient.to_string().len());
        let notification = Notification {
            origin: self.options.locator.clone(),
            message_id: parts.message_id.clone(),
            sender: parts.sender.clone(),
            recipient: longest.unwrap_or(&parts.sender).clone(),
            category: parts.category.clone(),
            expires: parts.expires,
            resources: parts.resources.clone(),
        };
        notification.to_bytes()?;
        Ok(())
    }

    /// The caller's newest shares.
    pub(super) async fn shares(&self, caller: &Address) -> Result<Vec<ShareView>, MailboxError> {
        let prefix = format!("share-by/{}/", who(caller));
        let mut views = Vec::new();
        let entries = self.needs.records.list(&prefix, None, LISTED).await?;
        for some in entries.chunks(PAGE) {
            for (_, share) in self.listed_shares(some).await? {
                views.push(self.view(&share).await?);
            }
        }
        Ok(views)
    }

    /// Takes a share back: nothing more is granted by it. A second time changes nothing.
    pub(super) async fn revoke(&self, caller: &Address, id: &str) -> Result<ShareView, MailboxError> {
        let id: Uuid = id.parse().map_err(|_| MailboxError::Missing)?;
        for _ in 0..COMMITS {
            let found = typed::read::<Share>(&*self.needs.records, &share_key(id)).await?;
            let Some((version, mut share)) = found.filter(|(_, share)| is_by(share, caller)) else {
                return Err(MailboxError::Missing);
            };
            if share.parts().revoked.is_some() {
                return self.view(&share).await;
            }
            let (when, then, event) = taken_back(&mut share, version, self.now());
            match self.needs.ledger.commit(when, then, vec![event]).await {
                Ok(_) => {
                    tracing::info!(message_id = %share.parts().message_id, step = "share", %id, "revoked");
                    return self.view(&share).await;
                }
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(MailboxError::Busy)
    }

    /// The shares by which the recipient of a notification may fetch all that it names at this moment; none when some of it is in no
    /// open share. Those of the same message are looked at first, then the newest, and no more than [`Mailbox::CONSIDERED`].
    pub(super) async fn open_shares(
        &self,
        notification: &Notification,
        now: Timestamp,
    ) -> Result<Option<Vec<Uuid>>, StoreError> {
        let (sender, recipient) = (&notification.sender, &notification.recipient);
        let prefix = between(sender, recipient);
        let mut missing = notification.resources.clone();
        let mut used = Vec::new();
        let mut after: Option<String> = None;
        let mut page = self.of_message(notification, &prefix).await?;
        for number in 0..=Self::CONSIDERED / PAGE {
            if number > 0 {
                page = self.needs.records.list(&prefix, after.as_deref(), PAGE).await?;
                after = page.last().map(|last| last.key.clone());
            }
            for (_, share) in self.listed_shares(&page).await? {
                let shared: HashSet<&SharedResource> = share.parts().resources.iter().collect();
                let (covered, rest): (Vec<_>, Vec<_>) =
                    missing.iter().partition(|resource| shared.contains(resource));
                if share.may_fetch(&roots(&covered), sender, recipient, now) {
                    used.push(share.id());
                    missing = rest;
                }
                if missing.is_empty() {
                    return Ok(Some(used));
                }
            }
            if number > 0 && page.len() < PAGE {
                break;
            }
        }
        Ok(None)
    }

    /// The entries of the shares of a notification's message to its recipient, the newest of them; `prefix` is that of all to them.
    async fn of_message(&self, notification: &Notification, prefix: &str) -> Result<Vec<Record>, StoreError> {
        let of_message = of_message(&notification.sender, &notification.message_id);
        let entries = self.needs.records.list(&of_message, None, PAGE).await?;
        let names = entries
            .iter()
            .filter_map(|entry| entry.key.strip_prefix(&of_message));
        let keys: Vec<String> = names.map(|name| format!("{prefix}{name}")).collect();
        Ok(self
            .needs
            .records
            .get(&keys)
            .await?
            .into_iter()
            .flatten()
            .collect())
    }

    /// Shares from one person to another that are considered for one fetch: older ones have long expired.
    const CONSIDERED: usize = 1000;

    /// The shares that the entries of a list name, in its order.
    pub(super) async fn listed_shares(
        &self,
        entries: &[Record],
    ) -> Result<Vec<(Version, Share)>, StoreError> {
        let ids = entries.iter().filter_map(|entry| named(&entry.key));
        let keys: Vec<String> = ids.map(|id| format!("share/{id}")).collect();
        let found = self.needs.records.get(&keys).await?;
        let shares = found.into_iter().flatten();
        shares
            .map(|record| Ok((record.version, typed::decode(&record)?)))
            .collect()
    }

    async fn view(&self, share: &Share) -> Result<ShareView, MailboxError> {
        let prefix = format!("received/{}/", share.id());
        let most = share.parts().recipients.len();
        let mut received_by = Vec::new();
        for record in self.needs.records.list(&prefix, None, most).await? {
            received_by.push(typed::decode::<Address>(&record)?);
        }
        let parts = share.parts().clone();
        Ok(ShareView {
            id: parts.id,
            recipients: parts.recipients,
            resources: parts.resources,
            category: parts.category,
            message_id: parts.message_id,
            created: parts.created,
            expires: parts.expires,
            revoked: parts.revoked,
            received_by,
        })
    }
}

/// The change that takes a share back.
pub(super) fn taken_back(share: &mut Share, version: Version, now: Timestamp) -> (Vec<Cond>, Vec<Op>, Event) {
    share.revoke(now);
    let key = share_key(share.id());
    let event = Event {
        act: Act::Revoked,
        parties: vec![share.parts().sender.to_string()],
        message_id: share.parts().message_id.clone(),
        resources: roots(&share.parts().resources),
        evidence: String::new(),
    };
    let when = vec![Cond::Is(key.clone(), version)];
    let then = vec![Op::Put(key, typed::encode(share)), Op::Delete(expire::key(share))];
    (when, then, event)
}

/// The record that every share of a sender writes, so that whoever deletes sees that one came meanwhile.
pub(super) fn last_key(sender: &Address) -> String {
    format!("share-last/{}", who(sender))
}

pub(super) fn share_key(id: Uuid) -> String {
    format!("share/{id}")
}

/// That this recipient's agent has acknowledged everything in this share.
pub(super) fn received(share: Uuid, recipient: &Address) -> Op {
    Op::Put(
        format!("received/{share}/{}", who(recipient)),
        typed::encode(recipient),
    )
}

pub(super) fn roots(resources: &[SharedResource]) -> Vec<cid::Cid> {
    resources.iter().map(|resource| *resource.cid()).collect()
}

fn of_message(sender: &Address, message_id: &str) -> String {
    format!("share-of/{}/{}/", who(sender), hashed(message_id))
}

fn between(sender: &Address, recipient: &Address) -> String {
    format!("share-to/{}/{}/", who(sender), who(recipient))
}

fn is_by(share: &Share, caller: &Address) -> bool {
    who(&share.parts().sender) == who(caller)
}

/// What the ledger is told of a new share: one entry, or a few when there are many recipients.
fn told(share: &Share) -> Vec<Event> {
    let parts = share.parts();
    let with = |recipients: &[Address]| Event {
        act: Act::Shared,
        parties: std::iter::once(&parts.sender)
            .chain(recipients)
            .map(ToString::to_string)
            .collect(),
        message_id: parts.message_id.clone(),
        resources: roots(&parts.resources),
        evidence: String::new(),
    };
    parts.recipients.chunks(PARTIES).map(with).collect()
}
