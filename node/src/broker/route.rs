//! Step 5, second half: the recipient's wishes decide where the resources of a placeholder go (DESIGN §13).
//!
//! Not here: which wish matches, which is [`cargomail_protocol::routing`]'s. Also here: where the wishes are kept.

use std::collections::BTreeMap;

use cargomail_protocol::address::Address;
use cargomail_protocol::limits;
use cargomail_protocol::notification::Notification;
use cargomail_protocol::placeholder::{self, Placeholder};
use cargomail_protocol::queue::Tries;
use cargomail_protocol::routing::{Facts, Preferences};
use cargomail_protocol::share::SharedResource;
use cargomail_protocol::timestamp::Timestamp;
use uuid::Uuid;

use super::change::Change;
use super::inbound::{Folder, Inbound, State, Wishes};
use super::queue::Touch;
use super::work::After;
use super::{Broker, BrokerError, user};
use crate::store::typed;

/// A user's wishes: `preferences/<user>` → [`Preferences`].
const PREFERENCES: &str = "preferences/";

impl Broker {
    /// What a user wishes; nothing when they never said.
    ///
    /// # Errors
    /// [`BrokerError::Store`].
    pub async fn preferences(&self, whose: &Address) -> Result<Preferences, BrokerError> {
        let key = format!("{PREFERENCES}{}", user(whose));
        let found = typed::read(self.records(), &key).await?;
        Ok(found.map(|(_, preferences)| preferences).unwrap_or_default())
    }

    /// Keeps what a user wishes.
    ///
    /// # Errors
    /// [`BrokerError::Routing`], [`BrokerError::Store`].
    pub async fn set_preferences(
        &self,
        whose: &Address,
        preferences: &Preferences,
    ) -> Result<(), BrokerError> {
        preferences.check()?;
        let mut change = Change::default();
        change.put(format!("{PREFERENCES}{}", user(whose)), preferences);
        Ok(self.commit(change).await?)
    }

    /// Decides what becomes of an entry.
    pub(super) async fn route(
        &self,
        id: Uuid,
        version: u64,
        mut entry: Inbound,
    ) -> Result<After, BrokerError> {
        let message = self.read(&entry.message).await?;
        let placeholder = if placeholder::is_placeholder(&message) {
            Placeholder::parse(&message)?
        } else {
            None
        };
        let deliver = match &placeholder {
            None => Some("an ordinary message"),
            Some(_) if entry.folder == Folder::Junk => {
                Some("a placeholder whose author is not proved: it is not acted on")
            }
            Some(placeholder) if placeholder.parts().is_empty() => Some("a placeholder without resources"),
            Some(_) => None,
        };
        let now = self.now();
        if let Some(why) = deliver {
            tracing::info!(message_id = %entry.message_id, step = "route", recipient = %entry.recipient, why,
                folder = entry.folder.name(), "goes to the User Mailbox");
            entry.state = State::Deliver;
            entry.tries = Tries::new(now, limits::SENDING);
            return self
                .move_on(id, version, entry, Change::default(), Touch::Nothing)
                .await;
        }
        let placeholder = placeholder.expect("anything else was decided above");
        let expires = match placeholder.origin().expires {
            Some(expires) => expires,
            None => entry.received.plus(limits::SHARE_LIFE),
        };
        let author = &placeholder.author().address;
        let (resources, size) = match resources(&placeholder) {
            Some(resources) => resources,
            None => {
                return self
                    .refuse(
                        id,
                        version,
                        entry,
                        (6, 0),
                        "a resource is named twice, in two ways",
                    )
                    .await;
            }
        };
        let facts = Facts {
            category: placeholder.category(),
            sender: author,
            size,
        };
        let preferences = self.preferences(&entry.recipient).await?;
        let choices = preferences.choices(&facts);
        let notification = Notification {
            origin: placeholder.origin().locator.clone(),
            message_id: placeholder.message_id().to_owned(),
            sender: author.clone(),
            recipient: entry.recipient.clone(),
            category: placeholder.category().clone(),
            expires: Timestamp::from_seconds(expires.seconds()),
            resources,
        };
        let octets = match notification.to_bytes() {
            Ok(octets) => octets,
            Err(error) => {
                let why = format!("its resources cannot be named to a Resource Mailbox: {error}");
                return self.refuse(id, version, entry, (6, 0), &why).await;
            }
        };
        match choices.first() {
            Some(choice) => {
                tracing::info!(message_id = %entry.message_id, step = "route", recipient = %entry.recipient,
                    destination = %choice.locator, decided_by = %choice.decided_by, choices = choices.len(),
                    category = %facts.category, size, "the destination is chosen");
            }
            None => {
                let why = "the recipient has named no Resource Mailbox that takes such mail";
                return self.refuse(id, version, entry, (7, 1), why).await;
            }
        }
        entry.wishes = Some(Wishes {
            choices,
            at: 0,
            notification: self.store(octets.into()).await?,
            expires,
            refused: Vec::new(),
        });
        entry.state = State::Notify;
        entry.tries = Tries::new(now, limits::SENDING.min(expires.since(now)));
        self.move_on(id, version, entry, Change::default(), Touch::Nothing)
            .await
    }
}

/// The resources, each once, and their octets together; none where one CID has two sizes, or is none of a resource.
fn resources(placeholder: &Placeholder) -> Option<(Vec<SharedResource>, u64)> {
    let mut sizes = BTreeMap::new();
    let mut resources = Vec::new();
    for part in placeholder.parts() {
        let resource = SharedResource::new(part.resource.cid, part.resource.size).ok()?;
        match sizes.insert(*resource.cid(), resource.size()) {
            None => resources.push(resource),
            Some(size) if size == resource.size() => {}
            Some(_) => return None,
        }
    }
    let size = resources
        .iter()
        .map(SharedResource::size)
        .fold(0, u64::saturating_add);
    Some((resources, size))
}
