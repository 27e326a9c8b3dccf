//! From a name to a connected stream: resolve once, check every address, connect to a checked address and to no other.

use std::net::SocketAddr;
use std::time::Duration;

use cargomail_protocol::fault::{Fault, Faulty};

use super::{AddressPolicy, ByteStream, Forbidden, Network};
use crate::dns::{Dns, DnsError};

/// How many addresses of one name are tried.
const ADDRESSES: usize = 8;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name did not resolve.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The policy allows none of the name's addresses.
    #[error("{host}: {forbidden}")]
    Forbidden {
        /// The name, or the address itself.
        host: String,
        /// The first of the addresses, and why not.
        forbidden: Forbidden,
    },
    /// Nobody took the connection.
    #[error("{host}:{port} could not be reached: {why}")]
    Unreachable {
        /// The name, or the address itself.
        host: String,
        /// The port.
        port: u16,
        /// What the last address that was tried said.
        why: std::io::Error,
    },
}

impl Faulty for ConnectError {
    fn fault(&self) -> Fault {
        match self {
            ConnectError::Dns(error) => error.fault(),
            ConnectError::Forbidden { forbidden, .. } => forbidden.fault(),
            ConnectError::Unreachable { .. } => Fault::TryLater(Duration::from_secs(60)),
        }
    }
}

/// Connects to a host by name; each address gets `timeout`, and eight at most are tried.
///
/// # Errors
/// [`ConnectError`].
pub async fn reach(
    dns: &dyn Dns,
    network: &dyn Network,
    policy: &AddressPolicy,
    host: &str,
    port: u16,
    timeout: Duration,
) -> Result<(Box<dyn ByteStream>, SocketAddr), ConnectError> {
    let addresses = dns.addresses(host).await?.records;
    let mut forbidden = None;
    let mut why = None;
    for address in addresses.into_iter().take(ADDRESSES) {
        let checked = match policy.check(address) {
            Ok(checked) => SocketAddr::new(checked, port),
            Err(error) => {
                tracing::debug!(host, %error, "address skipped");
                forbidden.get_or_insert(error);
                continue;
            }
        };
        match tokio::time::timeout(timeout, network.connect(checked)).await {
            Ok(Ok(stream)) => return Ok((stream, checked)),
            Ok(Err(error)) => why = Some(error),
            Err(_) => why = Some(std::io::ErrorKind::TimedOut.into()),
        }
    }
    let host = host.to_owned();
    Err(match (why, forbidden) {
        (None, Some(forbidden)) => ConnectError::Forbidden { host, forbidden },
        (why, _) => {
            let why = why.unwrap_or_else(|| std::io::ErrorKind::AddrNotAvailable.into());
            ConnectError::Unreachable { host, port, why }
        }
    })
}
