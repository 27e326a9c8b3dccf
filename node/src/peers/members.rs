//! What a node speaks that has joined a community: relayed connections, their upgrade to direct ones, the question whether
//! others can dial it, and the table of addresses. A node that has joined none has nothing of this (row L06).
//!
//! What always holds: an address of this node counts only when an introducer has seen it; the table makes it dial nobody but
//! introducers and who is sought; a dial has so many addresses as one locator may name; and what libp2p never forgets is begun anew
//! before it grows.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::ConnectionEstablished;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NewExternalAddrCandidate, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use libp2p_autonat::v2::client as autonat;
use libp2p_dcutr as dcutr;
use libp2p_kad as kad;
use libp2p_kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p_relay::client as relay;

use super::dialable::{ADDRESSES, ip_of, is_relayed};

/// The community's own table, apart from every public one.
const KADEMLIA: StreamProtocol = StreamProtocol::new("/cargomail/kad/1.0.0");
/// A question to the table, with all the peers that are asked.
const QUESTION: Duration = Duration::from_secs(15);
/// How soon an address that an introducer has seen is asked about.
const PROBE: Duration = Duration::from_secs(1);
/// IP addresses of this node that introducers have seen, the last ones.
const SEEN: usize = 8;
/// Relayed connections, and upgrades that were tried, after which the upgrades are begun anew: libp2p keeps a note of each.
const UPGRADES: usize = 1024;
/// Upgrades that are tried with one peer, while it is connected.
const TRIES: u32 = 3;
/// Upgrades that are tried at once.
const AT_ONCE: usize = 8;

/// The protocols of a community.
#[derive(NetworkBehaviour)]
pub(super) struct Reach {
    pub(super) relay: relay::Behaviour,
    dcutr: dcutr::Behaviour,
    autonat: autonat::Behaviour,
    pub(super) kademlia: kad::Behaviour<MemoryStore>,
}

/// The same, kept within bounds.
pub(super) struct Members {
    own: PeerId,
    pub(super) reach: Reach,
    introducers: HashSet<PeerId>,
    sought: HashSet<PeerId>,
    seen: Vec<IpAddr>,
    candidates: Vec<Multiaddr>,
    live: HashMap<ConnectionId, (PeerId, ConnectedPoint)>,
    /// Dials to peers that are connected already, to upgrade that: they ask for them, as often as they like.
    upgrading: HashSet<ConnectionId>,
    tries: HashMap<PeerId, u32>,
    relayed: usize,
}

/// A dial has too many addresses.
#[derive(Debug, thiserror::Error)]
#[error("{0} addresses are too many for one dial")]
struct TooManyAddresses(usize);

/// A connection is upgraded too often, or too many are at once.
#[derive(Debug, thiserror::Error)]
#[error("a direct connection was tried often enough")]
struct TooManyTries;

impl Members {
    pub(super) fn new(own: PeerId, relay: relay::Behaviour) -> Self {
        Self {
            own,
            reach: Reach {
                relay,
                dcutr: dcutr::Behaviour::new(own),
                autonat: autonat(),
                kademlia: kademlia(own),
            },
            introducers: HashSet::new(),
            sought: HashSet::new(),
            seen: Vec::new(),
            candidates: Vec::new(),
            live: HashMap::new(),
            upgrading: HashSet::new(),
            tries: HashMap::new(),
            relayed: 0,
        }
    }

    /// Who the introducers are now.
    pub(super) fn set_introducers(&mut self, introducers: HashSet<PeerId>) {
        self.introducers = introducers;
    }

    /// Who is looked for now.
    pub(super) fn set_sought(&mut self, sought: HashSet<PeerId>) {
        self.sought = sought;
    }

    /// An introducer has seen this node at an IP address.
    pub(super) fn seen(&mut self, ip: IpAddr) {
        if !self.seen.contains(&ip) {
            self.seen.truncate(SEEN - 1);
            self.seen.insert(0, ip);
        }
    }

