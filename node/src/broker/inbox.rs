//! The built-in User Mailbox: the messages of each user, in the folders `inbox`, `sent` and `junk`.
//!
//! Records: `message/<user>/<id>` → [`Kept`], and `folder/<user>/<folder>/<id, inverted>` → the id, which lists a folder
//! newest first. Not here: who may look, which the routes see to by the user in every key.

use bytes::Bytes;
use cargomail_protocol::address::Address;
use cargomail_protocol::placeholder::{self, Placeholder, surgery};
use cargomail_protocol::routing::{Choice, Decision};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::change::Change;
use super::fields::{Fields, Shown};
use super::inbound::{Folder, Inbound};
use super::{Broker, BrokerError, inverted, user};
use crate::api::{Message, PlaceholderView};
use crate::store::typed;
use crate::store::typed::Stored;

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
        change.put(message_key(whose, id), &Kept { octets, view });
        change.put(format!("{}{}", folder_prefix(whose, folder), inverted(id)), &id);
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

    /// A user's message.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`], also when it is somebody else's.
    pub(super) async fn message(&self, whose: &Address, id: Uuid) -> Result<Kept, BrokerError> {
        let found = typed::read(self.records(), &message_key(whose, id)).await?;
        found.map(|(_, kept)| kept).ok_or(BrokerError::NotFound)
    }
}

fn message_key(whose: &Address, id: Uuid) -> String {
    format!("message/{}/{id}", user(whose))
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
