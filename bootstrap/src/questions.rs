//! libp2p's Kademlia, kept from dialling whatever it is told.
//!
//! While a question is under way it dials peers of which it has heard in answers, at every address that these name, and anybody may
//! answer. Here a dial has so many addresses as the table keeps of a peer, and direct ones only.

use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use crate::network::is_direct;
use crate::table::{ADDRESSES, Kademlia};

/// The table with its questions.
pub(crate) struct Questions(pub(crate) Kademlia);

impl Deref for Questions {
    type Target = Kademlia;

    fn deref(&self) -> &Kademlia {
        &self.0
    }
}

impl DerefMut for Questions {
    fn deref_mut(&mut self) -> &mut Kademlia {
        &mut self.0
    }
}

/// What of the addresses that were heard of is dialled.
fn dialled(mut addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    addresses.retain(is_direct);
    addresses.truncate(ADDRESSES);
    addresses
}

impl NetworkBehaviour for Questions {
    type ConnectionHandler = <Kademlia as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = <Kademlia as NetworkBehaviour>::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.0.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.0
            .handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let heard = self
            .0
            .handle_pending_outbound_connection(id, peer, addresses, role);
        heard.map(dialled)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.0
            .handle_established_outbound_connection(id, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.0.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.0.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.0.poll(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn of_what_was_heard_so_many_direct_addresses_are_dialled() {
        let at = |text: String| text.parse::<Multiaddr>().unwrap();
        let relay = PeerId::random();
        let mut heard: Vec<Multiaddr> = (0..100).map(|n| at(format!("/ip4/9.0.0.{n}/tcp/1"))).collect();
        heard.insert(0, at(format!("/ip4/9.0.1.1/tcp/1/p2p/{relay}/p2p-circuit")));
        heard.insert(0, at("/dns4/bar.test/tcp/1".to_owned()));
        let dialled = dialled(heard.clone());
        assert_eq!(dialled, heard[2..2 + ADDRESSES]);
    }
}
