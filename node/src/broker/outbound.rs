//! The entry of a leaving message: one copy for recipients of one domain, and how far it is for each of them.

use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::queue::Tries;
use cargomail_protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::queue::Kind;
use super::{Broker, inverted, user};
use crate::api::{Channel, Delivery, Queued};
use crate::store::typed::Stored;
use crate::store::{StoreError, typed};

/// Where entries stand: `outbound/<id>` → [`Outbound`].
pub(super) const OUTBOUND: &str = "outbound/";
/// A sender's entries, newest first: `queued/<sender>/<id, inverted>` → the id.
const QUEUED: &str = "queued/";
/// Entries that are shown at most.
const SHOWN: usize = 500;

/// A leaving message for recipients of one domain.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outbound {
    /// Who sent it; none for reports.
    pub(super) sender: Option<Address>,
    /// The recipients' domain.
    pub(super) domain: Domain,
    /// How it travels.
    pub(super) channel: Channel,
    /// The message.
    pub(super) message: Stored,
    /// Its Message-ID.
    pub(super) message_id: String,
    /// When it was queued.
    pub(super) queued: Timestamp,
    /// For whom.
    pub(super) recipients: Vec<Recipient>,
    /// When the next try is due, and until when it is tried.
    pub(super) tries: Tries,
    /// Tries by the web channel for which nobody was there.
    pub(super) away: u32,
    /// How often a try failed by this machine's own fault.
    pub(super) stumbles: u32,
    /// When nothing was left to do.
    pub(super) finished: Option<Timestamp>,
    /// Octets that count for its sender until then: of an ordinary message, which stands nowhere else.
    #[serde(default)]
    pub(super) charged: u64,
}

/// How far the message is for one recipient.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipient {
    pub(super) address: Address,
    pub(super) delivery: Delivery,
    /// What the last try came to, in words.
    pub(super) last: String,
}

impl Recipient {
    pub(super) fn waiting(address: Address) -> Self {
        Self {
            address,
            delivery: Delivery::Waiting,
            last: "not tried yet".to_owned(),
        }
    }
}

impl Outbound {
    pub(super) fn key(id: Uuid) -> String {
        format!("{OUTBOUND}{id}")
    }

    /// The key under which its sender finds it; none for reports.
    pub(super) fn index(&self, id: Uuid) -> Option<String> {
        let sender = self.sender.as_ref()?;
        Some(format!("{QUEUED}{}/{}", user(sender), inverted(id)))
    }

    pub(super) fn kind(&self) -> Kind {
        match self.sender {
            Some(_) => Kind::Mail,
            None => Kind::Report,
        }
    }

    /// What counts for its sender, if it has one.
    pub(super) fn charge(&self) -> Option<(&Address, u64)> {
        self.sender
            .as_ref()
            .map(|sender| (sender, self.charged))
            .filter(|(_, octets)| *octets > 0)
    }

    /// Those for whom it is still to be tried.
    pub(super) fn waiting(&self) -> Vec<Address> {
        let waiting = |recipient: &&Recipient| recipient.delivery == Delivery::Waiting;
        self.recipients
            .iter()
            .filter(waiting)
            .map(|recipient| recipient.address.clone())
            .collect()
    }

    /// As the user sees it: one for each recipient.
    pub(super) fn views(&self, id: Uuid) -> impl Iterator<Item = Queued> {
        self.recipients
            .iter()
            .enumerate()
            .map(move |(number, recipient)| Queued {
                id: format!("{id}.{number}"),
                sender: self.sender.clone(),
                recipient: recipient.address.clone(),
                message_id: self.message_id.clone(),
                queued: self.queued,
                channel: self.channel,
                delivery: recipient.delivery,
                failed: self.tries.failed,
                due: (recipient.delivery == Delivery::Waiting).then_some(self.tries.due),
                last: recipient.last.clone(),
            })
    }
}

impl Broker {
    /// How far sent messages are, newest first: those of one user, or of everybody.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn queue_of(&self, whose: Option<&Address>) -> Result<Vec<Queued>, StoreError> {
        let ids = match whose {
            Some(address) => {
                let prefix = format!("{QUEUED}{}/", user(address));
                let page = self.records().list(&prefix, None, SHOWN).await?;
                page.iter()
                    .map(typed::decode::<Uuid>)
                    .collect::<Result<Vec<_>, _>>()?
            }
            None => self.newest_outbound().await?,
        };
        let mut views = Vec::new();
        let keys: Vec<String> = ids.iter().map(|id| Outbound::key(*id)).collect();
        for (record, id) in self.records().get(&keys).await?.into_iter().zip(ids) {
            if let Some(record) = record {
                views.extend(typed::decode::<Outbound>(&record)?.views(id));
            }
        }
        views.truncate(SHOWN);
        Ok(views)
    }

    async fn newest_outbound(&self) -> Result<Vec<Uuid>, StoreError> {
        let mut newest = std::collections::VecDeque::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.records().list(OUTBOUND, after.as_deref(), SHOWN).await?;
            for record in &page {
                newest.extend(id_in(&record.key));
                if newest.len() > SHOWN {
                    newest.pop_front();
                }
            }
            match page.last() {
                Some(last) if page.len() == SHOWN => after = Some(last.key.clone()),
                _ => return Ok(newest.into_iter().rev().collect()),
            }
        }
    }
}

/// The identifier at the end of a key.
pub(super) fn id_in(key: &str) -> Option<Uuid> {
    key.rsplit('/').next().and_then(|id| Uuid::parse_str(id).ok())
}
