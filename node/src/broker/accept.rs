//! Step 5, first half: a message that came is judged, and made durable with an entry for each recipient.
//!
//! One function for the web channel, SMTP and this node's own users. What always holds: what was accepted once is
//! answered again and not delivered again, whichever way it comes (row Q03); nobody can occupy the place of somebody
//! else's message, because the place is named after the author, whose domain is proved, or after the octets where it is not.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;
use cargomail_protocol::address::{Address, ClientId, Domain};
use cargomail_protocol::channel::{self, Outcome};
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::grip::Digest;
use cargomail_protocol::limits;
use cargomail_protocol::placeholder::{self, DESTINATION, Header, Placeholder, surgery};
use cargomail_protocol::queue::Tries;
use cargomail_protocol::timestamp::Timestamp;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::change::Change;
use super::fields::{Fields, harmless, is_forged_result};
use super::fill::{Move, signed};
use super::inbound::{Folder, Inbound, State};
use super::{Broker, BrokerError, user};
use crate::grip::Uses;
use crate::smtp::Authentication;
use crate::store::{CommitError, StoreError};

/// What was accepted: `seen/<author's domain>/<SHA-256 of author and Message-ID>/<recipient>` → [`Seen`], and for authors that
/// are not proved `seen/-/<SHA-256 of the message>/<recipient>`.
pub(super) const SEEN: &str = "seen/";
/// How often a commit is made anew because somebody else's came first.
pub(super) const ROUNDS: usize = 8;

/// An answer that was given.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    /// The entry.
    pub(super) entry: Uuid,
    /// The outcome, in text form.
    pub(super) answer: String,
    /// When.
    pub(super) at: Timestamp,
}

/// A message with its envelope.
pub(super) struct Arrival {
    pub(super) message: Bytes,
    /// The reverse path, or the person for whom a token speaks.
    pub(super) sender: Option<Address>,
    pub(super) came: Came,
}

/// What the web channel went over.
pub(super) enum Over {
    Https,
    Stream,
}

/// How a message came, and what that proves.
pub(super) enum Came {
    /// By the web channel: a verified token 0 of this broker speaks for the sender.
    Channel { issuer: ClientId, over: Over },
    /// By SMTP.
    Smtp {
        client: SocketAddr,
        helo: String,
        tls: bool,
        proof: Proof,
    },
    /// From a user of this node, who has logged in.
    Own,
}

/// Who vouches for what came by SMTP.
pub(super) enum Proof {
    /// An MTA in front of this broker, which has authenticated it.
    Trusted,
    /// What SPF, DKIM and DMARC say.
    Judged(Authentication),
}

/// Whether it is looked up what came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// No: if something did, the commit is not made.
    Unknown,
    /// Yes.
    Asked,
}

/// A message that may be admitted.
pub(super) struct Letter {
    /// With the trace fields of this broker.
    pub(super) message: Bytes,
    pub(super) message_id: String,
    /// The middle of the key under which it is known: domain and hash.
    place: String,
    sender: Option<Address>,
    report_to: Option<Address>,
    folder: Folder,
    how: &'static str,
}

