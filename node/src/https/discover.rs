//! Where a domain's or a Resource Mailbox's server is, and which keys are pinned for it (DESIGN §5).

use cargomail_protocol::address::Domain;
use cargomail_protocol::limits;

use super::Server;
use crate::dns::{Dns, DnsError};

/// Servers of one name that are tried.
const SERVERS: usize = 8;

/// What the DNS says of a name's server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The servers, in the order in which to try them.
    Servers(Vec<Server>),
    /// The name has none (no record, or the target `.`): no web channel, no notifications.
    None,
}

/// The servers that take notifications and the web channel for a name: SRV at `_grip-notify._tcp.<name>`. Each has
/// to prove itself for the name, wherever it is.
///
/// # Errors
/// Those of [`Dns`], other than that there is no record.
pub async fn discover(dns: &dyn Dns, name: &Domain) -> Result<Found, DnsError> {
    let records = match dns.srv(&format!("_grip-notify._tcp.{name}")).await {
        Ok(answer) => answer.records,
        Err(DnsError::NoRecord { .. }) => return Ok(Found::None),
        Err(error) => return Err(error),
    };
    let servers: Vec<Server> = records
        .iter()
        .filter(|srv| !srv.host.is_empty() && srv.port != 0)
        .take(SERVERS)
        .map(|srv| Server::named(name, &srv.host, srv.port))
        .collect();
    Ok(if servers.is_empty() {
        Found::None
    } else {
        Found::Servers(servers)
    })
}

/// The key hashes pinned at `_grip.<name>`; none when no pin is published.
///
/// # Errors
/// Those of [`Dns`], other than that there is no record.
pub async fn pins(dns: &dyn Dns, name: &str) -> Result<Vec<[u8; 32]>, DnsError> {
    let name = format!("_grip.{name}");
    match dns.txt(&name).await {
        Ok(answer) => Ok(answer
            .records
            .iter()
            .take(limits::TXT_RECORDS)
            .filter_map(|text| pin(text))
            .collect()),
        Err(DnsError::NoRecord { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The hash in one `v=grip1` record.
fn pin(text: &str) -> Option<[u8; 32]> {
    if text.len() > limits::TXT_RECORD {
        return None;
    }
    let tag = |wanted: &str| {
        text.split(';')
            .filter_map(|tag| tag.split_once('='))
            .find(|(name, _)| name.trim() == wanted)
    };
    let value = |wanted: &str| tag(wanted).map(|(_, value)| value.trim());
    if value("v") != Some("grip1") || value("h") != Some("sha256") {
        return None;
    }
    let hex = value("p").or_else(|| value("f"))?;
    data_encoding::HEXLOWER
        .decode(hex.as_bytes())
        .ok()?
        .try_into()
        .ok()
}
