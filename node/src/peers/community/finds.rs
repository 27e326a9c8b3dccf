//! Peers that are known by their name only, looked for in the community's table.
//!
//! A question goes to introducers, and to the peer itself once one of them has said where it is. What it finds is where the peer may
//! be; that it is the peer, its key proves.

use std::collections::HashMap;

use libp2p::{Multiaddr, PeerId, Swarm};
use libp2p_kad::{self as kad, QueryId};
use tokio::sync::oneshot;

use super::members;
use crate::peers::swarm::Behaviour;
use crate::peers::{PeerAddress, PeerError};

/// Peers that are looked for at once.
const FINDS: usize = 16;

/// Where the answer goes: addresses, or none for a peer that is connected by now.
pub(in crate::peers) type Found = oneshot::Sender<Result<Vec<PeerAddress>, PeerError>>;

/// All that are looked for.
#[derive(Default)]
pub(super) struct Finds(HashMap<QueryId, (PeerId, Found)>);

impl Finds {
    pub(super) fn begin(&mut self, swarm: &mut Swarm<Behaviour>, peer: PeerId, found: Found) {
        if swarm.is_connected(&peer) {
            let _ = found.send(Ok(Vec::new()));
            return;
        }
        self.0.retain(|_, (_, found)| !found.is_closed());
        if self.0.len() >= FINDS {
            let why = "too many peers are looked for in the community at once";
            let _ = found.send(Err(PeerError::Unreachable(why.to_owned())));
            return;
        }
        let query = members(swarm).reach.kademlia.get_closest_peers(peer);
        self.0.insert(query, (peer, found));
        self.seek(swarm);
    }

    fn seek(&self, swarm: &mut Swarm<Behaviour>) {
        let sought = self.0.values().map(|(peer, _)| *peer).collect();
        members(swarm).set_sought(sought);
    }

    /// Somebody is connected, who may be looked for.
    pub(super) fn connected(&mut self, swarm: &mut Swarm<Behaviour>, peer: &PeerId) {
        let done = self.0.iter().filter(|(_, (sought, _))| sought == peer);
        let done: Vec<QueryId> = done.map(|(query, _)| *query).collect();
        for query in done {
            if let Some(mut query) = members(swarm).reach.kademlia.query_mut(&query) {
                query.finish();
            }
            if let Some((_, found)) = self.0.remove(&query) {
                let _ = found.send(Ok(Vec::new()));
            }
            self.seek(swarm);
        }
    }

    /// The table answers.
    pub(super) fn told(&mut self, swarm: &mut Swarm<Behaviour>, event: &kad::Event) {
        let kad::Event::OutboundQueryProgressed {
            id,
            result: kad::QueryResult::GetClosestPeers(result),
            ..
        } = event
        else {
            return;
        };
        let Some((peer, found)) = self.0.remove(id) else {
            return;
        };
        self.seek(swarm);
        let peers = match result {
            Ok(closest) => &closest.peers,
            Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
        };
        let at = peers.iter().filter(|info| info.peer_id == peer);
        let at = at.flat_map(|info| info.addrs.iter().cloned());
        let at: Vec<PeerAddress> = at.filter_map(|address| named(address, peer)).collect();
        let _ = found.send(match at.is_empty() {
            true => Err(PeerError::Unreachable(
                "no introducer of the community knows where the peer is".to_owned(),
            )),
            false => Ok(at),
        });
    }
}

fn named(address: Multiaddr, peer: PeerId) -> Option<PeerAddress> {
    let address = address.with_p2p(peer).ok()?;
    Some(PeerAddress(address.to_string()))
}
