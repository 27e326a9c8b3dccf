//! Where a domain's or a Resource Mailbox's server is, and which keys are pinned for it (DESIGN §5).
#![allow(clippy::todo, unused_variables, dead_code)]

use cargomail_protocol::address::Domain;

use super::Server;
use crate::dns::{Dns, DnsError};

/// What the DNS says of a name's server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The servers, in the order in which to try them.
    Servers(Vec<Server>),
    /// The name has none (no record, or the target `.`): no web channel, no notifications.
    None,
}

/// The servers that take notifications and the web channel for a name: SRV at `_grip-notify._tcp.<name>`.
///
/// # Errors
/// [`DnsError::Unavailable`] only.
pub async fn discover(dns: &dyn Dns, name: &Domain) -> Result<Found, DnsError> {
    todo!()
}

/// The key hashes pinned at `_grip.<name>`; none when no pin is published.
///
/// # Errors
/// [`DnsError::Unavailable`] only.
pub async fn pins(dns: &dyn Dns, name: &str) -> Result<Vec<[u8; 32]>, DnsError> {
    todo!()
}
