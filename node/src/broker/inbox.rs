//! The built-in User Mailbox: the messages of each user, in the folders `inbox`, `sent` and `junk`.
//!
//! Records: `message/<user>/<id>` → [`Kept`], and `folder/<user>/<folder>/<id, inverted>` → the id, which lists a folder
//! newest first; `hidden-message/<user>/<id>` → [`Kept`], which its user deleted while a legal hold stood. Not here: who may look, which the routes see to by the user in every key.

use bytes::Bytes;
use cargomail_protocol::address::Address;
use cargomail_protocol::placeholder::{self, Placeholder, surgery};
use cargomail_protocol::routing::{Choice, Decision};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::accept::ROUNDS;
use super::change::Change;
use super::claims::owner;
use super::fields::{Fields, Shown};
use super::fill::{Move, signed};
use super::inbound::{Folder, Inbound};
use super::{Broker, BrokerError, inverted, user};
use crate::api::{DeletedMessage, Message, PlaceholderView};
use crate::keeping::Standing;
use crate::keeping::references::Holder;
use crate::store::typed::{self, Stored};
use crate::store::{CommitError, Cond, Op, RecordStore, StoreError};

/// Where a message lies that its user deleted while a legal hold stood.
const HIDDEN: &str = Holder::HiddenMessage.prefix();
/// Messages on one page of a list at most.
const PAGE: usize = 500;

/// A message in a User Mailbox.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) octets: Stored,
    pub(super) view: Message,
}

impl Broker {
    /// Puts a message into a user's folder; its name.
    pub(super) async fn keep(
        &self,
        whose: &Address,
        folder: Folder,
        message: Bytes,
        decided_by: Option<Decision>,
        change: &mut Change,
    ) -> Result<Uuid, BrokerError> {
        let id = self.fresh();
        let octets = self.store(message.clone(), 1, change).await?;
        let shown = Shown::of(&message);
        let message_id = Fields::read(&message, |_, _| false)
            .ok()
            .and_then(|(_, fields)| fields.message_id().map(str::to_owned));
        let view = Message {
            id: id.to_string(),
            folder: folder.name().to_owned(),
            from: shown.from,
            to: shown.to,
            subject: shown.subject,
            message_id: message_id.unwrap_or_default(),
            since: self.now(),
            size: octets.size,
            placeholder: said(&message, decided_by),
        };
        change.moves(Move::keeps(whose, signed(octets.size)));
        change.put(message_key(whose, id), &Kept { octets, view });
        change.put(folder_key(whose, folder, id), &id);
        change.arrived(whose.clone(), id);
        Ok(id)
    }

    /// Lets a delivered message name another destination, or none.
    pub(super) async fn redirect(
        &self,
        entry: &Inbound,
        choice: Option<Choice>,
        change: &mut Change,
    ) -> Result<(), BrokerError> {
        let Some(id) = entry.delivered else { return Ok(()) };
        let key = message_key(&entry.recipient, id);
        // Behind LMTP there is none; and a user may have removed theirs.
        let Some((version, mut kept)) = typed::read::<Kept>(self.records(), &key).await? else {
            return Ok(());
        };
        let message = self.read(&kept.octets).await?;
        let message: Bytes = match &choice {
            Some(choice) => surgery::with_destination(&message, &choice.locator)?.into(),
            None => surgery::without_destination(&message)?.into(),
        };
        kept.view.placeholder = said(&message, choice.map(|choice| choice.decided_by));
        kept.octets = self.store(message, 1, change).await?;
        change.moves(Move::keeps(
            &entry.recipient,
            signed(kept.octets.size) - signed(kept.view.size),
        ));
        kept.view.size = kept.octets.size;
        change.unchanged(key.clone(), version);
        change.put(key, &kept);
        change.arrived(entry.recipient.clone(), id);
        Ok(())
    }