    /// Forgets what was found out about this node's own addresses, so that it is asked again. Connections that are open stay.
    pub(super) fn ask_anew(&mut self) {
        self.seen.clear();
        self.candidates.clear();
        let mut anew = autonat();
        for (connection_id, (peer, endpoint)) in &self.live {
            anew.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id: *peer,
                connection_id: *connection_id,
                endpoint,
                failed_addresses: &[],
                other_established: 0,
            }));
        }
        self.reach.autonat = anew;
        self.upgrade_anew();
    }

    fn upgrade_anew(&mut self) {
        let (mut anew, nowhere) = (dcutr::Behaviour::new(self.own), Multiaddr::empty());
        for (connection, (peer, endpoint)) in &self.live {
            if !endpoint.is_relayed() {
                // What it keeps of a direct connection is that there is one.
                let _ = anew.handle_established_inbound_connection(*connection, *peer, &nowhere, &nowhere);
            }
        }
        for addr in &self.candidates {
            anew.on_swarm_event(FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate {
                addr,
            }));
        }
        self.reach.dcutr = anew;
        self.relayed = 0;
    }

    /// Notes a dial that is made to upgrade a connection; an error when there were, or are, enough.
    fn upgrade(&mut self, id: ConnectionId, peer: PeerId) -> Result<(), TooManyTries> {
        self.relayed += 1;
        let tries = self.tries.entry(peer).or_default();
        *tries = tries.saturating_add(1);
        if *tries > TRIES || self.upgrading.len() >= AT_ONCE {
            return Err(TooManyTries);
        }
        self.upgrading.insert(id);
        Ok(())
    }

    /// Whether a connection that is open goes over this relay.
    pub(super) fn goes_over(&self, relay: &PeerId) -> bool {
        self.live.values().any(|(_, endpoint)| {
            let at = match endpoint {
                ConnectedPoint::Dialer { address, .. } => address,
                ConnectedPoint::Listener { local_addr, .. } => local_addr,
            };
            endpoint.is_relayed() && at.iter().any(|part| part == Protocol::P2p(*relay))
        })
    }

    fn is_live(&self, peer: &PeerId) -> bool {
        self.live.values().any(|(live, _)| live == peer)
    }

    /// Whether an address may be one of this node's: the IP address is what an introducer has seen.
    fn is_candidate(&mut self, address: &Multiaddr) -> bool {
        if !ip_of(address).is_some_and(|ip| self.seen.contains(&ip)) || is_relayed(address) {
            return false;
        }
        if !self.candidates.contains(address) {
            if self.candidates.len() == ADDRESSES {
                return false;
            }
            self.candidates.push(address.clone());
        }
        true
    }
}

/// Asks only whom it is connected to, about an address at a time.
fn autonat() -> autonat::Behaviour {
    let config = autonat::Config::default()
        .with_max_candidates(ADDRESSES)
        .with_probe_interval(PROBE);
    autonat::Behaviour::new(rand::make_rng(), config)
}

/// A table of introducers: whatever a peer wants to have stored becomes an event, which nobody handles, and there is no room for
/// it either. It is served once this node has an address that others can use, which is what introducers want to see.
fn kademlia(own: PeerId) -> kad::Behaviour<MemoryStore> {
    let store = MemoryStoreConfig {
        max_records: 0,
        max_provided_keys: 0,
        ..MemoryStoreConfig::default()
    };
    let mut config = kad::Config::new(KADEMLIA);
    config
        .set_query_timeout(QUESTION)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_periodic_bootstrap_interval(None)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    kad::Behaviour::with_config(own, MemoryStore::with_config(own, store), config)
}

