//! Who stands in the table, at which addresses, and for how long.
//!
//! What always holds: a peer stands there with the addresses it named last, and with no more of them than [`ADDRESSES`]; one that
//! was not met for the configured time is taken out. The table itself holds 20 peers at each distance, 5,120 in all at most.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId, StreamProtocol, identify};
use libp2p_kad as kad;
use libp2p_kad::store::MemoryStore;

use crate::network::{Reach, is_direct, is_relayed};

/// The community's own table, apart from every public one.
pub(crate) const KADEMLIA: StreamProtocol = StreamProtocol::new("/cargomail/kad/1.0.0");
/// Addresses of one peer that are kept.
pub(crate) const ADDRESSES: usize = 8;

pub(crate) type Kademlia = kad::Behaviour<MemoryStore>;

/// When each peer of the table was met.
pub(crate) struct Table {
    own: PeerId,
    reach: Reach,
    forget: Duration,
    met: HashMap<PeerId, Instant>,
}

impl Table {
    /// `forget`: how long a peer stays that does not come back.
    pub(crate) fn new(own: PeerId, reach: Reach, forget: Duration) -> Self {
        Self {
            own,
            reach,
            forget,
            met: HashMap::new(),
        }
    }

    /// Puts a peer that serves the table into it, at the addresses that others can use; takes out one that does no longer.
    pub(crate) fn introduce(
        &mut self,
        kademlia: &mut Kademlia,
        peer: PeerId,
        info: identify::Info,
        now: Instant,
    ) {
        let serves = info.protocols.contains(&KADEMLIA);
        let usable = info
            .listen_addrs
            .into_iter()
            .filter_map(|address| address.with_p2p(peer).ok())
            .filter(|address| serves && self.is_usable(address));
        let usable: Vec<Multiaddr> = usable.take(ADDRESSES).collect();
        if usable.is_empty() {
            self.forget(kademlia, &peer);
            return;
        }
        for address in &usable {
            tracing::debug!(%peer, %address, "introduced");
            if kademlia.add_address(&peer, address.clone()) == kad::RoutingUpdate::Failed {
                return;
            }
        }
        for old in held(kademlia, &peer) {
            if !usable.contains(&old) {
                kademlia.remove_address(&peer, &old);
            }
        }
        self.met.insert(peer, now);
    }

    /// Whether this is an address within reach at which a peer listens, or its end of this relay.
    fn is_usable(&self, address: &Multiaddr) -> bool {
        self.reach.covers(address) && (is_direct(address) || is_relayed(address, self.own))
    }

    /// Takes a peer out.
    pub(crate) fn forget(&mut self, kademlia: &mut Kademlia, peer: &PeerId) {
        kademlia.remove_peer(peer);
        self.met.remove(peer);
    }

    /// Takes out who was not met for too long; says how many are left.
    pub(crate) fn sweep(
        &mut self,
        kademlia: &mut Kademlia,
        is_here: impl Fn(&PeerId) -> bool,
        now: Instant,
    ) -> usize {
        let standing: HashSet<PeerId> = kademlia
            .kbuckets()
            .flat_map(|bucket| {
                let peers: Vec<PeerId> = bucket.iter().map(|entry| *entry.node.key.preimage()).collect();
                peers
            })
            .collect();
        self.met.retain(|peer, _| standing.contains(peer));
        let mut left = standing.len();
        for peer in standing {
            let met = self.met.entry(peer).or_insert(now);
            if is_here(&peer) {
                *met = now;
            } else if now.saturating_duration_since(*met) >= self.forget {
                tracing::debug!(%peer, "forgotten");
                self.forget(kademlia, &peer);
                left -= 1;
            }
        }
        left
    }
}

