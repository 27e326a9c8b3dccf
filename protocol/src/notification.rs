//! The notification: what a Cargo Broker tells the destination's Resource Retrieval Agent, and what the agent answers.
//!
//! JSON (RFC 8259). A token speaks of the exact octets, so the writer's octets are kept and passed on, never written
//! anew; `spec/notification.md` is the specification. Not here: whether the broker may say so (see [`crate::grip`]).
//!
//! What always holds: a [`Notification`] names 1 to [`limits::RESOURCES`] different resources, and has one form: only what
//! is written by [`Notification::to_bytes`] is read, so that nobody makes many of one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::address::{Address, ClientId, Domain, Locator};
use crate::fault::{Fault, Faulty};
use crate::grip::{self, Claims, Digest, IssueError, NodeKey, Stamp, Statement};
use crate::placeholder::Category;
use crate::share::SharedResource;
use crate::timestamp::Timestamp;
use crate::{json, limits};

/// The media type of a notification.
pub const MEDIA_TYPE: &str = "application/json";
/// Where notifications are taken.
pub const PATH: &str = "/grip/v1/notifications";
/// Longest Message-ID: what fits into one line of a header (RFC 5322 §2.1.1).
const MESSAGE_ID: usize = 996;

/// Why a notification was refused. Always the fault of whoever wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// Above [`limits::NOTIFICATION`] octets.
    #[error("larger than {} octets", limits::NOTIFICATION)]
    TooLarge,
    /// Not an object of the members of a notification, each once and in its one form.
    #[error("malformed, at octet {0}")]
    Json(usize),
    /// A name is not in A-label form, lower case, without trailing dot; or the category is not in lower case.
    #[error("{0} is not in canonical form")]
    Name(&'static str),
    /// `message_id` is not printable ASCII between angle brackets.
    #[error("message_id is malformed")]
    MessageId,
    /// `expires` is not RFC 3339 in UTC with whole seconds.
    #[error("expires is malformed")]
    Expires,
    /// It says what a notification says, in other octets than those of its one form.
    #[error("not in the one form of a notification")]
    Form,
    /// No resource, too many, or one twice.
    #[error("none, too many or repeated resources")]
    Resources,
    /// The notification is for another recipient than the token's subject.
    #[error("the recipient is not the token's subject")]
    ForeignRecipient,
}

impl Faulty for NotificationError {
    fn fault(&self) -> Fault {
        match self {
            NotificationError::TooLarge => Fault::TooLarge,
            NotificationError::ForeignRecipient => Fault::Refused,
            _ => Fault::Malformed,
        }
    }
}

/// Resources of one mail for one recipient, and where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Where the resources are.
    pub origin: Locator,
    /// The placeholder's Message-ID, with its angle brackets: printable ASCII, at most 996 octets.
    pub message_id: String,
    /// Who shared them.
    pub sender: Address,
    /// For whom they are.
    pub recipient: Address,
    /// What kind of correspondence it is.
    pub category: Category,
    /// When the share ends, in whole seconds.
    pub expires: Timestamp,
    /// 1 to [`limits::RESOURCES`] resources, each once.
    pub resources: Vec<SharedResource>,
}

/// The longest answer that is read, in octets: none needs more than 100.
const ANSWER: usize = 1024;

/// A notification as it is written: the order of the members is the order of writing.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    origin: String,
    message_id: String,
    sender: String,
    recipient: String,
    category: String,
    expires: String,
    #[serde(deserialize_with = "json::objects")]
    resources: Vec<SharedResource>,
}

