//! The real peers: libp2p.
#![allow(clippy::todo, unused_variables, dead_code)]

use std::net::SocketAddr;

use async_trait::async_trait;

use super::{PeerAddress, PeerError, PeerStream, Peers};
use crate::identity::Identity;
use crate::network::AddressPolicy;

/// How a node takes part in the peer network.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// Where QUIC listens (UDP); port 0 lets the system choose.
    pub quic: Option<SocketAddr>,
    /// Where TCP with TLS listens.
    pub tcp: Option<SocketAddr>,
    /// Multiaddrs to announce instead of those listened at, without `/p2p/…`: behind a NAT or a name.
    pub announce: Vec<String>,
    /// Which addresses are dialled.
    pub policy: AddressPolicy,
}

/// This node among its peers. Cheap to clone; stops when the last clone is dropped or [`Host::stop`] is called.
#[derive(Debug, Clone)]
pub struct Host {}

impl Host {
    /// Starts listening and returns once every address is known.
    ///
    /// # Errors
    /// [`PeerError::Listen`] when an address cannot be listened at.
    pub async fn start(identity: &Identity, options: HostOptions) -> Result<Self, PeerError> {
        todo!()
    }

    /// Closes every connection; `accept` gives none from then on.
    pub async fn stop(&self) {
        todo!()
    }
}

#[async_trait]
impl Peers for Host {
    async fn open(&self, at: &[PeerAddress]) -> Result<PeerStream, PeerError> {
        todo!()
    }
    async fn accept(&self) -> Option<PeerStream> {
        todo!()
    }
    fn addresses(&self) -> Vec<PeerAddress> {
        todo!()
    }
}
