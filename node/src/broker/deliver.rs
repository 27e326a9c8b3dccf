//! Step 8: the message goes into the User Mailbox, with the destination of its resources if it has any.
//!
//! What always holds: with the built-in User Mailbox the message and the entry's next state are one commit, so it is delivered
//! exactly once; by LMTP it is delivered again only when the machine fails between the store's 250 and that commit. What the store
//! refuses after it was accepted here is told to its sender, or kept for the operator: it is never dropped silently.

use bytes::Bytes;
use cargomail_protocol::limits;
use cargomail_protocol::placeholder::surgery;
use cargomail_protocol::queue::Next;
use cargomail_protocol::routing::Choice;
use uuid::Uuid;

use super::change::Change;
use super::fill::{Move, signed};
use super::inbound::{End, Inbound, State, Wishes};
use super::queue::Touch;
use super::work::After;
use super::{Broker, BrokerError, Deliver};
use crate::smtp::{Delivery, Said};

/// What the mail store behind LMTP said.
pub(super) enum Taken {
    Yes,
    Refused((u16, u16), String),
    Later(String),
}

impl Broker {
    /// Delivers at once into a User Mailbox of this node; another mail store has to be waited for, and gets a step of its own.
    /// `touch` is what was found out before.
    pub(super) async fn go_on_to_deliver(
        &self,
        id: Uuid,
        version: u64,
        entry: Inbound,
        touch: Touch,
    ) -> Result<After, BrokerError> {
        match self.options.deliver {
            Deliver::BuiltIn => Box::pin(self.deliver(id, version, entry, touch)).await,
            Deliver::Lmtp { .. } => self.move_on(id, version, entry, Change::default(), touch).await,
        }
    }

    pub(super) async fn deliver(
        &self,
        id: Uuid,
        version: u64,
        mut entry: Inbound,
        touch: Touch,
    ) -> Result<After, BrokerError> {
        let choice = promised(&entry);
        let destination = choice.map(|choice| choice.locator.clone());
        let message = self.read(&entry.message).await?;
        let mut change = Change::default();
        match &self.options.deliver {
            _ if entry.delivered.is_some() => {
                self.redirect(&entry, choice.cloned(), &mut change).await?;
                self.delivered(id, version, entry, change, touch).await
            }
            Deliver::BuiltIn => {
                let message = match &destination {
                    Some(locator) => surgery::with_destination(&message, locator)?.into(),
                    None => message,
                };
                let decided_by = choice.map(|choice| choice.decided_by);
                let (folder, whose) = (entry.folder, entry.recipient.clone());
                let kept = self
                    .keep(&whose, folder, message, decided_by, &mut change)
                    .await?;
                entry.delivered = Some(kept);
                self.waits_no_longer(id, version, entry, change, touch).await
            }
            // A mail store's copy cannot be rewritten: it names the first destination that took it.
            Deliver::Lmtp { host, port } => {
                let message = match &destination {
                    Some(locator) => surgery::with_destination(&message, locator)?.into(),
                    None => message,
                };
                let taken = match self.taken.take(id) {
                    Some(taken) => taken,
                    None if !self.is_writable() => {
                        return self.move_on(id, version, entry, change, touch).await;
                    }
                    None => self.hand_over(host, *port, &entry, message).await,
                };
                let noted = match &taken {
                    Taken::Yes => {
                        entry.delivered = Some(id);
                        self.waits_no_longer(id, version, entry, change, touch).await
                    }
                    Taken::Refused(status, why) => self.not_taken(id, version, entry, *status, why).await,
                    Taken::Later(why) => self.hand_over_later(id, version, entry, why).await,
                };
                if noted.is_err() {
                    self.taken.keep(id, taken);
                }
                noted
            }
        }
    }

    /// Notes that a message that waited for its recipient is delivered.
    async fn waits_no_longer(
        &self,
        id: Uuid,
        version: u64,
        entry: Inbound,
        mut change: Change,
        touch: Touch,
    ) -> Result<After, BrokerError> {
        change.moves(Move::waits(&entry.recipient, -signed(entry.message.size)));
        self.delivered(id, version, entry, change, touch).await
    }

    async fn delivered(
        &self,
        id: Uuid,
        version: u64,
        mut entry: Inbound,
        change: Change,
        touch: Touch,
    ) -> Result<After, BrokerError> {
        let destination = promised(&entry).map(|choice| &choice.locator);
        tracing::info!(message_id = %entry.message_id, step = "deliver", recipient = %entry.recipient,
            folder = entry.folder.name(), destination = destination.map(tracing::field::display),
            "delivered");
        match (&entry.wishes, &entry.job) {
            (Some(wishes), Some(_)) => {
                let end = wishes.expires;
                self.begin_to_follow(&mut entry, end);
            }
            _ => entry.state = State::Done(End::Delivered),
        }
        self.move_on(id, version, entry, change, touch).await
    }

    async fn hand_over(&self, host: &str, port: u16, entry: &Inbound, message: Bytes) -> Taken {
        let delivery = Delivery {
            sender: entry.sender.clone(),
            recipients: vec![entry.recipient.clone()],
            message,
        };
        let said = Box::pin(self.needs.smtp.lmtp(host, port, &delivery)).await;
        match said.map(|said| said.into_iter().next()) {
            Ok(Some(Said::Accepted)) => Taken::Yes,
            Ok(Some(Said::Refused { status, text })) => Taken::Refused(status.parts(), text),
            Ok(Some(Said::Later { text })) => Taken::Later(text),
            Ok(None) => Taken::Later("no answer for the recipient".to_owned()),
            Err(error) => Taken::Later(error.to_string()),
        }
    }

    async fn hand_over_later(
        &self,
        id: Uuid,
        version: u64,
        mut entry: Inbound,
        why: &str,
    ) -> Result<After, BrokerError> {
        match entry.tries.failed(self.now(), None, self.random()) {
            Next::At(due) => {
                tracing::warn!(message_id = %entry.message_id, step = "deliver", recipient = %entry.recipient, why,
                    failed = entry.tries.failed, %due, "the mail store did not take it yet");
                self.move_on(id, version, entry, Change::default(), Touch::Nothing)
                    .await
            }
            Next::GiveUp => {
                let days = limits::SENDING.as_secs() / 86_400;
                let why = format!("the recipient's mail store did not take it for {days} days: {why}");
                self.not_taken(id, version, entry, (4, 7), &why).await
            }
        }
    }

    /// Ends an entry that was accepted here and is not delivered after all.
    async fn not_taken(
        &self,
        id: Uuid,
        version: u64,
        mut entry: Inbound,
        status: (u16, u16),
        why: &str,
    ) -> Result<After, BrokerError> {
        if entry.report_to.is_some() {
            return self.refuse(id, version, entry, status, why).await;
        }
        tracing::error!(message_id = %entry.message_id, step = "deliver", recipient = %entry.recipient, entry = %id, why,
            "the mail store does not take it, and nobody can be told; put aside; an operator has to look");
        entry.state = State::Quarantined;
        self.move_on(id, version, entry, Change::default(), Touch::Nothing)
            .await
    }
}

/// The destination that has promised to retrieve the resources.
fn promised(entry: &Inbound) -> Option<&Choice> {
    let wishes = entry.wishes.as_ref().filter(|_| entry.job.is_some());
    wishes.and_then(Wishes::choice)
}
