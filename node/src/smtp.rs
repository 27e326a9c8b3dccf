//! SMTP, both sides: the server that takes messages, and the client that gives them to the next one (RFC 5321, RFC 2033).
//!
//! Not here: what becomes of a message, which whoever implements [`Receiver`] decides; and who may be believed, except
//! that [`Authenticator`] says what SPF, DKIM and DMARC say. What always holds: only CR LF is a line's end, only
//! CR LF . CR LF ends a message (row S01), and no 250 is said before the receiver has made the message durable.

mod authenticate;
mod client;
mod delivery;
mod dialogue;
mod dkim;
mod reply;
mod room;
mod server;
mod tls;

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::fault::Fault;

pub use authenticate::{Authentication, Authenticator};
pub use client::{Client, ClientError, ClientOptions};
pub use delivery::{Delivery, Said, Unclean};
pub use dkim::{Dkim, DkimError};
pub use reply::Broken;
pub use server::{ServerOptions, SmtpServing, serve};
pub use tls::server_tls;

/// A message as it came, with its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Where it comes from.
    pub client: SocketAddr,
    /// What the client called itself.
    pub helo: String,
    /// Whether TLS protected it.
    pub tls: bool,
    /// The reverse path; none for `<>`.
    pub sender: Option<Address>,
    /// The forward paths that [`Receiver::recipient`] allowed, each once.
    pub recipients: Vec<Address>,
    /// The message: lines end with CR LF, dots are unstuffed.
    pub message: Bytes,
}

/// Who decides about the messages that come.
#[async_trait]
pub trait Receiver: Send + Sync + 'static {
    /// The domain whose mail is taken: that of the postmaster whom a client names without one.
    fn domain(&self) -> Domain;
    /// Whether mail for this recipient is taken here at all; asked at RCPT.
    ///
    /// # Errors
    /// What the client is told by [`Fault::smtp`].
    async fn recipient(
        &self,
        client: SocketAddr,
        sender: Option<&Address>,
        recipient: &Address,
    ) -> Result<(), Fault>;
    /// Takes a message: durable on return.
    ///
    /// # Errors
    /// What the client is told by [`Fault::smtp`].
    async fn message(&self, mail: Mail) -> Result<(), Fault>;
}
