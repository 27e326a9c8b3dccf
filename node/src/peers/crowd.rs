//! How many connections there may be: in all, of one peer, from one network, and while they are being made.
//!
//! A network is an IPv4 /24 or an IPv6 /48: what one customer of an access provider usually has, and so the unit in which a stranger gets
//! many addresses at no cost. Only those of the public Internet count as one: behind a private address there may be a relay or a proxy, and
//! everybody behind it.
//!
//! What always holds: others leave room for the connections that this node makes; nothing is remembered of a peer or a network that has no
//! connection. libp2p's own limits keep an entry for every peer
//! that was ever connected, and strangers have as many keys as they like.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::hash::Hash;
use std::net::IpAddr;
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::dialable::{ip_of, is_relayed};
use crate::network::AddressPolicy;

/// What there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections that are being made, in each direction.
    pub(super) pending: usize,
    /// Those of them that arrive from one network.
    pub(super) pending_per_network: usize,
    /// Connections.
    pub(super) established: usize,
    /// Those of them that others may have made.
    pub(super) arrived: usize,
    /// Those that arrived from one network, or are about to.
    pub(super) per_network: usize,
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
    #[error("too many connections come from that network")]
    OfNetwork,
}

/// An IPv4 /24 or an IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    V4([u8; 3]),
    V6([u16; 3]),
}

impl Network {
    /// The network that an address on the public Internet belongs to.
    fn of(address: &Multiaddr) -> Option<Self> {
        let ip = ip_of(address).filter(|_| !is_relayed(address))?;
        Some(match AddressPolicy::public().check(ip).ok()? {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, ..] = v6.segments();
                Self::V6([a, b, c])
            }
        })
    }
}

/// How many of something each has. Who has none is not remembered.
struct Tally<Owner>(HashMap<Owner, usize>);

impl<Owner: Eq + Hash> Tally<Owner> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    fn of(&self, owner: &Owner) -> usize {
        self.0.get(owner).copied().unwrap_or_default()
    }

    fn add(&mut self, owner: Owner) {
        *self.0.entry(owner).or_default() += 1;
    }

    fn take(&mut self, owner: &Owner) {
        if let Some(count) = self.0.get_mut(owner) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(owner);
            }
        }
    }
}

/// The connections that there are.
pub(super) struct Crowd {
    bounds: Bounds,
    arriving: HashMap<ConnectionId, Option<Network>>,
    arriving_from: Tally<Network>,
    leaving: HashSet<ConnectionId>,
    arrived: HashMap<ConnectionId, Option<Network>>,
    arrived_from: Tally<Network>,
    peers: Tally<PeerId>,
    established: usize,
}

