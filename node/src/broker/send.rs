//! Step 4, first half: a user's message is queued, once, for everybody to whom it goes.
//!
//! Recipients of this domain get it without any network, by the same function as everybody else's mail. What always holds:
//! the copy in the Sent folder, every entry of the queue and what is delivered here are one commit; no Bcc field leaves; the
//! same request given again is the same message.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::channel::Outcome;
use cargomail_protocol::fault::Fault;
use cargomail_protocol::grip::Digest;
use cargomail_protocol::limits;
use cargomail_protocol::placeholder::{self, DESTINATION, Placeholder};
use cargomail_protocol::queue::Tries;
use cargomail_protocol::timestamp::Timestamp;
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::accept::{Arrival, Before, Came, Letter, ROUNDS};
use super::change::Change;
use super::fields::Fields;
use super::fill::{Move, signed};
use super::inbound::Folder;
use super::outbound::{Outbound, Recipient};
use super::report::{Failure, Notice};
use super::{Broker, BrokerError, user};
use crate::api::{Channel, Delivery, NewMessage, Queued};
use crate::store::{CommitError, typed};

/// What was queued: `submitted/<sender>/<SHA-256 of the request>` → [`Submitted`].
pub(super) const SUBMITTED: &str = "submitted/";

/// A request that was answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submitted {
    pub(super) entries: Vec<Uuid>,
    pub(super) at: Timestamp,
}

/// Groups of recipients, each of one domain.
type Copies = Vec<(Domain, Vec<Address>)>;

/// A user's message that may go out.
struct Leaving {
    sender: Address,
    message: Bytes,
    message_id: String,
    channel: Channel,
    copies: Copies,
    /// With its content, for those whose domains have no Cargomail.
    ordinary: Option<(Bytes, Copies)>,
    /// For the recipients of this domain.
    letter: Letter,
}

impl Broker {
    /// Queues a message of one of this domain's users; how far it is for each recipient. Durable on return.
    ///
    /// # Errors
    /// [`BrokerError`]: nothing of it was queued.
    pub async fn submit(&self, sender: &Address, new: NewMessage) -> Result<Vec<Queued>, BrokerError> {
        let place = place(sender, &new);
        let leaving = self.leaving(sender, new)?;
        let mut conflict = String::new();
        for _ in 0..ROUNDS {
            if let Some((_, submitted)) = typed::read::<Submitted>(self.records(), &place).await? {
                return self.queued(&submitted.entries).await;
            }
            if self.may_not_send(sender).await? {
                return Err(BrokerError::Full);
            }
            let (entries, mut change) = self.queue_up(&leaving).await?;
            let submitted = Submitted {
                entries,
                at: self.now(),
            };
            change.absent(place.clone());
            change.put(place.clone(), &submitted);
            match self.commit(change).await {
                Ok(()) => return self.queued(&submitted.entries).await,
                Err(CommitError::Conflict(key)) => conflict = key,
                Err(error) => return Err(error.into()),
            }
        }
        Err(BrokerError::Conflict(conflict))
    }

    async fn queued(&self, entries: &[Uuid]) -> Result<Vec<Queued>, BrokerError> {
        let keys: Vec<String> = entries.iter().map(|id| Outbound::key(*id)).collect();
        let mut views = Vec::new();
        for (record, id) in self.records().get(&keys).await?.into_iter().zip(entries) {
            if let Some(record) = record {
                views.extend(typed::decode::<Outbound>(&record)?.views(*id));
            }
        }
        Ok(views)
    }

    /// Checks what a user wants to send.
    fn leaving(&self, sender: &Address, new: NewMessage) -> Result<Leaving, BrokerError> {
        if *sender.domain() != self.options.domain {
            return Err(BrokerError::Foreign(sender.clone()));
        }
        let (message, message_id) = written_by(sender, &new.message, limits::MESSAGE)?;
        let is_placeholder = placeholder::is_placeholder(&message);
        if is_placeholder {
            Placeholder::parse(&message)?;
        }
        let channel = new.channel.unwrap_or(self.options.channel);
        let may_be_larger = channel != Channel::Web && new.ordinary.is_none();
        if !may_be_larger && message.len() > limits::PLACEHOLDER {
            return Err(BrokerError::TooLarge(limits::PLACEHOLDER));
        }
        let groups = new.envelopes.len();
        let (mut envelopes, mut ordinary) = (new.envelopes, None);
        if let Some(new) = new.ordinary {
            if channel == Channel::Web || self.largest_ordinary() == 0 {
                return Err(BrokerError::Ordinary("none may leave"));
            }
            let (message, its_id) = written_by(sender, &new.message, self.options.ordinary)?;
            if !is_placeholder || placeholder::is_placeholder(&message) || its_id != message_id {
                return Err(BrokerError::Ordinary(
                    "it goes with a placeholder of the same Message-ID",
                ));
            }
            envelopes.extend(new.envelopes);
            ordinary = Some(message);
        }
        let (copies, others) = copies(envelopes, groups)?;
        if others.iter().any(|(domain, _)| *domain == self.options.domain) {
            return Err(BrokerError::Ordinary("the users of this domain have Cargomail"));
        }
        let letter = self.judge(Arrival {
            message: message.clone(),
            sender: Some(sender.clone()),
            came: Came::Own,
        })?;
        Ok(Leaving {
            sender: sender.clone(),
            message,
            message_id,
            channel,
            copies,
            ordinary: ordinary.map(|message| (message, others)),
            letter,
        })
    }

