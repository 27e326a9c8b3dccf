//! libp2p's relay, kept from two things it does.
//!
//! It forgets a peer when the reservation of its only connection times out, and stops the whole process when the answer to a
//! renewal, which the peer may read as late as it likes, is done with after that. Here every connected peer has one more
//! connection in the relay's books, under a number that no real one bears, so that it is not forgotten.
//!
//! And it says of every connection that closes that a reservation was closed. That is not passed on: [`crate::slots`] counts them.

use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use libp2p_relay as relay;

/// libp2p counts connections from one.
const NO_CONNECTION: usize = 0;

/// The relay.
pub(crate) struct Relay(relay::Behaviour);

impl Relay {
    pub(crate) fn new(own: PeerId, config: relay::Config) -> Self {
        Self(relay::Behaviour::new(own, config))
    }
}

impl NetworkBehaviour for Relay {
    type ConnectionHandler = <relay::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = relay::Event;

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
        let connection_id = ConnectionId::new_unchecked(NO_CONNECTION);
        if let FromSwarm::ConnectionEstablished(
            first @ ConnectionEstablished {
                other_established: 0, ..
            },
        ) = event
        {
            self.0
                .on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                    connection_id,
                    ..first
                }));
        }
        self.0.on_swarm_event(event);
        if let FromSwarm::ConnectionClosed(
            last @ ConnectionClosed {
                remaining_established: 0,
                ..
            },
        ) = event
        {
            self.0
                .on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
                    connection_id,
                    ..last
                }));
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.0.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            match self.0.poll(cx) {
                Poll::Ready(ToSwarm::GenerateEvent(relay::Event::ReservationClosed { .. })) => {}
                other => return other,
            }
        }
    }
}
