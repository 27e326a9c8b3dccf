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

use std::fmt;

use async_trait::async_trait;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::grip::PublicKey;

use crate::dns::{Dns, DnsError};
use crate::network::ByteStream;
pub use community::Joining;
pub use host::{Host, HostOptions, StreamBounds};
pub use introducer::{BadIntroducer, Introducer, Relaying};

/// What is spoken on a stream; both sides agree on it when the stream is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spoken {
    /// Blocks and receipts (`spec/exchange.md`).
    Exchange,
    /// The HTTP requests of the web channel and of notifications (`spec/grip.md` §4).
    Grip,
}

impl AsRef<str> for Spoken {
    /// The protocol's name.
    fn as_ref(&self) -> &str {
        match self {
            Spoken::Exchange => "/cargomail/exchange/1.0.0",
            Spoken::Grip => "/cargomail/grip/1.0.0",
        }
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_ref())
    }
}

/// A stream to or from a peer whose key the channel proved.
pub struct PeerStream {
    /// The peer's Ed25519 public key.
    pub key: [u8; 32],
    /// Number of the connection, for the log.
    pub connection: u64,
    /// The bytes.
    pub io: Box<dyn ByteStream>,
}

/// Where a peer is: the values of `dnsaddr=` at `_dnsaddr.<name>`, each ending in `/p2p/<peer id>`.
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
    /// The peer does not speak what was asked for.
    #[error("the peer does not speak {0}")]
    Unsupported(Spoken),
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

/// Opens and accepts streams.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// Opens a stream to the peer at one of these addresses; all name the same peer.
    async fn open(&self, spoken: Spoken, at: &[PeerAddress]) -> Result<PeerStream, PeerError>;
    /// The next stream that a peer opened to speak this; none when the node stops.
    async fn accept(&self, spoken: Spoken) -> Option<PeerStream>;
    /// Where this node listens, each ending in `/p2p/<peer id>`.
    fn addresses(&self) -> Vec<PeerAddress>;
}

/// Where the peer of a name is, a locator's or a broker's domain: the `dnsaddr=` values of TXT at `_dnsaddr.<name>`.
///
/// # Errors
/// [`DnsError`].
pub async fn lookup(dns: &dyn Dns, name: &str) -> Result<Vec<PeerAddress>, DnsError> {
    let answer = dns.txt(&format!("_dnsaddr.{name}")).await?;
    let values = answer
        .records
        .iter()
        .filter_map(|text| text.trim().strip_prefix("dnsaddr="));
    Ok(values.map(|value| PeerAddress(value.trim().to_owned())).collect())
}

/// Why nothing is said to the peers of a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReachError {
    /// None of them has a key that is pinned for the name.
    #[error("{0}: no peer address with a key that is pinned")]
    NotPinned(String),
    /// No stream came about.
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// A stream to the peer of a name at one of these addresses, whose key is one of those that are pinned for the name: nothing is dialled
/// for another.
///
/// # Errors
/// [`ReachError`].
pub async fn reach(
    peers: &dyn Peers,
    spoken: Spoken,
    name: &str,
    mut at: Vec<PeerAddress>,
    pins: &[[u8; 32]],
) -> Result<PeerStream, ReachError> {
    let pinned =
        |key: [u8; 32]| PublicKey::ed25519(key).is_ok_and(|key| pins.contains(key.hash().as_bytes()));
    at.retain(|address| address.key().is_some_and(pinned));
    if at.is_empty() {
        return Err(ReachError::NotPinned(name.to_owned()));
    }
    let stream = peers.open(spoken, &at).await?;
    match pinned(stream.key) {
        true => Ok(stream),
        false => Err(ReachError::NotPinned(name.to_owned())),
    }
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
