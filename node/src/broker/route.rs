//! Step 5, second half: the recipient's wishes decide where the resources of a placeholder go (`spec/routing.md`).
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
use super::queue::{Place, Touch};
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

    /// Decides what becomes of an entry, and goes on with it where nothing has to be waited for: what was decided is durable when
    /// something was done about it, and is decided anew when the machine fails before that.
    pub(super) async fn route(
        &self,
        id: Uuid,
        version: u64,
        mut entry: Inbound,
        at: Place,
    ) -> Result<After, BrokerError> {
        let message = self.read(&entry.message).await?;
        let placeholder = if placeholder::is_placeholder(&message) {
            Placeholder::parse(&message)?
        } else {
            None
        };
        let now = self.now();
        let mut change = Change::default();
        match self.decide(&entry, placeholder.as_ref(), &mut change).await? {
            Fate::Delivered(why) => {
                tracing::info!(message_id = %entry.message_id, step = "route", recipient = %entry.recipient, why,
                    folder = entry.folder.name(), "goes to the User Mailbox");
                entry.state = State::Deliver;
                entry.tries = Tries::new(now, limits::SENDING);
                return self.go_on_to_deliver(id, version, entry, Touch::Nothing).await;
            }
            Fate::Refused(status, why) => return self.refuse(id, version, entry, status, &why).await,
            Fate::Sent(wishes) => {
                entry.state = State::Notify;
                entry.tries = Tries::new(now, limits::SENDING.min(wishes.expires.since(now)));
                entry.wishes = Some(wishes);
            }
        }
        if self.inbound.enter(at, &entry.lane(), now) {
            let moved = Box::pin(self.notify(id, version, entry)).await;
            // Until the entry is committed the notification is only in this shelter.
            drop(change);
            return moved;
        }
        self.move_on(id, version, entry, change, Touch::Nothing).await
    }

    async fn decide(
        &self,
        entry: &Inbound,
        placeholder: Option<&Placeholder>,
        change: &mut Change,
    ) -> Result<Fate, BrokerError> {
        let Some(placeholder) = placeholder else {
            return Ok(Fate::Delivered("an ordinary message"));
        };
        if entry.folder == Folder::Junk {
            return Ok(Fate::Delivered(
                "a placeholder whose author is not proved: it is not acted on",
            ));
        }
        if placeholder.parts().is_empty() {
            return Ok(Fate::Delivered("a placeholder without resources"));
        }
        let Some((resources, size)) = resources(placeholder) else {
            return Ok(Fate::refused((6, 0), "a resource is named twice, in two ways"));
        };
        let facts = Facts {
            category: placeholder.category(),
            sender: &placeholder.author().address,
            size,
        };
        let choices = self.preferences(&entry.recipient).await?.choices(&facts);
        let Some(choice) = choices.first() else {
            let why = "the recipient has named no Resource Mailbox that takes such mail";
            return Ok(Fate::refused((7, 1), why));
        };
        let expires = match placeholder.origin().expires {
            Some(expires) => expires,
            None => entry.received.plus(limits::SHARE_LIFE),
        };
        let notification = Notification {
            origin: placeholder.origin().locator.clone(),
            message_id: placeholder.message_id().to_owned(),
            sender: facts.sender.clone(),
            recipient: entry.recipient.clone(),
            category: facts.category.clone(),
            expires: Timestamp::from_seconds(expires.seconds()),
            resources,
        };
        let octets = match notification.to_bytes() {
            Ok(octets) => octets,
            Err(error) => {
                let why = format!("its resources cannot be named to a Resource Mailbox: {error}");
                return Ok(Fate::refused((6, 0), why));
            }
        };
        tracing::info!(message_id = %entry.message_id, step = "route", recipient = %entry.recipient,
            destination = %choice.locator, decided_by = %choice.decided_by, choices = choices.len(),
            category = %facts.category, size, "the destination is chosen");
        Ok(Fate::Sent(Wishes {
            choices,
            at: 0,
            notification: self.store(octets.into(), 1, change).await?,
            expires,
            refused: Vec::new(),
        }))
    }
}

/// What becomes of an entry.
enum Fate {
    /// It goes to the User Mailbox as it is, and why.
    Delivered(&'static str),
    /// Its resources go where the recipient wishes.
    Sent(Wishes),
    /// Not delivered; what the sender is told.
    Refused((u16, u16), String),
}

impl Fate {
    fn refused(status: (u16, u16), why: impl Into<String>) -> Self {
        Self::Refused(status, why.into())
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