impl Crowd {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            arriving: HashMap::new(),
            arriving_from: Tally::new(),
            leaving: HashSet::new(),
            arrived: HashMap::new(),
            arrived_from: Tally::new(),
            peers: Tally::new(),
            established: 0,
        }
    }

    /// Judged before anything is spent on a handshake.
    fn may_arrive(&self, network: Option<Network>) -> Result<(), TooMany> {
        if self.arriving.len() >= self.bounds.pending {
            return Err(TooMany::Pending);
        }
        let Some(network) = network else { return Ok(()) };
        let arriving = self.arriving_from.of(&network);
        match arriving >= self.bounds.pending_per_network
            || arriving + self.arrived_from.of(&network) >= self.bounds.per_network
        {
            true => Err(TooMany::OfNetwork),
            false => Ok(()),
        }
    }

    fn has_arrived(&mut self, id: ConnectionId) {
        if let Some(Some(network)) = self.arriving.remove(&id) {
            self.arriving_from.take(&network);
        }
    }

    /// Judged once the other side has shown its key.
    fn may_stay(&self, peer: &PeerId) -> Result<(), TooMany> {
        if self.established >= self.bounds.established {
            return Err(TooMany::Established);
        }
        match self.peers.of(peer) >= self.bounds.per_peer {
            true => Err(TooMany::OfPeer),
            false => Ok(()),
        }
    }

    /// The same, of a peer that has come by itself.
    fn may_stay_here(&self, peer: &PeerId, from: &Multiaddr) -> Result<(), TooMany> {
        self.may_stay(peer)?;
        if self.arrived.len() >= self.bounds.arrived {
            return Err(TooMany::Established);
        }
        match Network::of(from) {
            Some(network) if self.arrived_from.of(&network) >= self.bounds.per_network => {
                Err(TooMany::OfNetwork)
            }
            _ => Ok(()),
        }
    }

    fn opened(&mut self, id: ConnectionId, peer: PeerId, at: &ConnectedPoint) {
        self.established += 1;
        self.peers.add(peer);
        if let ConnectedPoint::Listener { send_back_addr, .. } = at {
            let network = Network::of(send_back_addr);
            network
                .into_iter()
                .for_each(|network| self.arrived_from.add(network));
            self.arrived.insert(id, network);
        }
    }

    fn closed(&mut self, id: ConnectionId, peer: &PeerId) {
        self.established -= 1;
        self.peers.take(peer);
        if let Some(Some(network)) = self.arrived.remove(&id) {
            self.arrived_from.take(&network);
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
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let network = Network::of(remote);
        self.may_arrive(network).map_err(ConnectionDenied::new)?;
        network
            .into_iter()
            .for_each(|network| self.arriving_from.add(network));
        self.arriving.insert(id, network);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.has_arrived(id);
        self.may_stay_here(&peer, remote).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        _peer: Option<PeerId>,
        _addresses: &[Multiaddr],
        _role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.leaving.len() >= self.bounds.pending {
            return Err(ConnectionDenied::new(TooMany::Pending));
        }
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
        self.may_stay(&peer).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                self.opened(event.connection_id, event.peer_id, event.endpoint);
            }
            FromSwarm::ConnectionClosed(event) => self.closed(event.connection_id, &event.peer_id),
            FromSwarm::ListenFailure(event) => self.has_arrived(event.connection_id),
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
            pending: 3,
            pending_per_network: 2,
            established: 6,
            arrived: 4,
            per_network: 3,
            per_peer: 2,
        })
    }

    fn why(denied: Result<impl Sized, ConnectionDenied>) -> TooMany {
        denied.err().unwrap().downcast().unwrap()
    }

    fn at(address: &str) -> Multiaddr {
        format!("{address}/tcp/1").parse().unwrap()
    }

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    fn begins(crowd: &mut Crowd, from: &Multiaddr, number: usize) -> Result<(), ConnectionDenied> {
        crowd.handle_pending_inbound_connection(id(number), &Multiaddr::empty(), from)
    }

    fn arrives(
        crowd: &mut Crowd,
        peer: PeerId,
        from: &Multiaddr,
        number: usize,
    ) -> Result<(), ConnectionDenied> {
        begins(crowd, from, number)?;
        let here = Multiaddr::empty();
        crowd.handle_established_inbound_connection(id(number), peer, &here, from)?;
        let endpoint = ConnectedPoint::Listener {
            local_addr: here,
            send_back_addr: from.clone(),
        };
        crowd.opened(id(number), peer, &endpoint);
        Ok(())
    }

    fn is_dialled(crowd: &mut Crowd, peer: PeerId, number: usize) -> Result<(), ConnectionDenied> {
        let (role, port_use) = (Endpoint::Dialer, PortUse::Reuse);
        crowd.handle_pending_outbound_connection(id(number), Some(peer), &[], role)?;
        let address = at("/ip4/9.9.9.9");
        crowd.handle_established_outbound_connection(id(number), peer, &address, role, port_use)?;
        let endpoint = ConnectedPoint::Dialer {
            address,
            role_override: role,
            port_use,
        };
        crowd.opened(id(number), peer, &endpoint);
        Ok(())
    }

    #[test]
    fn l02_nothing_is_remembered_of_a_peer_or_a_network_that_has_gone() {
        let mut crowd = crowd();
        for number in 0..1000 {
            let stranger = PeerId::random();
            let from = at(&format!("/ip4/9.9.{}.9", number % 256));
            arrives(&mut crowd, stranger, &from, number).unwrap();
            crowd.closed(id(number), &stranger);
        }
        assert!(crowd.peers.0.is_empty() && crowd.arriving.is_empty() && crowd.arrived.is_empty());
        assert!(crowd.arriving_from.0.is_empty() && crowd.arrived_from.0.is_empty());
        assert_eq!(crowd.established, 0);
    }

    #[test]
    fn l02_one_peer_and_all_together_have_so_many_connections_and_one_that_ends_makes_room() {
        let (mut crowd, here) = (crowd(), at("/ip4/127.0.0.1"));
        let [alice, bob, carol] = std::array::from_fn(|_| PeerId::random());
        arrives(&mut crowd, alice, &here, 1).unwrap();
        arrives(&mut crowd, alice, &here, 2).unwrap();
        assert_eq!(why(arrives(&mut crowd, alice, &here, 3)), TooMany::OfPeer);
        arrives(&mut crowd, bob, &here, 4).unwrap();
        arrives(&mut crowd, bob, &here, 5).unwrap();
        assert_eq!(why(arrives(&mut crowd, carol, &here, 6)), TooMany::Established);
        crowd.closed(id(1), &alice);
        arrives(&mut crowd, carol, &here, 7).unwrap();
    }

    #[test]
    fn l02_those_who_come_leave_room_for_those_whom_this_node_dials() {
        let (mut crowd, here) = (crowd(), at("/ip4/127.0.0.1"));
        for number in 0..4 {
            arrives(&mut crowd, PeerId::random(), &here, number).unwrap();
        }
        let late = arrives(&mut crowd, PeerId::random(), &here, 4);
        assert_eq!(why(late), TooMany::Established);
        is_dialled(&mut crowd, PeerId::random(), 5).unwrap();
        is_dialled(&mut crowd, PeerId::random(), 6).unwrap();
        assert_eq!(
            why(is_dialled(&mut crowd, PeerId::random(), 7)),
            TooMany::Established
        );
    }

    #[test]
    fn l02_one_network_has_so_many_connections_and_others_still_come() {
        for (one, other) in [
            (["/ip4/9.9.9.1", "/ip4/9.9.9.2"], "/ip4/9.9.8.1"),
            (
                ["/ip6/2a00:1450:1:1::1", "/ip6/2a00:1450:1:2::1"],
                "/ip6/2a00:1450:2::1",
            ),
        ] {
            let mut crowd = crowd();
            for number in 0..3 {
                let from = at(one[number % 2]);
                arrives(&mut crowd, PeerId::random(), &from, number).unwrap();
            }
            let fourth = arrives(&mut crowd, PeerId::random(), &at(one[0]), 3);
            assert_eq!(why(fourth), TooMany::OfNetwork);
            // Over a relay nobody is told by an address.
            let relayed: Multiaddr = format!("/p2p/{}", PeerId::random()).parse().unwrap();
            begins(&mut crowd, &relayed, 4).unwrap();
            arrives(&mut crowd, PeerId::random(), &at(other), 5).unwrap();
        }
    }

    #[test]
    fn l02_handshakes_that_one_network_never_ends_leave_room_for_those_of_others() {
        let mut crowd = crowd();
        begins(&mut crowd, &at("/ip4/9.9.9.1"), 1).unwrap();
        begins(&mut crowd, &at("/ip4/9.9.9.2"), 2).unwrap();
        let third = begins(&mut crowd, &at("/ip4/9.9.9.3"), 3);
        assert_eq!(why(third), TooMany::OfNetwork);
        arrives(&mut crowd, PeerId::random(), &at("/ip4/9.9.8.1"), 4).unwrap();
        crowd.has_arrived(id(1));
        begins(&mut crowd, &at("/ip4/9.9.9.3"), 5).unwrap();
    }

    #[test]
    fn l02_so_many_connections_are_being_made_in_each_direction() {
        let (mut crowd, here) = (crowd(), at("/ip4/127.0.0.1"));
        let dials = |crowd: &mut Crowd, number| {
            crowd.handle_pending_outbound_connection(id(number), None, &[], Endpoint::Dialer)
        };
        for number in 1..=3 {
            begins(&mut crowd, &here, number).unwrap();
            dials(&mut crowd, number).unwrap();
        }
        assert_eq!(why(begins(&mut crowd, &here, 4)), TooMany::Pending);
        assert_eq!(why(dials(&mut crowd, 4)), TooMany::Pending);
    }
}
