//! The entry of an arriving message for one recipient, and where it stands on its way into the User Mailbox.
//!
//! ```text
//! Route → Deliver → Done                                  an ordinary message
//! Route → Notify → Deliver → Follow → Done                a placeholder with resources
//!            ↑ next choice      │
//!            └──────────────────┘ refused by the destination after all
//! ```
//! Steps that need not wait follow each other without a commit between them; an entry stands at the first of them meanwhile.
//! `Notify` ends in `Done` with a report when no choice is left; any state ends in `Quarantined` after it failed here, on
//! this machine, too often (row Q01), and `Deliver` where another mail store refuses it and nobody can be told.

use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::limits;
use cargomail_protocol::queue::Tries;
use cargomail_protocol::routing::Choice;
use cargomail_protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::typed::Stored;

/// Where entries stand: `inbound/<id>` → [`Inbound`].
pub(super) const INBOUND: &str = "inbound/";

/// An arriving message for one recipient.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inbound {
    /// For whom, as the envelope names them.
    pub(super) recipient: Address,
    /// The reverse path.
    pub(super) sender: Option<Address>,
    /// Who is told when it fails; nobody when the sender is not proved, or is itself a program that reports.
    pub(super) report_to: Option<Address>,
    /// The Message-ID, or a stand-in where there is none.
    pub(super) message_id: String,
    /// The message, with this broker's trace fields and without a destination.
    pub(super) message: Stored,
    /// Where it is delivered.
    pub(super) folder: Folder,
    /// When it came.
    pub(super) received: Timestamp,
    /// Where it stands.
    pub(super) state: State,
    /// When the present step is due, and until when it is tried.
    pub(super) tries: Tries,
    /// How often a step failed by this machine's own fault.
    pub(super) stumbles: u32,
    /// For a placeholder with resources: where they may go.
    pub(super) wishes: Option<Wishes>,
    /// What the chosen destination has promised.
    pub(super) job: Option<Job>,
    /// The delivered message in the built-in User Mailbox.
    pub(super) delivered: Option<Uuid>,
}

/// A folder of the User Mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Folder {
    Inbox,
    Sent,
    Junk,
}

impl Folder {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Folder::Inbox => "inbox",
            Folder::Sent => "sent",
            Folder::Junk => "junk",
        }
    }

    pub(super) fn named(text: &str) -> Option<Self> {
        [Folder::Inbox, Folder::Sent, Folder::Junk]
            .into_iter()
            .find(|folder| folder.name() == text)
    }
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// The recipient's wishes are to be asked.
    Route,
    /// The present choice is to be notified.
    Notify,
    /// The message is to be put into the User Mailbox.
    Deliver,
    /// The destination is to be asked how far it is.
    Follow,
    /// Nothing is to be done any more.
    Done(End),
    /// It failed here too often, or the mail store refuses it and nobody can be told: a person has to look.
    Quarantined,
}

/// How an entry ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum End {
    /// Delivered; there was nothing to retrieve.
    Delivered,
    /// Delivered, and the destination has everything.
    Stored,
    /// Delivered, and the destination could not get everything; the sender was told.
    NotRetrieved,
    /// Delivered, and what became of the resources is not known.
    Unknown,
    /// Not delivered; the sender was told, if there is one to tell.
    Refused,
}

/// Where the resources of a placeholder may go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wishes {
    /// The destinations, in the order of the recipient's wishes as they were when the message was routed.
    pub(super) choices: Vec<Choice>,
    /// The present one.
    pub(super) at: usize,
    /// The notification: built once, so that every destination and every token is told of the same octets.
    pub(super) notification: Stored,
    /// When the share ends.
    pub(super) expires: Timestamp,
    /// Destinations that do not take it.
    pub(super) refused: Vec<Refusal>,
}

impl Wishes {
    pub(super) fn choice(&self) -> Option<&Choice> {
        self.choices.get(self.at)
    }
}

/// A destination that does not take the resources.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusal {
    pub(super) locator: Locator,
    /// Subject and detail of RFC 3463's code.
    pub(super) status: (u16, u16),
    pub(super) why: String,
}

/// What a destination has promised.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    /// Names the job there.
    pub(super) name: String,
    /// Until when the agent's token 1 is good.
    pub(super) token_until: Timestamp,
}

impl Inbound {
    pub(super) fn key(id: Uuid) -> String {
        format!("{INBOUND}{id}")
    }

    /// Whose answer the present step waits for; empty for this machine's own steps.
    pub(super) fn lane(&self) -> String {
        match (&self.state, self.wishes.as_ref().and_then(Wishes::choice)) {
            (State::Notify | State::Follow, Some(choice)) => choice.locator.to_string(),
            _ => String::new(),
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.state, State::Done(_) | State::Quarantined)
    }

    /// Octets of it that are kept for a person to look at.
    pub(super) fn aside(&self) -> u64 {
        match self.state {
            State::Quarantined => self.message.size,
            _ => 0,
        }
    }

    /// Whether it is forgotten now: when it ended so long ago that nobody will ask for it again, or, if it is put aside, while
    /// `too_much` of that is left.
    pub(super) fn is_over(&self, now: Timestamp, too_much: &mut u64) -> bool {
        let over = |since: Timestamp| now.since(since) > limits::REMEMBERED;
        match self.state {
            State::Quarantined => {
                let gone = *too_much > 0;
                *too_much = too_much.saturating_sub(self.message.size);
                gone
            }
            State::Done(_) => over(self.received) && over(self.tries.due),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOON: Timestamp = Timestamp::from_seconds(1_796_389_501);

    fn entry(state: State) -> Inbound {
        Inbound {
            recipient: Address::parse("bob@bar.test").unwrap(),
            sender: None,
            report_to: None,
            message_id: "<1@foo.test>".to_owned(),
            message: Stored::within(&b"At noon.\r\n".as_slice().into(), 1).unwrap(),
            folder: Folder::Inbox,
            received: NOON,
            state,
            tries: Tries::new(NOON, limits::SENDING),
            stumbles: 0,
            wishes: None,
            job: None,
            delivered: None,
        }
    }

    #[test]
    fn q09_what_is_put_aside_stays_until_there_is_too_much_of_it() {
        let much_later = NOON.plus(limits::REMEMBERED * 10);
        let aside = entry(State::Quarantined);
        let mut nothing = 0;
        assert!(!aside.is_over(much_later, &mut nothing));
        assert!(entry(State::Done(End::Refused)).is_over(much_later, &mut nothing));
        assert!(!entry(State::Done(End::Refused)).is_over(NOON, &mut nothing));
        assert!(!entry(State::Deliver).is_over(much_later, &mut nothing));
        // one octet too much: the first that is looked at, the oldest, makes room for the others
        let mut too_much = 1;
        assert_eq!(aside.aside(), 10);
        assert!(!entry(State::Follow).is_over(NOON, &mut too_much));
        assert!(aside.is_over(NOON, &mut too_much));
        assert!(!aside.is_over(NOON, &mut too_much));
    }
}