impl Notification {
    /// Reads a notification.
    ///
    /// # Errors
    /// [`NotificationError`]: the first rule that it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotificationError> {
        if bytes.len() > limits::NOTIFICATION {
            return Err(NotificationError::TooLarge);
        }
        let wire: Wire = json::read(bytes).map_err(NotificationError::Json)?;
        let expires = Timestamp::parse_rfc3339(&wire.expires)
            .ok()
            .filter(|expires| expires.rfc3339() == wire.expires)
            .ok_or(NotificationError::Expires)?;
        let notification = Self {
            origin: name(&wire.origin, Locator::parse, "origin")?,
            sender: name(&wire.sender, Address::parse, "sender")?,
            recipient: name(&wire.recipient, Address::parse, "recipient")?,
            category: name(&wire.category, Category::parse, "category")?,
            message_id: wire.message_id,
            expires,
            resources: wire.resources,
        };
        if notification.to_bytes()? != bytes {
            return Err(NotificationError::Form);
        }
        Ok(notification)
    }

    /// Writes the notification: no blanks, members in the order of the specification. The same notification gives the
    /// same octets. A part of a second in `expires` is cut off.
    ///
    /// # Errors
    /// [`NotificationError`] when nobody would read it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, NotificationError> {
        self.check()?;
        let wire = Wire {
            origin: self.origin.to_string(),
            message_id: self.message_id.clone(),
            sender: self.sender.to_string(),
            recipient: self.recipient.to_string(),
            category: self.category.to_string(),
            expires: self.expires.rfc3339(),
            resources: self.resources.clone(),
        };
        let bytes = serde_json::to_vec(&wire).map_err(|_| NotificationError::Json(0))?;
        if bytes.len() > limits::NOTIFICATION {
            return Err(NotificationError::TooLarge);
        }
        Ok(bytes)
    }

    /// Octets of all resources together.
    #[must_use]
    pub fn total_size(&self) -> u64 {
        self.resources.iter().map(SharedResource::size).sum()
    }

    /// That the notification is for the person for whom the broker spoke in its token 1.
    ///
    /// # Errors
    /// [`NotificationError::ForeignRecipient`].
    pub fn check_recipient(&self, subject: &Address) -> Result<(), NotificationError> {
        if self.recipient == *subject {
            Ok(())
        } else {
            Err(NotificationError::ForeignRecipient)
        }
    }

    fn check(&self) -> Result<(), NotificationError> {
        if !is_message_id(&self.message_id) {
            return Err(NotificationError::MessageId);
        }
        let different: BTreeSet<_> = self.resources.iter().map(SharedResource::cid).collect();
        let counted = (1..=limits::RESOURCES).contains(&self.resources.len());
        if !counted || different.len() != self.resources.len() {
            return Err(NotificationError::Resources);
        }
        Ok(())
    }
}

/// Printable ASCII between one pair of angle brackets.
fn is_message_id(text: &str) -> bool {
    text.len() <= MESSAGE_ID
        && text
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix('>'))
            .is_some_and(|id| {
                !id.is_empty()
                    && id
                        .bytes()
                        .all(|byte| byte.is_ascii_graphic() && byte != b'<' && byte != b'>')
            })
}

fn name<T: ToString, E>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, E>,
    member: &'static str,
) -> Result<T, NotificationError> {
    parse(text)
        .ok()
        .filter(|name| name.to_string() == text)
        .ok_or(NotificationError::Name(member))
}

/// Issues a token 1: the broker of the recipient's domain notifies the agent of `destination`. `expires` is when the
/// share ends; the token lives until then, and never longer than its kind may.
///
/// # Errors
/// [`IssueError`].
pub fn token(
    key: &NodeKey,
    recipient: &Address,
    destination: &Locator,
    notification: Digest,
    expires: Timestamp,
    stamp: Stamp,
) -> Result<String, IssueError> {
    let claims = Claims {
        issuer: ClientId::broker(recipient.domain()),
        audience: destination.domain().clone(),
        issued: stamp.now,
        id: stamp.id,
        digest: notification,
        statement: Statement::Notify {
            recipient: recipient.clone(),
            expires: expires.min(stamp.now.plus(limits::NOTIFY_TOKEN_LIFE)),
        },
    };
    grip::issue(key, &claims)
}

/// Issues a token 2: the agent `_rra.<service>` fetches from `origin` what the `notify` token (token 1) speaks of. It
/// lives as long as its kind may.
///
/// # Errors
/// [`IssueError`].
pub fn fetch_token(
    key: &NodeKey,
    service: &Domain,
    origin: &Locator,
    notification: Digest,
    notify: &str,
    stamp: Stamp,
) -> Result<String, IssueError> {
    let claims = Claims {
        issuer: ClientId::agent(service),
        audience: origin.domain().clone(),
        issued: stamp.now,
        id: stamp.id,
        digest: notification,
        statement: Statement::Fetch {
            notify: notify.to_owned(),
            expires: stamp.now.plus(limits::SHORT_TOKEN_LIFE),
        },
    };
    grip::issue(key, &claims)
}

/// The 202 answer: the job is durable. `{"job":"…"}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// Names the job: 1 to 64 letters, digits, hyphens and underscores.
    pub job: String,
}

