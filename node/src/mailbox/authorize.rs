//! What decides whether an agent may fetch: the same function for a peer's stream and for this node's own agent, when
//! origin and destination are one.
//!
//! What always holds: the work that is done does not depend on whether a resource is here, or whether, until when and with
//! whom it is shared; what is granted is in the ledger first; how much one recipient of a share makes this node keep is bounded (row Q09).

use std::collections::HashMap;

use cargomail_protocol::address::Address;
use cargomail_protocol::exchange::Fetch;
use cargomail_protocol::grip::{Digest, Expectation, KeyHash, Proved, VerifiedChain};
use cargomail_protocol::ledger::{Act, Event};
use cargomail_protocol::limits;
use cargomail_protocol::notification::Notification;
use cargomail_protocol::share::SharedResource;
use cargomail_protocol::timestamp::Timestamp;
use cid::Cid;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::share::roots;
use super::{COMMITS, Mailbox, MailboxError, who};
use crate::store::typed::Stored;
use crate::store::{CommitError, Cond, Op, typed};

/// What an agent was allowed to fetch by one notification: what its receipt is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    /// For whom.
    pub(super) recipient: Address,
    /// The notification's octets.
    pub(super) notification: Stored,
    /// By which shares.
    pub(super) shares: Vec<Uuid>,
    /// When first.
    pub(super) since: Timestamp,
}

impl Mailbox {
    /// Decides on a fetch by whoever has this key: the sizes of what is wanted, in its order.
    pub(super) async fn authorize(&self, fetch: &Fetch, key: KeyHash) -> Result<Vec<u64>, MailboxError> {
        let digest = Digest::of(&fetch.notification);
        let expectation = Expectation::fetch(self.audience(), Proved::Peer { key }, digest);
        let chain = self.needs.verifier.verify(expectation, &fetch.token).await?;
        self.count(chain.issuer())?;
        let notification = Notification::parse(&fetch.notification)?;
        notification.check_recipient(chain.subject())?;
        let named: HashMap<&Cid, &SharedResource> = notification
            .resources
            .iter()
            .map(|resource| (resource.cid(), resource))
            .collect();
        let sizes: Vec<u64> = fetch
            .wants
            .iter()
            .filter_map(|want| named.get(&want.root).map(|resource| resource.size()))
            .collect();
        // Also of what is not wanted: the destination may keep it from an earlier fetch, which was for somebody else.
        let here = self.holdings.whole(&notification.resources).await?;
        let shares = self.open_shares(&notification, self.now()).await?;
        let own = notification.origin == self.options.locator;
        let all = sizes.len() == fetch.wants.len() && here.iter().all(Option::is_some);
        let Some(shares) = shares.filter(|_| own && all) else {
            return Err(MailboxError::NotShared);
        };
        for share in &shares {
            let passed = self.fetches.pass(&granted_key(*share, &notification.recipient));
            passed.map_err(MailboxError::TooOften)?;
        }
        self.grant(fetch, &chain, &notification, shares).await?;
        tracing::info!(
            message_id = %notification.message_id,
            step = "retrieve",
            agent = %chain.issuer(),
            recipient = %notification.recipient,
            resources = notification.resources.len(),
            wanted = sizes.len(),
            // Of the first that is wanted: leaves that the destination has.
            skipped = fetch.wants.first().map(|want| want.skip),
            "a fetch is granted"
        );
        Ok(sizes)
    }

    /// Writes down what is granted, before it is.
    async fn grant(
        &self,
        fetch: &Fetch,
        chain: &VerifiedChain,
        notification: &Notification,
        shares: Vec<Uuid>,
    ) -> Result<(), MailboxError> {
        let shelter = self.needs.shelters.open();
        let mut stored = None;
        let key = grant_key(chain);
        for _ in 0..COMMITS {
            let known = typed::read::<Grant>(&*self.needs.records, &key).await?;
            let old = known.as_ref().map_or(&[][..], |(_, grant)| &grant.shares);
            let new = shares.iter().copied().filter(|share| !old.contains(share));
            // What is too much is refused before anything of it is written.
            let (mut when, mut then) = self.counted(new.collect(), &notification.recipient).await?;
            let mut grant = match known {
                Some((version, grant)) => {
                    when.push(Cond::Is(key.clone(), version));
                    grant
                }
                None => {
                    when.push(Cond::Absent(key.clone()));
                    let stored = match &stored {
                        Some(stored) => stored,
                        None => {
                            let octets = fetch.notification.clone().into();
                            stored.insert(Stored::keep(&*self.needs.blocks, &shelter, octets).await?)
                        }
                    };
                    Grant {
                        recipient: notification.recipient.clone(),
                        notification: stored.clone(),
                        shares: Vec::new(),
                        since: self.now(),
                    }
                }
            };
            grant.shares.extend(&shares);
            grant.shares.sort_unstable();
            grant.shares.dedup();
            then.push(Op::Put(key.clone(), typed::encode(&grant)));
            let event = Event {
                act: Act::Granted,
                parties: vec![
                    chain.issuer().to_string(),
                    notification.recipient.to_string(),
                    notification.sender.to_string(),
                ],
                message_id: notification.message_id.clone(),
                resources: roots(&notification.resources),
                evidence: chain.token().text().to_owned(),
            };
            match self.needs.ledger.commit(when, then, vec![event]).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(MailboxError::Busy)
    }

    /// Counts one more notification for each of these shares.
    async fn counted(
        &self,
        mut shares: Vec<Uuid>,
        recipient: &Address,
    ) -> Result<(Vec<Cond>, Vec<Op>), MailboxError> {
        shares.sort_unstable();
        shares.dedup();
        let keys: Vec<String> = shares
            .iter()
            .map(|share| granted_key(*share, recipient))
            .collect();
        let found = self.needs.records.get(&keys).await?;
        let (mut when, mut then) = (Vec::new(), Vec::new());
        for (key, record) in keys.into_iter().zip(found) {
            let count: u32 = record.as_ref().map(typed::decode).transpose()?.unwrap_or(0);
            if count >= limits::GRANTS_PER_SHARE {
                return Err(MailboxError::Granted);
            }
            when.push(match &record {
                Some(record) => Cond::Is(key.clone(), record.version),
                None => Cond::Absent(key.clone()),
            });
            then.push(Op::Put(key, typed::encode(&(count + 1))));
        }
        Ok((when, then))
    }
}

/// By how many notifications a recipient may fetch what a share names.
pub(super) fn granted_key(share: Uuid, recipient: &Address) -> String {
    format!("granted/{share}/{}", who(recipient))
}

/// Where a chain's grant is: by the notification and the agent.
pub(super) fn grant_key(chain: &VerifiedChain) -> String {
    format!("grant/{}/{}", chain.digest(), chain.issuer())
}
