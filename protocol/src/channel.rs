//! The web channel: messages from broker to broker without SMTP, and what is answered.
//!
//! `spec/channel.md` is the specification. One message is a request whose body is the message itself and whose token 0
//! stands in the `Authorization` field. Many messages are one request whose body is a [`Batch`], each with a token 0
//! of its own. The answer is a receipt, signed, with an [`Outcome`] for each recipient. Not here: HTTP, and which
//! message was delivered before.
//!
//! What always holds: the batch's encoding is strict dag-cbor and what is written is read back; each message is bounded
//! and so is their sum.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::address::{Address, ClientId, Domain};
use crate::fault::{Fault, Faulty};
use crate::grip::{self, Claims, Digest, IssueError, NodeKey, Stamp, Statement, VerifiedChain};
use crate::{json, limits};

/// Where messages are taken.
pub const PATH: &str = "/grip/v1/messages";
/// The media type of one message.
pub const MESSAGE_TYPE: &str = "message/rfc822";
/// The media type of a batch.
pub const BATCH_TYPE: &str = "application/vnd.cargomail.batch";
/// The media type of an answer, of one message and of a batch.
pub const ANSWER_TYPE: &str = "application/json";

/// Why a batch or an answer was refused. Always the fault of whoever wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// More than [`limits::BATCH`] messages, a message above [`limits::PLACEHOLDER`], a token above [`limits::TOKEN`],
    /// or all of it above [`limits::BATCH_SIZE`].
    #[error("the batch is too large")]
    TooLarge,
    /// No message at all.
    #[error("the batch is empty")]
    Empty,
    /// Not strict dag-cbor of the form of a batch.
    #[error("the batch is malformed")]
    Malformed,
    /// Not the JSON of an answer, or not one answer for each message.
    #[error("the answer is malformed")]
    Answer,
}

impl Faulty for ChannelError {
    fn fault(&self) -> Fault {
        match self {
            ChannelError::TooLarge => Fault::TooLarge,
            ChannelError::Empty | ChannelError::Malformed | ChannelError::Answer => Fault::Malformed,
        }
    }
}

/// A message with the token 0 that speaks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// The token 0. Its digest is that of `message` alone.
    pub token: String,
    /// The message, RFC 5322.
    pub message: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParcelWire {
    token: String,
    message: ByteBuf,
}

/// Several messages for one broker, in one request: dag-cbor, a list of maps `{message: bytes, token: text}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch(Vec<Parcel>);

impl Batch {
    /// A batch of 1 to [`limits::BATCH`] messages.
    ///
    /// # Errors
    /// [`ChannelError::Empty`], [`ChannelError::TooLarge`].
    pub fn new(parcels: Vec<Parcel>) -> Result<Self, ChannelError> {
        if parcels.is_empty() {
            return Err(ChannelError::Empty);
        }
        let parcel = |p: &Parcel| p.token.len() > limits::TOKEN || p.message.len() > limits::PLACEHOLDER;
        let sum: usize = parcels
            .iter()
            .map(|parcel| Self::room(parcel.token.len(), parcel.message.len()))
            .sum();
        if parcels.len() > limits::BATCH || parcels.iter().any(parcel) || sum > limits::BATCH_SIZE {
            return Err(ChannelError::TooLarge);
        }
        Ok(Self(parcels))
    }

    /// Octets that a parcel takes in a batch at most; a sender fills a batch until their sum reaches
    /// [`limits::BATCH_SIZE`].
    #[must_use]
    pub fn room(token: usize, message: usize) -> usize {
        token.saturating_add(message).saturating_add(32)
    }

    /// Its messages, in order.
    #[must_use]
    pub fn parcels(&self) -> &[Parcel] {
        &self.0
    }

    /// Its messages, in order.
    #[must_use]
    pub fn into_parcels(self) -> Vec<Parcel> {
        self.0
    }

    /// Writes the batch.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire: Vec<_> = self
            .0
            .iter()
            .map(|parcel| ParcelWire {
                token: parcel.token.clone(),
                message: ByteBuf::from(parcel.message.clone()),
            })
            .collect();
        serde_ipld_dagcbor::to_vec(&wire).expect("texts and octets can always be written")
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ChannelError> {
        if bytes.len() > limits::BATCH_SIZE {
            return Err(ChannelError::TooLarge);
        }
        let wire: Vec<ParcelWire> =
            serde_ipld_dagcbor::from_slice(bytes).map_err(|_| ChannelError::Malformed)?;
        let parcels = wire.into_iter().map(|parcel| Parcel {
            token: parcel.token,
            message: parcel.message.into_vec(),
        });
        Self::new(parcels.collect())
    }
}