impl NetworkBehaviour for Members {
    type ConnectionHandler = THandler<Reach>;
    type ToSwarm = ReachEvent;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.reach
            .handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if addresses.len() > ADDRESSES {
            return Err(ConnectionDenied::new(TooManyAddresses(addresses.len())));
        }
        if let Some(peer) = peer.filter(|peer| !self.introducers.contains(peer) && self.is_live(peer)) {
            self.upgrade(id, peer).map_err(ConnectionDenied::new)?;
        }
        let mut heard = self
            .reach
            .handle_pending_outbound_connection(id, peer, addresses, role)?;
        if peer.is_some_and(|peer| self.introducers.contains(&peer) || self.sought.contains(&peer)) {
            heard.truncate(ADDRESSES);
        } else {
            heard.clear();
        }
        Ok(heard)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.reach
            .handle_established_outbound_connection(id, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::NewExternalAddrCandidate(candidate) if !self.is_candidate(candidate.addr) => return,
            FromSwarm::ConnectionEstablished(new) => {
                self.relayed += usize::from(new.endpoint.is_relayed());
                self.upgrading.remove(&new.connection_id);
                let endpoint = new.endpoint.clone();
                self.live.insert(new.connection_id, (new.peer_id, endpoint));
            }
            FromSwarm::ConnectionClosed(old) => {
                self.live.remove(&old.connection_id);
                if old.remaining_established == 0 {
                    self.tries.remove(&old.peer_id);
                }
            }
            FromSwarm::DialFailure(failed) => {
                self.upgrading.remove(&failed.connection_id);
            }
            _ => {}
        }
        self.reach.on_swarm_event(event);
        if self.relayed >= UPGRADES {
            self.upgrade_anew();
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.reach.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.reach.poll(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn members() -> Members {
        let own = PeerId::random();
        let (_, client) = libp2p_relay::client::new(own);
        Members::new(own, client)
    }

    fn at(text: String) -> Multiaddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn an_address_counts_only_when_an_introducer_has_seen_it_and_so_many_do() {
        let mut members = members();
        assert!(!members.is_candidate(&at("/ip4/9.9.9.9/tcp/1".to_owned())));
        for last in 0..100 {
            members.seen([9, 9, 9, last].into());
        }
        assert_eq!(members.seen.len(), SEEN);
        let counted = (0..100).filter(|port| members.is_candidate(&at(format!("/ip4/9.9.9.99/tcp/{port}"))));
        assert_eq!(counted.count(), ADDRESSES);
        let relay = PeerId::random();
        assert!(!members.is_candidate(&at(format!("/ip4/9.9.9.99/tcp/1/p2p/{relay}/p2p-circuit"))));
        members.ask_anew();
        assert!(!members.is_candidate(&at("/ip4/9.9.9.99/tcp/1".to_owned())));
        members.seen([9, 9, 9, 9].into());
        assert!(members.is_candidate(&at("/ip4/9.9.9.9/tcp/1".to_owned())));
    }

    #[tokio::test]
    async fn a_peer_that_is_connected_is_dialled_so_often_to_upgrade_that() {
        let (mut members, bob) = (members(), PeerId::random());
        let (address, relay) = (at("/ip4/9.9.9.9/tcp/1".to_owned()), PeerId::random());
        let endpoint = ConnectedPoint::Listener {
            local_addr: at(format!("/ip4/9.9.9.8/tcp/1/p2p/{relay}/p2p-circuit")),
            send_back_addr: at(format!("/p2p/{bob}")),
        };
        members
            .live
            .insert(ConnectionId::new_unchecked(0), (bob, endpoint));
        let dial = |members: &mut Members, id| {
            let (id, addresses) = (ConnectionId::new_unchecked(id), [address.clone()]);
            members.handle_pending_outbound_connection(id, Some(bob), &addresses, Endpoint::Dialer)
        };
        let tried: Vec<bool> = (1..=6).map(|id| dial(&mut members, id).is_ok()).collect();
        assert_eq!(tried, [true, true, true, false, false, false]);
        assert_eq!((members.upgrading.len(), members.relayed), (3, 6));
        members.live.clear();
        assert!(
            dial(&mut members, 7).is_ok(),
            "who is not connected is dialled as ever"
        );
    }

    #[tokio::test]
    async fn a_dial_has_so_many_addresses_and_the_table_adds_none_for_a_peer_that_is_not_sought() {
        let (mut members, bob) = (members(), PeerId::random());
        let named: Vec<_> = (0..9)
            .map(|port| at(format!("/ip4/9.9.9.9/tcp/{port}")))
            .collect();
        let dial = |members: &mut Members, addresses: &[Multiaddr]| {
            let id = ConnectionId::new_unchecked(1);
            members.handle_pending_outbound_connection(id, Some(bob), addresses, Endpoint::Dialer)
        };
        assert!(dial(&mut members, &named).is_err());
        assert!(dial(&mut members, &named[1..]).is_ok());
        let table = &mut members.reach.kademlia;
        table.add_address(&bob, named[0].clone());
        assert!(dial(&mut members, &[]).unwrap().is_empty());
        members.set_sought(HashSet::from([bob]));
        let named = named[0].clone().with_p2p(bob).unwrap();
        assert_eq!(dial(&mut members, &[]).unwrap(), [named]);
    }
}