    /// The entries, and the change that makes them and everything that goes with them.
    async fn queue_up(&self, leaving: &Leaving) -> Result<(Vec<Uuid>, Change), BrokerError> {
        let mut change = Change::default();
        self.keep(
            &leaving.sender,
            Folder::Sent,
            leaving.message.clone(),
            None,
            &mut change,
        )
        .await?;
        let mut ids = Vec::new();
        self.queue_copies(
            leaving,
            &leaving.message,
            &leaving.copies,
            false,
            &mut ids,
            &mut change,
        )
        .await?;
        if let Some((message, copies)) = &leaving.ordinary {
            self.queue_copies(leaving, message, copies, true, &mut ids, &mut change)
                .await?;
        }
        Ok((ids, change))
    }

    /// The entries of one message, for each group of its recipients.
    async fn queue_copies(
        &self,
        leaving: &Leaving,
        message: &Bytes,
        copies: &Copies,
        is_ordinary: bool,
        ids: &mut Vec<Uuid>,
        change: &mut Change,
    ) -> Result<(), BrokerError> {
        if copies.is_empty() {
            return Ok(());
        }
        let channel = match is_ordinary {
            true => Channel::Smtp,
            false => leaving.channel,
        };
        let now = self.now();
        let stored = self.store(message.clone(), copies.len(), change).await?;
        for (domain, addresses) in copies {
            let recipients = addresses.iter().cloned().map(Recipient::waiting).collect();
            let mut entry = Outbound {
                sender: Some(leaving.sender.clone()),
                domain: domain.clone(),
                channel,
                message: stored.clone(),
                message_id: leaving.message_id.clone(),
                queued: now,
                recipients,
                tries: Tries::new(now, limits::SENDING),
                away: 0,
                stumbles: 0,
                finished: None,
                // The sender keeps the placeholder, so it is counted while it waits.
                charged: match is_ordinary {
                    true => message.len().div_ceil(copies.len()) as u64,
                    false => 0,
                },
            };
            if let Some((sender, octets)) = entry.charge() {
                change.moves(Move::leaves(sender, signed(octets)));
            }
            let id = self.fresh();
            if *domain == self.options.domain {
                self.give_here(leaving, &mut entry, addresses, change).await?;
            } else {
                change.wake_outbound(id, &entry);
            }
            tracing::info!(message_id = %leaving.message_id, step = "send", %domain, recipients = addresses.len(),
                ?channel, entry = %id, "queued");
            change.put(Outbound::key(id), &entry);
            if let Some(index) = entry.index(id) {
                change.put(index, &id);
            }
            ids.push(id);
        }
        Ok(())
    }

    /// Recipients of this domain: delivered or refused at once.
    async fn give_here(
        &self,
        leaving: &Leaving,
        entry: &mut Outbound,
        addresses: &[Address],
        change: &mut Change,
    ) -> Result<(), BrokerError> {
        let (outcomes, admitted) = self.admit(&leaving.letter, addresses, Before::Asked).await?;
        change.and(admitted);
        let mut failures = Vec::new();
        for (recipient, outcome) in entry.recipients.iter_mut().zip(outcomes) {
            match outcome {
                Outcome::Accepted => {
                    recipient.delivery = Delivery::Accepted;
                    "accepted here".clone_into(&mut recipient.last);
                }
                Outcome::Refused(code) => {
                    let text = match outcome == Outcome::of(Fault::OverQuota) {
                        true => Fault::OverQuota.smtp().text,
                        false => Fault::NoSuchUser.smtp().text,
                    };
                    recipient.delivery = Delivery::Refused;
                    recipient.last = format!("refused ({code}): {text}");
                    failures.push(Failure {
                        recipient: recipient.address.clone(),
                        status: code.parts(),
                        text: text.to_owned(),
                    });
                }
                Outcome::Later(_) => return Err(BrokerError::Busy),
            }
        }
        entry.finished = Some(self.now());
        if failures.is_empty() {
            return Ok(());
        }
        let notice = Notice {
            to: Some(leaving.sender.clone()),
            message_id: &leaving.message_id,
            original: Some(leaving.message.clone()),
            arrived: entry.queued,
            failures,
        };
        self.report(notice, change).await
    }
}