/// An enhanced mail system status code (RFC 3463) of class 5: why a recipient was refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatusCode {
    subject: u16,
    detail: u16,
}

impl StatusCode {
    /// `5.<subject>.<detail>`, each at most 999; none above.
    #[must_use]
    pub const fn new(subject: u16, detail: u16) -> Option<Self> {
        if subject > 999 || detail > 999 {
            return None;
        }
        Some(Self { subject, detail })
    }

    /// The code that the SMTP table gives a fault; none when the fault is temporary.
    #[must_use]
    pub fn of(fault: Fault) -> Option<Self> {
        let (class, subject, detail) = fault.smtp().enhanced;
        if class == 5 {
            Self::new(subject, detail)
        } else {
            None
        }
    }

    /// Subject and detail.
    #[must_use]
    pub const fn parts(self) -> (u16, u16) {
        (self.subject, self.detail)
    }

    fn parse(text: &str) -> Option<Self> {
        let (subject, detail) = text.strip_prefix("5.")?.split_once('.')?;
        Self::new(
            number(subject, 3)?.try_into().ok()?,
            number(detail, 3)?.try_into().ok()?,
        )
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "5.{}.{}", self.subject, self.detail)
    }
}

/// A decimal number of at most so many digits, without sign and without needless zeros.
fn number(text: &str, digits: usize) -> Option<u64> {
    let plain = (1..=digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let shortest = text == "0" || !text.starts_with('0');
    (plain && shortest).then(|| text.parse().ok()).flatten()
}

/// What became of a message for one recipient.
///
/// In text form `accepted`, `refused 5.1.1`, `later 300`: at most 17 octets, so that a receipt for the largest token 0
/// keeps within its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Durable, and will be delivered.
    Accepted,
    /// Never, by that code.
    Refused(StatusCode),
    /// Not now; try again after so many seconds, at most [`limits::LONGEST_WAIT`].
    Later(u32),
}

impl Outcome {
    /// The longest wait that is asked for, in seconds: [`limits::LONGEST_WAIT`].
    pub const LONGEST_WAIT: u32 = limits::LONGEST_WAIT;

    /// What a fault comes to: later when it is temporary, refused when it is not.
    #[must_use]
    pub fn of(fault: Fault) -> Self {
        match StatusCode::of(fault) {
            Some(code) => Self::Refused(code),
            None => Self::later(fault.retry_after().unwrap_or_default()),
        }
    }

    /// Not now. The wait is between a second and a day.
    #[must_use]
    pub fn later(wait: Duration) -> Self {
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(Self::LONGEST_WAIT);
        Self::Later(seconds.clamp(1, Self::LONGEST_WAIT))
    }

    /// Reads the text form; none for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "accepted" {
            return Some(Self::Accepted);
        }
        if let Some(code) = text.strip_prefix("refused ") {
            return StatusCode::parse(code).map(Self::Refused);
        }
        let seconds = u32::try_from(number(text.strip_prefix("later ")?, 5)?).ok()?;
        (1..=Self::LONGEST_WAIT)
            .contains(&seconds)
            .then_some(Self::Later(seconds))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Accepted => f.write_str("accepted"),
            Outcome::Refused(code) => write!(f, "refused {code}"),
            Outcome::Later(seconds) => write!(f, "later {seconds}"),
        }
    }
}

/// What a broker answers to one message.
///
/// In JSON `{"receipt":"<token 3>"}`, `{"refused":401}`, `{"later":60}`. A request of one message is answered with
/// its receipt or with the HTTP status alone; a batch with a list of these, one for each message, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The sender is verified: a receipt with a result for each recipient.
    Receipt(String),
    /// The token was not believed, or the message cannot be taken: the HTTP status that it would have had alone.
    Refused(u16),
    /// Nothing could be decided, or the token is not believed now; try again after so many seconds, from 1 to [`limits::LONGEST_WAIT`].
    Later(u64),
}

impl Answer {
    /// What a fault that concerns the whole message comes to.
    #[must_use]
    pub fn of(fault: Fault) -> Self {
        match fault.retry_after() {
            Some(wait) if fault.is_temporary() => {
                Self::Later(wait.as_secs().clamp(1, limits::LONGEST_WAIT.into()))
            }
            _ => Self::Refused(fault.http()),
        }
    }