    /// A user's messages in a folder, newest first; those older than `after`.
    ///
    /// # Errors
    /// [`BrokerError::Store`].
    pub(super) async fn messages(
        &self,
        whose: &Address,
        folder: Folder,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Message>, BrokerError> {
        let prefix = folder_prefix(whose, folder);
        let after = after.map(|id| format!("{prefix}{}", inverted(id)));
        let limit = limit.clamp(1, PAGE);
        let page = self.records().list(&prefix, after.as_deref(), limit).await?;
        let mut keys = Vec::with_capacity(page.len());
        for record in &page {
            keys.push(message_key(whose, typed::decode(record)?));
        }
        let mut messages = Vec::with_capacity(keys.len());
        for record in self.records().get(&keys).await?.into_iter().flatten() {
            messages.push(typed::decode::<Kept>(&record)?.view);
        }
        Ok(messages)
    }

    /// Answers `DELETE /api/v1/messages/{id}`. What its placeholder names stays where it is.
    ///
    /// While a legal hold on the account stands, the message is hidden from its user and stays.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`], also when it is somebody else's.
    pub(super) async fn delete(&self, whose: &Address, id: Uuid) -> Result<DeletedMessage, BrokerError> {
        let key = message_key(whose, id);
        for _ in 0..ROUNDS {
            let found = typed::read::<Kept>(self.records(), &key).await?;
            let (version, kept) = found.ok_or(BrokerError::NotFound)?;
            let standing = Standing::read(self.records()).await?;
            let mut change = Change::default();
            change.unchanged(key.clone(), version);
            change.only_if(standing.unchanged());
            change.delete(key.clone());
            if let Some(folder) = Folder::named(&kept.view.folder) {
                change.delete(folder_key(whose, folder, id));
            }
            if standing.holds_account(&user(whose)) {
                change.put(format!("{HIDDEN}{}/{id}", user(whose)), &kept);
            }
            change.moves(Move::keeps(whose, -signed(kept.view.size)));
            match self.commit(change).await {
                Ok(()) => {
                    tracing::info!(message_id = kept.view.message_id, step = "delete", whose = %whose, message = %id,
                        "a message is deleted by its user");
                    let size = kept.view.size;
                    return Ok(DeletedMessage {
                        id: kept.view.id,
                        size,
                    });
                }
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(BrokerError::Conflict(key))
    }

    /// A user's message.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`], also when it is somebody else's.
    pub(super) async fn message(&self, whose: &Address, id: Uuid) -> Result<Kept, BrokerError> {
        let found = typed::read(self.records(), &message_key(whose, id)).await?;
        found.map(|(_, kept)| kept).ok_or(BrokerError::NotFound)
    }
}

/// Lets go what users deleted while a legal hold stood that stands no longer.
pub(crate) async fn let_go(records: &dyn RecordStore) -> Result<(), StoreError> {
    let mut after: Option<String> = None;
    loop {
        let standing = Standing::read(records).await?;
        let page = records.list(HIDDEN, after.as_deref(), PAGE).await?;
        for record in &page {
            if standing.holds_account(&owner(record, Holder::HiddenMessage)) {
                continue;
            }
            let when = vec![Cond::Is(record.key.clone(), record.version), standing.unchanged()];
            match records.commit(when, vec![Op::Delete(record.key.clone())]).await {
                // Held again: the next collection looks anew.
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

/// How the keys of a user's messages begin.
pub(super) fn messages_of(whose: &Address) -> String {
    format!("{}{}/", Holder::Message.prefix(), user(whose))
}

fn message_key(whose: &Address, id: Uuid) -> String {
    format!("{}{id}", messages_of(whose))
}

fn folder_key(whose: &Address, folder: Folder, id: Uuid) -> String {
    format!("{}{}", folder_prefix(whose, folder), inverted(id))
}

fn folder_prefix(whose: &Address, folder: Folder) -> String {
    format!("folder/{}/{}/", user(whose), folder.name())
}

/// What a placeholder says; none for an ordinary message.
fn said(message: &[u8], decided_by: Option<Decision>) -> Option<PlaceholderView> {
    if !placeholder::is_placeholder(message) {
        return None;
    }
    let placeholder = Placeholder::parse(message).ok().flatten()?;
    let sizes = placeholder.parts().iter().map(|part| part.resource.size);
    Some(PlaceholderView {
        category: placeholder.category().clone(),
        origin: placeholder.origin().locator.clone(),
        destination: placeholder.destination().cloned(),
        decided_by,
        resources: placeholder.parts().len(),
        octets: sizes.fold(0, u64::saturating_add),
        expires: placeholder.origin().expires,
    })
}