/// The addresses of a peer that stand in the table.
fn held(kademlia: &mut Kademlia, peer: &PeerId) -> Vec<Multiaddr> {
    let Some(bucket) = kademlia.kbucket(*peer) else {
        return Vec::new();
    };
    bucket
        .iter()
        .find(|entry| entry.node.key.preimage() == peer)
        .map(|entry| entry.node.value.iter().cloned().collect())
        .unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn table() -> (Table, Kademlia) {
        let own = PeerId::random();
        let kademlia = kad::Behaviour::with_config(own, MemoryStore::new(own), kad::Config::new(KADEMLIA));
        (Table::new(own, Reach::Public, DAY), kademlia)
    }

    fn says(addresses: &[String]) -> (PeerId, identify::Info) {
        let key = Keypair::generate_ed25519().public();
        let info = identify::Info {
            public_key: key.clone(),
            protocol_version: String::new(),
            agent_version: String::new(),
            listen_addrs: addresses.iter().map(|at| at.parse().unwrap()).collect(),
            protocols: vec![KADEMLIA],
            observed_addr: "/ip4/9.9.9.9/tcp/1".parse().unwrap(),
            signed_peer_record: None,
        };
        (key.to_peer_id(), info)
    }

    fn at(ports: std::ops::Range<u16>) -> Vec<String> {
        ports.map(|port| format!("/ip4/9.9.9.9/tcp/{port}")).collect()
    }

    #[test]
    fn a_peer_that_changes_its_addresses_for_ever_stands_with_its_last_ones() {
        let (mut table, mut kademlia) = table();
        let (alice, mut info) = says(&[]);
        for round in 1..500 {
            info.listen_addrs = says(&at(round * 10..round * 10 + 100)).1.listen_addrs;
            table.introduce(&mut kademlia, alice, info.clone(), Instant::now());
        }
        let held = held(&mut kademlia, &alice);
        assert_eq!(held.len(), ADDRESSES);
        assert!(
            held.iter()
                .all(|address| address.to_string().starts_with("/ip4/9.9.9.9/tcp/499")),
            "{held:?}"
        );
    }

    #[test]
    fn who_serves_no_table_or_has_only_private_addresses_is_taken_out() {
        let (mut table, mut kademlia) = table();
        let now = Instant::now();
        let (alice, info) = says(&at(1..2));
        table.introduce(&mut kademlia, alice, info.clone(), now);
        assert_eq!(table.sweep(&mut kademlia, |_| false, now), 1);
        let silent = identify::Info {
            protocols: Vec::new(),
            ..info
        };
        table.introduce(&mut kademlia, alice, silent, now);
        assert_eq!(table.sweep(&mut kademlia, |_| false, now), 0);
        let (bob, info) = says(&["/ip4/10.0.0.1/tcp/1".to_owned(), "/dns4/bar.com/tcp/1".to_owned()]);
        table.introduce(&mut kademlia, bob, info, now);
        assert_eq!(table.sweep(&mut kademlia, |_| false, now), 0);
    }

    #[test]
    fn who_does_not_come_back_is_forgotten_and_who_is_here_is_not() {
        let (mut table, mut kademlia) = table();
        let start = Instant::now();
        let [(alice, alices), (bob, bobs)] = [says(&at(1..2)), says(&at(2..3))];
        table.introduce(&mut kademlia, alice, alices, start);
        table.introduce(&mut kademlia, bob, bobs, start);
        let here = |peer: &PeerId| *peer == alice;
        assert_eq!(table.sweep(&mut kademlia, here, start + DAY / 2), 2);
        assert_eq!(table.sweep(&mut kademlia, here, start + DAY), 1);
        assert!(held(&mut kademlia, &bob).is_empty() && !table.met.contains_key(&bob));
        // Alice left half a day later than bob would have had to come back.
        assert_eq!(table.sweep(&mut kademlia, |_| false, start + DAY * 2), 0);
    }

    #[test]
    fn a_crowd_leaves_the_table_and_the_memory_of_it_bounded() {
        let (mut table, mut kademlia) = table();
        let now = Instant::now();
        for _ in 0..2000 {
            let (peer, info) = says(&at(1..2));
            table.introduce(&mut kademlia, peer, info, now);
        }
        let left = table.sweep(&mut kademlia, |_| false, now);
        assert!(left < 400, "{left}");
        assert_eq!(table.met.len(), left);
    }
}
