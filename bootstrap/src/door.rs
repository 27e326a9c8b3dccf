//! The door: which connections there may be, in all, for one peer and for one network, and whom this machine dials.
//!
//! It stands here in place of libp2p's own connection limits, which know no networks and keep an entry for every peer that
//! was ever connected: in a year of strangers that is memory without a bound.
//!
//! What always holds: nothing is remembered of a peer or a network without a connection. By AutoNAT a peer
//! can have this machine dial only addresses of networks from which it is connected itself, and only so many a minute; the questions
//! of the table lead to peers and addresses that others name ([`crate::questions`]), so many a minute too.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::config::{AutonatSection, ConnectionsSection};
use crate::metrics::{Counts, Why};
use crate::network::{Network, is_direct};
use crate::pace::Pace;
use crate::tally::Tally;

/// Peers of the table that are dialled in a minute, to see whether they are there: enough for the questions that the table asks
/// while it is nearly empty.
const TABLE_DIALS: u32 = 60;

/// A connection that is refused, and why.
#[derive(Debug)]
pub(crate) struct Refused(Why);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused at the door: {:?}", self.0)
    }
}

impl std::error::Error for Refused {}

/// Counts connections, and refuses those that are too many.
pub(crate) struct Door {
    bounds: ConnectionsSection,
    counts: Counts,
    arriving: HashMap<ConnectionId, Network>,
    arriving_from: Tally<Network>,
    leaving: HashSet<ConnectionId>,
    peers: HashMap<PeerId, Vec<(ConnectionId, Network)>>,
    networks: Tally<Network>,
    established: usize,
    dial_backs: Pace<Network>,
    table_dials: Pace<()>,
}

impl Door {
    pub(crate) fn new(bounds: ConnectionsSection, autonat: &AutonatSection, counts: Counts) -> Self {
        let now = Instant::now();
        Self {
            bounds,
            counts,
            arriving: HashMap::new(),
            arriving_from: Tally::default(),
            leaving: HashSet::new(),
            peers: HashMap::new(),
            networks: Tally::default(),
            established: 0,
            dial_backs: Pace::new(
                autonat.dials_per_minute,
                autonat.dials_per_minute_per_network,
                now,
            ),
            table_dials: Pace::new(TABLE_DIALS, TABLE_DIALS, now),
        }
    }

    /// Connections that there are.
    pub(crate) fn established(&self) -> usize {
        self.established
    }

    /// Peers that have any.
    pub(crate) fn peers(&self) -> usize {
        self.peers.len()
    }

    /// A network from which this peer is connected.
    pub(crate) fn network_of(&self, peer: &PeerId) -> Option<Network> {
        self.peers.get(peer)?.first().map(|(_, network)| *network)
    }

    fn refuse(&self, why: Why) -> ConnectionDenied {
        self.counts.refuse(why);
        ConnectionDenied::new(Refused(why))
    }

    fn has_arrived(&mut self, id: ConnectionId) {
        if let Some(network) = self.arriving.remove(&id) {
            self.arriving_from.take(&network);
        }
    }

    /// Judged before anything is spent on a handshake.
    fn may_arrive(&self, from: Option<Network>) -> Result<Network, Why> {
        let network = from.ok_or(Why::Address)?;
        if self.established + self.arriving.len() >= self.bounds.total {
            return Err(Why::Full);
        }
        if self.arriving.len() >= self.bounds.pending {
            return Err(Why::Pending);
        }
        let coming = self.arriving_from.of(&network);
        if coming >= self.bounds.pending_per_network
            || coming + self.networks.of(&network) >= self.bounds.per_network
        {
            return Err(Why::Network);
        }
        Ok(network)
    }

    /// Judged once the other side has shown its key.
    fn may_stay(&self, peer: &PeerId, address: &Multiaddr) -> Result<(), Why> {
        let network = Network::of(address).ok_or(Why::Address)?;
        if self.established >= self.bounds.total {
            return Err(Why::Full);
        }
        if self.peers.get(peer).map_or(0, Vec::len) >= self.bounds.per_peer {
            return Err(Why::Peer);
        }
        if self.networks.of(&network) >= self.bounds.per_network {
            return Err(Why::Network);
        }
        Ok(())
    }

    /// Dial-backs name their address; a dial of the table does not ([`crate::questions`]).
    fn may_dial(&mut self, peer: Option<PeerId>, addresses: &[Multiaddr]) -> Result<(), Why> {
        if self.leaving.len() >= self.bounds.pending {
            return Err(Why::Pending);
        }
        let now = Instant::now();
        let address = match addresses {
            [] if self.table_dials.take((), now) => return Ok(()),
            [] => return Err(Why::Pace),
            [address] => address,
            _ => return Err(Why::Address),
        };
        let network = Network::of(address).ok_or(Why::Address)?;
        let from = peer.and_then(|peer| self.peers.get(&peer));
        let is_its_own = from.is_some_and(|held| held.iter().any(|(_, held)| *held == network));
        if !is_its_own || !is_direct(address) {
            return Err(Why::Address);
        }
        if self.dial_backs.take(network, now) {
            Ok(())
        } else {
            Err(Why::Pace)
        }
    }

    fn opened(&mut self, event: &ConnectionEstablished<'_>) {
        let Some(network) = Network::of(event.endpoint.get_remote_address()) else {
            return;
        };
        self.established += 1;
        self.networks.add(network);
        self.peers
            .entry(event.peer_id)
            .or_default()
            .push((event.connection_id, network));
    }

    fn closed(&mut self, event: &ConnectionClosed<'_>) {
        let Some(held) = self.peers.get_mut(&event.peer_id) else {
            return;
        };
        let Some(at) = held.iter().position(|(id, _)| *id == event.connection_id) else {
            return;
        };
        let (_, network) = held.swap_remove(at);
        if held.is_empty() {
            self.peers.remove(&event.peer_id);
        }
        self.networks.take(&network);
        self.established -= 1;
    }
}

impl NetworkBehaviour for Door {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let network = self
            .may_arrive(Network::of(remote))
            .map_err(|why| self.refuse(why))?;
        self.arriving.insert(id, network);
        self.arriving_from.add(network);
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
        self.may_stay(&peer, remote).map_err(|why| self.refuse(why))?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        _role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.may_dial(peer, addresses).map_err(|why| {
            self.counts.refuse_dial(why);
            ConnectionDenied::new(Refused(why))
        })?;
        self.leaving.insert(id);
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.leaving.remove(&id);
        self.may_stay(&peer, address).map_err(|why| self.refuse(why))?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.opened(&event),
            FromSwarm::ConnectionClosed(event) => self.closed(&event),
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
