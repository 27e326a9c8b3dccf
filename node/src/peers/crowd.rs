//! How many connections there may be: in all, of one peer, and while they are being made.
//!
//! What always holds: nothing is remembered of a peer that has no connection. libp2p's own limits keep an entry for every peer
//! that was ever connected, and strangers have as many keys as they like.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

/// What there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections that are being made, in each direction.
    pub(super) pending: usize,
    /// Connections.
    pub(super) established: usize,
    /// Connections of one peer.
    pub(super) per_peer: usize,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMany {
    #[error("too many connections are being made")]
    Pending,
    #[error("there are too many connections")]
    Established,
    #[error("the peer has too many connections")]
    OfPeer,
}

/// The connections that there are.
pub(super) struct Crowd {
    bounds: Bounds,
    arriving: HashSet<ConnectionId>,
    leaving: HashSet<ConnectionId>,
    peers: HashMap<PeerId, usize>,
    established: usize,
}

impl Crowd {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            arriving: HashSet::new(),
            leaving: HashSet::new(),
            peers: HashMap::new(),
            established: 0,
        }
    }

    fn may_stay(&self, peer: &PeerId) -> Result<(), ConnectionDenied> {
        if self.established >= self.bounds.established {
            return Err(ConnectionDenied::new(TooMany::Established));
        }
        match self.peers.get(peer) {
            Some(held) if *held >= self.bounds.per_peer => Err(ConnectionDenied::new(TooMany::OfPeer)),
            _ => Ok(()),
        }
    }

    fn may_begin(&self, pending: &HashSet<ConnectionId>) -> Result<(), ConnectionDenied> {
        match pending.len() < self.bounds.pending {
            true => Ok(()),
            false => Err(ConnectionDenied::new(TooMany::Pending)),
        }
    }

    fn opened(&mut self, peer: PeerId) {
        self.established += 1;
        *self.peers.entry(peer).or_default() += 1;
    }

    fn closed(&mut self, peer: &PeerId) {
        if let Some(held) = self.peers.get_mut(peer) {
            self.established -= 1;
            *held -= 1;
            if *held == 0 {
                self.peers.remove(peer);
            }
        }
    }
}

impl NetworkBehaviour for Crowd {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.may_begin(&self.arriving)?;
        self.arriving.insert(id);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.arriving.remove(&id);
        self.may_stay(&peer)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        _peer: Option<PeerId>,
        _addresses: &[Multiaddr],
        _role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.may_begin(&self.leaving)?;
        self.leaving.insert(id);
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.leaving.remove(&id);
        self.may_stay(&peer)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.opened(event.peer_id),
            FromSwarm::ConnectionClosed(event) => self.closed(&event.peer_id),
            FromSwarm::ListenFailure(event) => {
                self.arriving.remove(&event.connection_id);
            }
            FromSwarm::DialFailure(event) => {
                self.leaving.remove(&event.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        _id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn crowd() -> Crowd {
        Crowd::new(Bounds {
            pending: 2,
            established: 4,
            per_peer: 2,
        })
    }

    fn why(denied: Result<impl Sized, ConnectionDenied>) -> TooMany {
        denied.err().unwrap().downcast().unwrap()
    }

    fn arrives(crowd: &mut Crowd, peer: PeerId, id: usize) -> Result<(), ConnectionDenied> {
        let (id, at) = (ConnectionId::new_unchecked(id), Multiaddr::empty());
        crowd.handle_pending_inbound_connection(id, &at, &at)?;
        crowd.handle_established_inbound_connection(id, peer, &at, &at)?;
        crowd.opened(peer);
        Ok(())
    }

    #[test]
    fn l02_nothing_is_remembered_of_a_peer_that_has_gone() {
        let mut crowd = crowd();
        for id in 0..1000 {
            let stranger = PeerId::random();
            arrives(&mut crowd, stranger, id).unwrap();
            crowd.closed(&stranger);
        }
        assert!(crowd.peers.is_empty() && crowd.arriving.is_empty() && crowd.established == 0);
    }

    #[test]
    fn l02_one_peer_and_all_together_have_so_many_connections_and_one_that_ends_makes_room() {
        let mut crowd = crowd();
        let [alice, bob, carol] = std::array::from_fn(|_| PeerId::random());
        arrives(&mut crowd, alice, 1).unwrap();
        arrives(&mut crowd, alice, 2).unwrap();
        assert_eq!(why(arrives(&mut crowd, alice, 3)), TooMany::OfPeer);
        arrives(&mut crowd, bob, 4).unwrap();
        arrives(&mut crowd, bob, 5).unwrap();
        assert_eq!(why(arrives(&mut crowd, carol, 6)), TooMany::Established);
        crowd.closed(&alice);
        arrives(&mut crowd, carol, 7).unwrap();
    }

    #[test]
    fn l02_so_many_connections_are_being_made_in_each_direction() {
        let (mut crowd, at) = (crowd(), Multiaddr::empty());
        for id in 1..=2 {
            let id = ConnectionId::new_unchecked(id);
            crowd.handle_pending_inbound_connection(id, &at, &at).unwrap();
            crowd
                .handle_pending_outbound_connection(id, None, &[], Endpoint::Dialer)
                .unwrap();
        }
        let third = ConnectionId::new_unchecked(3);
        assert_eq!(
            why(crowd.handle_pending_inbound_connection(third, &at, &at)),
            TooMany::Pending
        );
        let dialled = crowd.handle_pending_outbound_connection(third, None, &[], Endpoint::Dialer);
        assert_eq!(why(dialled), TooMany::Pending);
    }
}
