//! Whom a node asks for the other nodes of its community: introducers, by their address or by a name in the DNS.

use std::fmt;
use std::str::FromStr;

use cargomail_protocol::address::Domain;
use cargomail_protocol::fault::{Fault, Faulty};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use serde::{Deserialize, Serialize};

use super::dialable::{Membership, dialable};
use super::{PeerAddress, PeerError};
use crate::network::AddressPolicy;

/// An introducer, or several at one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Introducer {
    /// At this address, which ends in `/p2p/<peer id>`.
    At(PeerAddress),
    /// At the addresses in the `dnsaddr=` values of TXT at `_dnsaddr.<name>`.
    Named(Domain),
}

/// The text names no introducer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither the address of an introducer nor a name in the DNS")]
pub struct BadIntroducer(pub String);

impl Faulty for BadIntroducer {
    fn fault(&self) -> Fault {
        Fault::Local
    }
}

impl Introducer {
    /// Whether this node may dial it; a name's addresses are judged when they are known.
    ///
    /// # Errors
    /// [`PeerError::NoAddress`] says why not.
    pub fn check(&self, policy: &AddressPolicy) -> Result<(), PeerError> {
        match self {
            Introducer::At(address) => {
                dialable(std::slice::from_ref(address), policy, Membership::None).map(|_| ())
            }
            Introducer::Named(_) => Ok(()),
        }
    }

    /// Where a peer of this name is reached over it, when it relays: `<introducer>/p2p-circuit/p2p/<peer id>`. None for an
    /// introducer whose address only the DNS knows.
    #[must_use]
    pub fn relayed(&self, peer: libp2p::PeerId) -> Option<PeerAddress> {
        match self {
            Introducer::At(PeerAddress(relay)) => {
                Some(PeerAddress(format!("{relay}/p2p-circuit/p2p/{peer}")))
            }
            Introducer::Named(_) => None,
        }
    }
}

impl FromStr for Introducer {
    type Err = BadIntroducer;

    fn from_str(text: &str) -> Result<Self, BadIntroducer> {
        let refuse = || BadIntroducer(text.chars().take(128).collect());
        if !text.starts_with('/') {
            return Domain::parse(text).map(Introducer::Named).map_err(|_| refuse());
        }
        let address: Multiaddr = text.parse().map_err(|_| refuse())?;
        match address.iter().last() {
            Some(Protocol::P2p(_)) if address.iter().count() > 1 => {
                Ok(Introducer::At(PeerAddress(address.to_string())))
            }
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Introducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Introducer::At(PeerAddress(address)) => f.write_str(address),
            Introducer::Named(name) => write!(f, "{name}"),
        }
    }
}

impl TryFrom<String> for Introducer {
    type Error = BadIntroducer;
    fn try_from(text: String) -> Result<Self, BadIntroducer> {
        text.parse()
    }
}

/// When a node asks the introducers of its community to relay to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relaying {
    /// While they say that nobody can dial it.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