impl Taken {
    /// Reads the answer.
    ///
    /// # Errors
    /// The octet at which reading ended; 0 for a name that is no job's.
    pub fn parse(bytes: &[u8]) -> Result<Self, usize> {
        let taken: Self = json::read(bounded(bytes)?)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if (1..=64).contains(&taken.job.len()) && taken.job.bytes().all(fits) {
            Ok(taken)
        } else {
            Err(0)
        }
    }
}

/// The octets of an answer, when they are not too many.
fn bounded(bytes: &[u8]) -> Result<&[u8], usize> {
    if bytes.len() > ANSWER {
        Err(ANSWER)
    } else {
        Ok(bytes)
    }
}

/// How far a retrieval job is: the answer to `GET /grip/v1/notifications/<job>`.
///
/// `{"state":"retrieving","bytes":1048576,"of":87328426}`, `{"state":"refused","reason":"over-quota"}`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StateWire", into = "StateWire")]
pub enum JobState {
    /// Waits for its turn, or for the next try.
    Queued,
    /// Octets are arriving.
    Retrieving {
        /// Octets of resources that are here and verified.
        bytes: u64,
        /// Octets of all resources of the notification.
        of: u64,
    },
    /// Everything is here and verified. Final.
    Stored,
    /// This mailbox or its user does not want it, or the origin does not give it. Final.
    Refused {
        /// Why.
        reason: Reason,
    },
    /// The share ended before everything was here. Final.
    Expired,
    /// What came could not be used. Final.
    Failed {
        /// Why.
        reason: Reason,
    },
}

/// [`JobState`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateWire {
    state: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::present"
    )]
    bytes: Option<u64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::present"
    )]
    of: Option<u64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::present"
    )]
    reason: Option<Reason>,
}

impl From<JobState> for StateWire {
    fn from(state: JobState) -> Self {
        let (name, progress, reason) = match state {
            JobState::Queued => ("queued", None, None),
            JobState::Retrieving { bytes, of } => ("retrieving", Some((bytes, of)), None),
            JobState::Stored => ("stored", None, None),
            JobState::Refused { reason } => ("refused", None, Some(reason)),
            JobState::Expired => ("expired", None, None),
            JobState::Failed { reason } => ("failed", None, Some(reason)),
        };
        Self {
            state: name.to_owned(),
            bytes: progress.map(|(bytes, _)| bytes),
            of: progress.map(|(_, of)| of),
            reason,
        }
    }
}

impl TryFrom<StateWire> for JobState {
    type Error = BadState;
    fn try_from(wire: StateWire) -> Result<Self, BadState> {
        match (wire.state.as_str(), wire.bytes, wire.of, wire.reason) {
            ("queued", None, None, None) => Ok(JobState::Queued),
            ("retrieving", Some(bytes), Some(of), None) if bytes <= of => {
                Ok(JobState::Retrieving { bytes, of })
            }
            ("stored", None, None, None) => Ok(JobState::Stored),
            ("refused", None, None, Some(reason)) => Ok(JobState::Refused { reason }),
            ("expired", None, None, None) => Ok(JobState::Expired),
            ("failed", None, None, Some(reason)) => Ok(JobState::Failed { reason }),
            _ => Err(BadState),
        }
    }
}

/// Not a state of a job, or not with the members that belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a job's state")]
pub struct BadState;

impl JobState {
    /// Whether it will not change any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, JobState::Queued | JobState::Retrieving { .. })
    }

    /// Reads the answer.
    ///
    /// # Errors
    /// The octet at which reading ended.
    pub fn parse(bytes: &[u8]) -> Result<Self, usize> {
        json::read(bounded(bytes)?)
    }

    /// Writes the answer.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a state of names and numbers can always be written")
    }
}

/// Why a job ended without its resources: what the broker may tell the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No such user at this mailbox.
    NoSuchUser,
    /// The user's quota does not allow it.
    OverQuota,
    /// The mailbox's rules or the user's wishes.
    Policy,
    /// The origin does not give the resources to this recipient.
    OriginRefused,
    /// The origin could not be reached.
    OriginUnreachable,
    /// The origin sent something that does not fit its CID or its announced size.
    Unverifiable,
    /// This mailbox's own machine failed.
    Local,
}

#[cfg(test)]
mod tests;
