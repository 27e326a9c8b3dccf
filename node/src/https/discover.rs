//! Where a domain's or a Resource Mailbox's server is, and which keys are pinned for it (`spec/grip.md`).

use cargomail_protocol::address::Domain;
use cargomail_protocol::grip::Bindings;

use super::Server;
use crate::dns::{Dns, DnsError};
use crate::publish::SERVICE;

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
    let records = match dns.srv(&format!("{SERVICE}.{name}")).await {
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
        Ok(answer) => Ok(bound(&answer.records)),
        Err(DnsError::NoRecord { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The hashes that these texts bind: a pin is read like any other record of a key.
fn bound(texts: &[String]) -> Vec<[u8; 32]> {
    let bindings = Bindings::read(texts);
    bindings.hashes.iter().map(|hash| *hash.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d01_only_a_record_of_the_grammar_pins_a_key() {
        let hex = "ab".repeat(32);
        for good in [
            format!("v=grip1; h=sha256; p={hex}"),
            format!("v=grip1;h=sha256;f={hex};x=later;"),
            format!(" v = grip1 ; h = sha256 ; p = {hex} "),
            format!("v=grip1; h=sha256; p={}", hex.to_uppercase()),
        ] {
            assert_eq!(bound(std::slice::from_ref(&good)), [[0xab; 32]], "{good}");
        }
        for bad in [
            format!("v=grip2; h=sha256; p={hex}"),
            format!("v=grip1; h=md5; p={hex}"),
            format!("v=grip1; p={hex}"),
            format!("h=sha256; p={hex}; v=grip1"),
            format!("v=grip1; h=sha256; p={hex}; p={hex}"),
            format!("v=grip1; h=sha256; p={hex}ab"),
            format!("v=grip1; h=sha256; junk; p={hex}"),
            format!("v=grip1; h=sha256; p={hex}; n={}", "x".repeat(2000)),
            "v=grip1; h=sha256; f=".to_owned(),
            "v=spf1 -all".to_owned(),
            String::new(),
        ] {
            assert!(bound(std::slice::from_ref(&bad)).is_empty(), "{bad}");
        }
    }
}
