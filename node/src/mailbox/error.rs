//! Why the Resource Mailbox did not do what it was asked.

use std::time::Duration;

use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::grip::IssueError;
use cargomail_protocol::notification::NotificationError;
use cargomail_protocol::share::ShareError;
use cargomail_protocol::timestamp::Timestamp;
use cid::Cid;
use uuid::Uuid;

use crate::grip::VerifyError;
use crate::store::{CommitError, StoreError};

/// How long to wait when others changed the same records again and again.
const BUSY: Duration = Duration::from_secs(1);
/// How long to wait when too much is on its way to one user.
const CROWDED: Duration = Duration::from_secs(300);

/// Why the Resource Mailbox did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others changed the same records again and again.
    #[error("too much happens at once: try again")]
    Busy,
    /// The request carries no token, or its caller proved no key.
    #[error("no token")]
    NoToken,
    /// The token is not believed.
    #[error(transparent)]
    Token(#[from] VerifyError),
    /// A token of our own could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The notification is refused.
    #[error(transparent)]
    Notification(#[from] NotificationError),
    /// The share is refused.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The body is of another media type.
    #[error("the body must be {0}")]
    MediaType(&'static str),
    /// The body cannot be read.
    #[error("the body cannot be read: {0}")]
    Body(String),
    /// The body is larger than it may be.
    #[error("more than {0} octets")]
    TooLarge(u64),
    /// There is no such thing, or it is not the caller's.
    #[error("there is no such resource, share or job")]
    Missing,
    /// A share names something that its sender does not hold, or with another size.
    #[error("{0} is not a resource of yours of that size: post it first")]
    NotHeld(String),
    /// Somebody deletes what they share still.
    #[error("{cid} is shared until {} by the share {share}: take that back first, or delete with force, which does", .until.rfc3339())]
    Shared {
        /// The resource.
        cid: Cid,
        /// A share that has not ended.
        share: Uuid,
        /// When it does.
        until: Timestamp,
    },
    /// The account may not hold so much.
    #[error("the quota of {0} octets does not allow it")]
    OverQuota(u64),
    /// Nobody of that address has an account here.
    #[error("no such user here")]
    NoSuchUser,
    /// The share has ended.
    #[error("the share has expired")]
    Expired,
    /// Too much is on its way to one user.
    #[error("too much is on its way to this user")]
    Crowded,
    /// An issuer fetches too often.
    #[error("too many requests")]
    TooOften(Duration),
    /// A recipient was allowed to fetch what a share names by so many notifications that no more is kept for them.
    #[error("too many notifications of one share")]
    Granted,
    /// The resources are not here, not shared with this recipient, no longer shared, or of another origin. Which of these,
    /// nobody is told.
    #[error("not shared")]
    NotShared,
}

impl Faulty for MailboxError {
    fn fault(&self) -> Fault {
        match self {
            MailboxError::Store(error) => error.fault(),
            MailboxError::Busy => Fault::TryLater(BUSY),
            MailboxError::NoToken => Fault::Unauthenticated,
            MailboxError::Token(error) => error.fault(),
            MailboxError::Issue(error) => error.fault(),
            MailboxError::Notification(error) => error.fault(),
            MailboxError::Share(error) => error.fault(),
            MailboxError::MediaType(_) | MailboxError::Body(_) => Fault::Malformed,
            MailboxError::TooLarge(_) => Fault::TooLarge,
            MailboxError::Missing | MailboxError::NotHeld(_) => Fault::NotFound,
            MailboxError::OverQuota(_) => Fault::OverQuota,
            MailboxError::NoSuchUser => Fault::NoSuchUser,
            MailboxError::Expired
            | MailboxError::NotShared
            | MailboxError::Granted
            | MailboxError::Shared { .. } => Fault::Refused,
            MailboxError::Crowded => Fault::TryLater(CROWDED),
            MailboxError::TooOften(wait) => Fault::TryLater(*wait),
        }
    }
}

impl From<CommitError> for MailboxError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(_) => MailboxError::Busy,
            CommitError::Store(error) => MailboxError::Store(error),
        }
    }
}