/// Where the answer to a request is kept.
fn place(sender: &Address, new: &NewMessage) -> String {
    let mut hash = Sha256::new();
    let mut add = |envelopes: &[Vec<Address>], message: &str| {
        for envelope in envelopes {
            for recipient in envelope {
                hash.update(Digest::of(recipient.to_string().as_bytes()).sha256());
            }
            hash.update([0]);
        }
        hash.update(Digest::of(message.as_bytes()).sha256());
    };
    add(&new.envelopes, &new.message);
    if let Some(ordinary) = &new.ordinary {
        add(&ordinary.envelopes, &ordinary.message);
    }
    let hash: [u8; 32] = hash.finalize().into();
    format!("{SUBMITTED}{}/{}", user(sender), HEXLOWER.encode(&hash))
}

/// A message that one of the users wrote, in base64, without what must not leave; and its Message-ID.
fn written_by(sender: &Address, base64: &str, largest: usize) -> Result<(Bytes, String), BrokerError> {
    let message = BASE64
        .decode(base64.as_bytes())
        .map_err(|_| BrokerError::Request("the message is not base64"))?;
    if message.len() > largest {
        return Err(BrokerError::TooLarge(largest));
    }
    if !has_whole_line_ends(&message) {
        return Err(BrokerError::Request(
            "a line of the message ends in something else than CR LF, or it holds NUL",
        ));
    }
    let (message, fields) = Fields::read(&message, |name, _| {
        [DESTINATION, "Bcc", "Resent-Bcc"]
            .iter()
            .any(|gone| name.eq_ignore_ascii_case(gone))
    })?;
    let message_id = fields.message_id().ok_or(BrokerError::MessageId)?.to_owned();
    let author = fields.author().ok_or(BrokerError::Author)?;
    match author == *sender {
        true => Ok((Bytes::from(message), message_id)),
        false => Err(BrokerError::Author),
    }
}

/// One copy for each domain of each group, each recipient once, no more of them than one token or transaction carries: of the first
/// so many groups, and of the others.
fn copies(envelopes: Vec<Vec<Address>>, first: usize) -> Result<(Copies, Copies), BrokerError> {
    let mut known = BTreeSet::new();
    let mut copies = (Vec::new(), Vec::new());
    for (number, envelope) in envelopes.into_iter().enumerate() {
        let mut domains: BTreeMap<Domain, Vec<Address>> = BTreeMap::new();
        for recipient in envelope {
            if known.insert(user(&recipient)) {
                domains
                    .entry(recipient.domain().clone())
                    .or_default()
                    .push(recipient);
            }
        }
        let copies = match number < first {
            true => &mut copies.0,
            false => &mut copies.1,
        };
        for (domain, recipients) in domains {
            for some in recipients.chunks(limits::RECIPIENTS) {
                copies.push((domain.clone(), some.to_vec()));
            }
        }
    }
    if (1..=limits::SHARE_RECIPIENTS).contains(&known.len()) {
        Ok(copies)
    } else {
        Err(BrokerError::Recipients)
    }
}

/// Every line ends in CR LF, and nothing else ends one (row S02).
fn has_whole_line_ends(message: &[u8]) -> bool {
    let mut before = 0;
    for octet in message {
        match (before, octet) {
            (_, 0) => return false,
            (b'\r', b'\n') => {}
            (b'\r', _) | (_, b'\n') => return false,
            _ => {}
        }
        before = *octet;
    }
    before != b'\r'
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn each_recipient_gets_one_copy_and_a_hidden_one_their_own() {
        let envelopes = vec![
            vec![
                address("bob@bar.test"),
                address("carol@baz.test"),
                address("Bob@bar.test"),
            ],
            vec![address("dave@bar.test")],
            vec![address("bob@bar.test")],
        ];
        let (copies, others) = copies(envelopes, 1).unwrap();
        assert_eq!(
            others,
            [(
                address("dave@bar.test").domain().clone(),
                vec![address("dave@bar.test")]
            )]
        );
        let shown: Vec<String> = copies
            .iter()
            .map(|(domain, who)| format!("{domain}: {}", who.len()))
            .collect();
        assert_eq!(shown, ["bar.test: 1", "baz.test: 1"]);
    }

    #[test]
    fn recipients_are_counted_and_split() {
        let many = |count: usize| {
            let who = (0..count).map(|number| address(&format!("u{number}@bar.test")));
            copies(vec![who.collect()], 1).map(|(copies, _)| copies)
        };
        let sizes: Vec<usize> = many(250).unwrap().iter().map(|(_, who)| who.len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
        assert!(matches!(many(0), Err(BrokerError::Recipients)));
        assert!(matches!(
            many(limits::SHARE_RECIPIENTS + 1),
            Err(BrokerError::Recipients)
        ));
    }

    #[test]
    fn s02_only_cr_lf_ends_a_line() {
        assert!(has_whole_line_ends(b"a: b\r\n\r\ntext\r\n"));
        for bad in [
            &b"a\n.\r\n"[..],
            b"a\r.\r\n",
            b"a\r\n\0",
            b"a\r",
            b"\n",
            b"a\r\r\n",
        ] {
            assert!(!has_whole_line_ends(bad), "{bad:?}");
        }
    }
}