impl Broker {
    /// Judges a message and makes it durable; one outcome for each recipient, in their order.
    ///
    /// `uses` is what the token that brought it uses up.
    ///
    /// # Errors
    /// [`BrokerError`] when it concerns the message as a whole.
    pub(super) async fn accept(
        &self,
        arrival: Arrival,
        recipients: &[Address],
        uses: Option<Uses>,
    ) -> Result<Vec<Outcome>, BrokerError> {
        let letter = self.judge(arrival)?;
        let mut conflict = String::new();
        // Nearly always it comes for the first time: that is found out by the commit, if what it writes is little.
        let mut seen = Before::Unknown;
        if letter.message.len() > limits::INLINE {
            if let Some(uses) = &uses {
                self.needs.verifier.check_unused(uses).await?;
            }
            seen = Before::Asked;
        }
        for _ in 0..ROUNDS {
            let (outcomes, mut change) = self.admit(&letter, recipients, seen).await?;
            let all = outcomes.iter().all(|outcome| *outcome == Outcome::Accepted);
            if seen == Before::Unknown && !all {
                // It may have been answered otherwise when it came first.
                seen = Before::Asked;
                continue;
            }
            if let Some(uses) = &uses {
                change.uses(uses);
            }
            if change.is_empty() {
                return Ok(outcomes);
            }
            match self.commit(change).await {
                Ok(()) => return Ok(outcomes),
                Err(CommitError::Conflict(key)) => {
                    if let Some(replayed) = uses.as_ref().and_then(|uses| uses.replayed(&key)) {
                        return Err(replayed.into());
                    }
                    conflict = key;
                    seen = Before::Asked;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(BrokerError::Conflict(conflict))
    }

    /// What holds of the message for every recipient.
    ///
    /// # Errors
    /// [`BrokerError`] when nobody gets it.
    pub(super) fn judge(&self, arrival: Arrival) -> Result<Letter, BrokerError> {
        let domain = &self.options.domain;
        let outside = !matches!(arrival.came, Came::Own);
        let relayed = matches!(
            arrival.came,
            Came::Smtp {
                proof: Proof::Trusted,
                ..
            }
        );
        let (cleaned, fields) = Fields::read(&arrival.message, |name, body| {
            name.eq_ignore_ascii_case(DESTINATION)
                || (outside && !relayed && is_forged_result(name, body, domain))
        })?;
        if fields.received > limits::HOPS {
            return Err(BrokerError::Loop);
        }
        let is_placeholder = placeholder::is_placeholder(&cleaned);
        if is_placeholder {
            Placeholder::parse(&cleaned)?;
        }
        let author = fields.author();
        let proved = proved(&arrival, author.as_ref())?;
        let hash = |octets: &[u8]| HEXLOWER.encode(Digest::of(octets).sha256());
        let place = match (&proved, &author, fields.message_id()) {
            (Some(proved), Some(author), Some(id)) => {
                format!("{proved}/{}", hash(format!("{} {id}", user(author)).as_bytes()))
            }
            _ => format!("-/{}", hash(&arrival.message)),
        };
        let disowned = match &arrival.came {
            Came::Smtp {
                proof: Proof::Judged(judged),
                ..
            } => judged.disowned,
            // Whoever speaks for a domain has no reason to name an author of another one, unless it passes something on.
            Came::Channel { .. } => proved.is_none(),
            _ => false,
        };
        let junk = author.is_none() || disowned || (is_placeholder && proved.is_none());
        let message_id = match fields.message_id() {
            Some(id) => id.to_owned(),
            None => format!("<{}@none.invalid>", Digest::of(&arrival.message)),
        };
        Ok(Letter {
            message: self.traced(&cleaned, &arrival.came)?.into(),
            message_id,
            place,
            report_to: report_to(&arrival, author, proved.as_ref(), &fields),
            sender: arrival.sender,
            folder: if junk { Folder::Junk } else { Folder::Inbox },
            how: match arrival.came {
                Came::Channel { .. } => "web channel",
                Came::Smtp { .. } => "smtp",
                Came::Own => "own user",
            },
        })
    }

    /// The change that makes a letter durable for those recipients who are users here and have not got it yet.
    ///
    /// # Errors
    /// [`BrokerError::Store`].
    pub(super) async fn admit(
        &self,
        letter: &Letter,
        recipients: &[Address],
        before: Before,
    ) -> Result<(Vec<Outcome>, Change), BrokerError> {
        let mut addressees = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            addressees.push(self.addressee(recipient).await?);
        }
        let key = |recipient: &Address| format!("{SEEN}{}/{}", letter.place, user(recipient));
        let keys: Vec<String> = addressees.iter().map(key).collect();
        let seen = match before {
            Before::Unknown => vec![None; keys.len()],
            Before::Asked => self.records().get(&keys).await?,
        };
        let mut taken = BTreeSet::new();
        let mut outcomes = Vec::with_capacity(recipients.len());
        let mut fresh = Vec::new();
        let is_placeholder = placeholder::is_placeholder(&letter.message);
        for (((recipient, key), seen), named) in addressees.iter().zip(keys).zip(seen).zip(recipients) {
            let outcome = match seen {
                Some(record) => {
                    let seen: Seen = crate::store::typed::decode(&record)?;
                    tracing::info!(message_id = %letter.message_id, step = "accept", %recipient, how = letter.how,
                        entry = %seen.entry, "came again; the answer is the same");
                    Outcome::parse(&seen.answer).unwrap_or(Outcome::Accepted)
                }
                // Its content is shared with whom the author named, and no origin gives it to somebody else.
                None if is_placeholder && recipient != named => Outcome::of(Fault::NoSuchUser),
                None => match self.takes(recipient).await {
                    Ok(()) if taken.insert(key.clone()) => {
                        fresh.push((recipient, key));
                        Outcome::Accepted
                    }
                    Ok(()) => Outcome::Accepted,
                    Err(fault) => Outcome::of(fault),
                },
            };
            outcomes.push(outcome);
        }
        let mut change = Change::default();
        if !fresh.is_empty() {
            self.enter(letter, fresh, &mut change).await?;
        }
        Ok((outcomes, change))
    }

    /// Whether mail for this recipient is taken here.
    pub(super) async fn takes(&self, recipient: &Address) -> Result<(), Fault> {
        if *recipient.domain() != self.options.domain {
            return Err(Fault::Refused);
        }
        let recipient = &self.addressee(recipient).await.map_err(|error| {
            tracing::error!(%error, "who the postmaster is could not be looked up");
            error.fault()
        })?;
        match self.needs.accounts.is_known(recipient).await {
            Ok(true) => {}
            Ok(false) => return Err(Fault::NoSuchUser),
            Err(error) => {
                tracing::error!(%error, "an account could not be looked up");
                return Err(error.fault());
            }
        }
        match self.is_full(recipient).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(Fault::OverQuota),
            Err(error) => {
                tracing::error!(%error, "how full a User Mailbox is could not be found out");
                Err(error.fault())
            }
        }
    }

    /// Who gets the mail for a recipient: the recipient, except that the postmaster, who is to be reached at every domain
    /// (RFC 5321 §4.5.1), is whoever has the domain's oldest account where no account has that name.
    async fn addressee(&self, recipient: &Address) -> Result<Address, StoreError> {
        let (domain, accounts) = (&self.options.domain, &self.needs.accounts);
        let postmaster = recipient.domain() == domain && recipient.local().eq_ignore_ascii_case("postmaster");
        if !postmaster || accounts.is_known(recipient).await? {
            return Ok(recipient.clone());
        }
        let oldest = self.oldest.get_or_try_init(async || {
            let accounts = accounts.list().await.map_err(Some)?.into_iter();
            let ours = accounts.filter(|account| account.address.domain() == domain);
            let oldest = ours.min_by_key(|account| account.created);
            oldest.map(|account| account.address).ok_or(None)
        });
        match oldest.await {
            Ok(oldest) => Ok(oldest.clone()),
            Err(None) => Ok(recipient.clone()),
            Err(Some(error)) => Err(error),
        }
    }

    async fn enter(
        &self,
        letter: &Letter,
        fresh: Vec<(&Address, String)>,
        change: &mut Change,
    ) -> Result<(), BrokerError> {
        let now = self.now();
        let message = self.store(letter.message.clone(), fresh.len(), change).await?;
        for (recipient, key) in fresh {
            let id = self.fresh();
            let entry = Inbound {
                recipient: recipient.clone(),
                sender: letter.sender.clone(),
                report_to: letter.report_to.clone(),
                message_id: letter.message_id.clone(),
                message: message.clone(),
                folder: letter.folder,
                received: now,
                state: State::Route,
                tries: Tries::new(now, limits::SENDING),
                stumbles: 0,
                wishes: None,
                job: None,
                delivered: None,
            };
            let seen = Seen {
                entry: id,
                answer: Outcome::Accepted.to_string(),
                at: now,
            };
            change.absent(key.clone());
            change.put(key, &seen);
            change.put(Inbound::key(id), &entry);
            change.moves(Move::waits(recipient, signed(message.size)));
            change.wake_inbound(id, entry.lane(), now);
            tracing::info!(message_id = %letter.message_id, step = "accept", %recipient, how = letter.how,
                folder = letter.folder.name(), entry = %id, "accepted");
        }
        Ok(())
    }

    /// The message with what this broker has seen of its way on top.
    fn traced(&self, message: &[u8], came: &Came) -> Result<Vec<u8>, BrokerError> {
        let domain = &self.options.domain;
        let (from, with) = match came {
            Came::Channel { issuer, over } => {
                let with = match over {
                    Over::Https => "HTTPS",
                    Over::Stream => "LIBP2P",
                };
                (format!("from {issuer} "), with)
            }
            Came::Smtp {
                client, helo, tls, ..
            } => (
                format!("from {} ([{}]) ", harmless(helo), client.ip()),
                if *tls { "ESMTPS" } else { "ESMTP" },
            ),
            Came::Own => (String::new(), "HTTPS"),
        };
        let (id, date) = (self.fresh().simple(), self.now().rfc5322());
        let value = format!("{from}by {domain} with {with} id {id}; {date}");
        let mut fields = vec![Header::folded("Received", &value)?];
        if let Came::Smtp {
            proof: Proof::Judged(judged),
            ..
        } = came
        {
            let results: Vec<&str> = judged.results.split_whitespace().collect();
            fields.push(Header::folded("Authentication-Results", &results.join(" "))?);
        }
        Ok(surgery::with_on_top(message, &fields)?)
    }
}

/// The author's domain, where it is proved to have sent the message; none when nobody vouches for it. A domain vouches for
/// whatever stands before the `@`, by either way.
///
/// # Errors
/// [`BrokerError::Author`] when a user of this node is not the author.
fn proved(arrival: &Arrival, author: Option<&Address>) -> Result<Option<Domain>, BrokerError> {
    if matches!(arrival.came, Came::Own) && (author.is_none() || author != arrival.sender.as_ref()) {
        return Err(BrokerError::Author);
    }
    let domain = author.map(Address::domain).cloned();
    Ok(domain.filter(|domain| match &arrival.came {
        Came::Channel { issuer, .. } => issuer.service_domain() == domain,
        Came::Smtp {
            proof: Proof::Judged(judged),
            ..
        } => judged.author.as_ref() == Some(domain),
        Came::Smtp {
            proof: Proof::Trusted,
            ..
        }
        | Came::Own => true,
    }))
}

/// Whom to tell of a failure: the reverse path, where its domain goes with the proved one, else the proved author.
/// Nobody who is not proved (backscatter), no null sender, no reporter, no program (row S09).
fn report_to(
    arrival: &Arrival,
    author: Option<Address>,
    proved: Option<&Domain>,
    fields: &Fields,
) -> Option<Address> {
    let sender = arrival.sender.as_ref()?;
    let proved = proved.filter(|_| !fields.automatic)?;
    let theirs = sender.domain();
    let goes_with = theirs == proved
        || (theirs.is_or_is_below(proved) && !proved.is_public_suffix())
        || (proved.is_or_is_below(theirs) && !theirs.is_public_suffix());
    let to = if goes_with { sender.clone() } else { author? };
    (to != channel::reporter(to.domain())).then_some(to)
}
