//! The agent of a Resource Mailbox, as the Cargo Broker in the same process asks it: the requests of `spec/notification.md`
//! without a network between.
//!
//! What always holds: the agent makes the same checks as on its face for other nodes, of the same octets and the same token, and a
//! broker is told no more than a stranger is there.

use async_trait::async_trait;
use bytes::Bytes;
use cargomail_protocol::address::Locator;
use cargomail_protocol::fault::Fault;
use cargomail_protocol::grip::Proved;
use cargomail_protocol::notification::{JobState, Taken};

/// An agent in this process.
#[async_trait]
pub trait Agent: Send + Sync {
    /// The Resource Mailbox whose agent it is.
    fn locator(&self) -> &Locator;

    /// Takes a notification with its token 1; the job is durable on return.
    ///
    /// # Errors
    /// The [`Fault`] that an answer by HTTPS would show.
    async fn notify(&self, broker: &Proved, token: &str, notification: Bytes) -> Result<Taken, Fault>;

    /// How far a job of this broker's is.
    ///
    /// # Errors
    /// The [`Fault`] that an answer by HTTPS would show.
    async fn progress(&self, broker: &Proved, job: &str) -> Result<JobState, Fault>;
}