    /// Writes the answer to one message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers can always be written")
    }

    /// Reads the answer to one message, of at most [`limits::ANSWER`] octets.
    ///
    /// # Errors
    /// [`ChannelError::Answer`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ChannelError> {
        if bytes.len() > limits::ANSWER {
            return Err(ChannelError::Answer);
        }
        let answer: Self = json::read(bytes).map_err(|_| ChannelError::Answer)?;
        answer.check()
    }

    /// Writes the answers to a batch.
    #[must_use]
    pub fn list_to_bytes(answers: &[Answer]) -> Vec<u8> {
        serde_json::to_vec(answers).expect("texts and numbers can always be written")
    }

    /// Reads the answers to a batch of `count` messages, of at most [`limits::ANSWER`] octets each.
    ///
    /// # Errors
    /// [`ChannelError::Answer`], also for another number of answers.
    pub fn parse_list(bytes: &[u8], count: usize) -> Result<Vec<Answer>, ChannelError> {
        if bytes.len() > limits::ANSWER.saturating_mul(count.saturating_add(1)) {
            return Err(ChannelError::Answer);
        }
        let answers: Vec<json::Object<Answer>> =
            serde_json::from_slice(bytes).map_err(|_| ChannelError::Answer)?;
        if answers.len() != count {
            return Err(ChannelError::Answer);
        }
        answers
            .into_iter()
            .map(|json::Object(answer)| answer.check())
            .collect()
    }

    fn check(self) -> Result<Self, ChannelError> {
        let fits = match &self {
            Answer::Receipt(token) => token.len() <= limits::TOKEN_CHAIN,
            Answer::Refused(status) => (400..600).contains(status),
            Answer::Later(seconds) => (1..=limits::LONGEST_WAIT.into()).contains(seconds),
        };
        if fits { Ok(self) } else { Err(ChannelError::Answer) }
    }
}

/// The address in whose name a broker sends delivery reports: `postmaster@<domain>`. A message from it is never
/// answered with a report.
///
/// # Panics
/// Never: every domain has this address.
#[must_use]
pub fn reporter(domain: &Domain) -> Address {
    Address::parse(&format!("postmaster@{domain}")).expect("postmaster is a local part")
}

/// Issues a token 0: the broker of the sender's domain gives `message` to the broker of the recipients' domain. It
/// lives as long as its kind may.
///
/// # Errors
/// [`IssueError`]; [`IssueError::TooLarge`] asks for fewer recipients at a time.
pub fn token(
    key: &NodeKey,
    sender: &Address,
    to: &Domain,
    recipients: Vec<Address>,
    message: Digest,
    stamp: Stamp,
) -> Result<String, IssueError> {
    let claims = Claims {
        issuer: ClientId::broker(sender.domain()),
        audience: to.clone(),
        issued: stamp.now,
        id: stamp.id,
        digest: message,
        statement: Statement::Channel {
            sender: sender.clone(),
            recipients,
            expires: stamp.now.plus(limits::SHORT_TOKEN_LIFE),
        },
    };
    grip::issue(key, &claims)
}

/// Issues the receipt for a verified token 0, with one outcome for each of its recipients, in their order. The issuer
/// is the broker of the domain that the token 0 was for.
///
/// # Errors
/// [`IssueError`] when the number of outcomes is not that of the recipients, or the chain holds no token 0.
pub fn receipt(
    key: &NodeKey,
    answered: &VerifiedChain,
    results: Vec<Outcome>,
    stamp: Stamp,
) -> Result<String, IssueError> {
    let claims = answered.token().claims();
    if results.len() != claims.recipients().len() {
        return Err(IssueError::Claims(grip::Syntax::Results));
    }
    let receipt = Claims {
        issuer: ClientId::broker(&claims.audience),
        audience: claims.issuer.service_domain().clone(),
        issued: stamp.now,
        id: stamp.id,
        digest: claims.digest,
        statement: Statement::ChannelReceipt {
            channel: answered.token().text().to_owned(),
            results,
        },
    };
    grip::issue(key, &receipt)
}

/// The results of a verified receipt, with the recipient of each. Empty for a chain of another kind.
#[must_use]
pub fn results(receipt: &VerifiedChain) -> Vec<(Address, Outcome)> {
    let (Statement::ChannelReceipt { results, .. }, Some(nested)) =
        (&receipt.token().claims().statement, receipt.nested())
    else {
        return Vec::new();
    };
    let recipients = nested.claims().recipients().iter().cloned();
    recipients.zip(results.iter().copied()).collect()
}

#[cfg(test)]
mod tests;
