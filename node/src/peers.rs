//! The peer port: authenticated byte streams between nodes, in reality libp2p over QUIC or TCP with TLS.
//!
//! A peer is a key and nothing else: what the key may do is the GRIP verification's business.

mod admission;
mod community;
mod crowd;
mod dialable;
mod host;
mod introducer;
mod members;
mod muxer;
mod outward;
mod running;
mod streams;
mod swarm;

use async_trait::async_trait;
use cargomail_protocol::fault::{Fault, Faulty};

use crate::dns::{Dns, DnsError};
use crate::network::ByteStream;
pub use community::Joining;
pub use host::{Host, HostOptions};
pub use introducer::{BadIntroducer, Introducer, Relaying};

/// A stream to or from a peer whose key the channel proved.
pub struct PeerStream {
    /// The peer's Ed25519 public key.
    pub key: [u8; 32],
    /// Number of the connection, for the log.
    pub connection: u64,
    /// The bytes.
    pub io: Box<dyn ByteStream>,
}

/// Where a peer is: the values of `dnsaddr=` at `_dnsaddr.<locator>`, each ending in `/p2p/<peer id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress(pub String);

impl PeerAddress {
    /// The Ed25519 key of the peer that the address names; none when it names none.
    #[must_use]
    pub fn key(&self) -> Option<[u8; 32]> {
        let address: libp2p::Multiaddr = self.0.parse().ok()?;
        match address.iter().last()? {
            libp2p::multiaddr::Protocol::P2p(peer) => key_of(&peer),
            _ => None,
        }
    }
}

/// Why no stream came about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No address could be read, or the policy allows none of them.
    #[error("no usable address among {0:?}")]
    NoAddress(Vec<String>),
    /// Nobody answered.
    #[error("the peer could not be reached: {0}")]
    Unreachable(String),
    /// The peer does not speak the exchange protocol.
    #[error("the peer does not speak the protocol")]
    Unsupported,
    /// This node cannot listen where it should.
    #[error("cannot listen at {at}: {why}")]
    Listen {
        /// The address.
        at: String,
        /// What the system said.
        why: String,
    },
    /// This node is stopping.
    #[error("this node is stopping")]
    Closed,
}

impl Faulty for PeerError {
    fn fault(&self) -> Fault {
        match self {
            PeerError::NoAddress(_) => Fault::Refused,
            PeerError::Listen { .. } => Fault::Local,
            _ => Fault::TryLater(std::time::Duration::from_secs(5)),
        }
    }
}

/// Opens and accepts exchange streams.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// Opens a stream to the peer at one of these addresses; all name the same peer.
    async fn open(&self, at: &[PeerAddress]) -> Result<PeerStream, PeerError>;
    /// The next stream that a peer opened; none when the node stops.
    async fn accept(&self) -> Option<PeerStream>;
    /// Where this node listens, each ending in `/p2p/<peer id>`.
    fn addresses(&self) -> Vec<PeerAddress>;
}

/// Where the peer of a Resource Mailbox is: the `dnsaddr=` values of TXT at `_dnsaddr.<locator>`, for [`Peers::open`].
///
/// # Errors
/// [`DnsError`].
pub async fn lookup(dns: &dyn Dns, locator: &str) -> Result<Vec<PeerAddress>, DnsError> {
    let answer = dns.txt(&format!("_dnsaddr.{locator}")).await?;
    let values = answer
        .records
        .iter()
        .filter_map(|text| text.trim().strip_prefix("dnsaddr="));
    Ok(values.map(|value| PeerAddress(value.trim().to_owned())).collect())
}

/// The Ed25519 key inside a peer's name; none when it is a name of another kind.
fn key_of(peer: &libp2p::PeerId) -> Option<[u8; 32]> {
    let name = peer.as_ref();
    // Code 0 is the identity "hash": the name is the key itself.
    if name.code() != 0 {
        return None;
    }
    let key = libp2p::identity::PublicKey::try_decode_protobuf(name.digest()).ok()?;
    Some(key.try_into_ed25519().ok()?.to_bytes())
}
