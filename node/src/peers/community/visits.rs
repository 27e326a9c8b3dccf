//! Whom of the introducers this node knows, when it dials each, and who is here.

use std::collections::{HashMap, HashSet};

use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm};
use tokio::time::{Duration, Instant};

use super::places::Place;
use super::{STEADY, after, from_now, members};
use crate::network::AddressPolicy;
use crate::peers::PeerAddress;
use crate::peers::dialable::{ADDRESSES, Membership, dialable};
use crate::peers::swarm::Behaviour;

/// Introducers that are known at once.
const KNOWN: usize = 16;
/// From one visit to the next, of a node that others can dial.
const VISIT: Duration = Duration::from_secs(10 * 60);

/// An introducer.
pub(super) struct Known {
    /// The name, by its number, at which it was found; none for one that the configuration names.
    from: Option<usize>,
    addresses: Vec<Multiaddr>,
    dials: HashSet<ConnectionId>,
    since: Option<Instant>,
    failures: u32,
    next: Instant,
    relays: bool,
    pub(super) place: Place,
}

impl Known {
    fn new(from: Option<usize>) -> Self {
        Self {
            from,
            addresses: Vec::new(),
            dials: HashSet::new(),
            since: None,
            failures: 0,
            next: Instant::now(),
            relays: false,
            place: Place::default(),
        }
    }

    fn is_away(&self) -> bool {
        self.since.is_none() && self.dials.is_empty()
    }

    /// Where it relays, if it is connected and does.
    pub(super) fn is_here_and_relays(&self) -> Option<Multiaddr> {
        self.addresses
            .first()
            .filter(|_| self.since.is_some() && self.relays)
            .cloned()
    }
}

/// All introducers.
#[derive(Default)]
pub(super) struct Visits {
    known: HashMap<PeerId, Known>,
}

impl Visits {
    /// Introducers are at these addresses, and those that were `from` there before and are not any more are forgotten.
    pub(super) fn know(&mut self, from: Option<usize>, at: &[PeerAddress], policy: &AddressPolicy) {
        let found = match dialable(at, policy, Membership::None) {
            Ok(found) => found,
            Err(error) => return tracing::debug!(%error, "no introducer there"),
        };
        let named = |peer: &PeerId| found.iter().any(|found| found.peer == *peer);
        self.known.retain(|peer, known| {
            from.is_none() || known.from != from || known.since.is_some() || named(peer)
        });
        for found in &found {
            if self.known.len() >= KNOWN && !self.known.contains_key(&found.peer) {
                tracing::warn!(introducer = %found.peer, "not joined: there are too many introducers");
                continue;
            }
            let known = self.known.entry(found.peer).or_insert_with(|| Known::new(from));
            if known.from == from && from.is_some() {
                known.addresses.clear();
            }
            for address in &found.addresses {
                if known.addresses.len() < ADDRESSES && !known.addresses.contains(address) {
                    known.addresses.push(address.clone());
                }
            }
        }
    }

    pub(super) fn names(&self) -> HashSet<PeerId> {
        self.known.keys().copied().collect()
    }

    pub(super) fn knows(&self, peer: &PeerId) -> bool {
        self.known.contains_key(peer)
    }

    pub(super) fn known_mut(&mut self) -> impl Iterator<Item = (&PeerId, &mut Known)> {
        self.known.iter_mut()
    }

    /// Those that are connected.
    pub(super) fn here(&self) -> Vec<PeerId> {
        let here = self.known.iter().filter(|(_, known)| known.since.is_some());
        here.map(|(peer, _)| *peer).collect()
    }

    /// The addresses at each relay, in an order that stays.
    pub(super) fn places(&self) -> Vec<&[Multiaddr]> {
        let mut places: Vec<_> = self.known.values().map(|known| known.place.addresses()).collect();
        places.sort_unstable();
        places
    }

    /// Whether nobody is here, or on the way.
    pub(super) fn is_alone(&self) -> bool {
        self.known.values().all(Known::is_away)
    }

    /// Whether somebody is to be visited.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.known
            .values()
            .any(|known| known.is_away() && known.next <= now)
    }

    /// When something is to be done next; `places` are wanted or not.
    pub(super) fn deadline(&self, places: bool) -> Option<Instant> {
        let visits = self.known.values().filter(|known| known.is_away());
        let visits = visits.map(|known| known.next);
        let places = self.known.values().filter_map(|known| {
            let here = known.is_here_and_relays().is_some();
            known.place.deadline(here && places)
        });
        visits.chain(places).min()
    }

    /// Dials who is due, over each transport: what an introducer sees of this node is another address for each.
    pub(super) fn visit(&mut self, swarm: &mut Swarm<Behaviour>, now: Instant) {
        for (peer, known) in &mut self.known {
            if !known.is_away() || known.next > now {
                continue;
            }
            if swarm.is_connected(peer) {
                known.since = Some(now);
                continue;
            }
            for address in &known.addresses {
                let table = &mut members(swarm).reach.kademlia;
                table.add_address(peer, address.clone());
            }
            let is_quic = |address: &&Multiaddr| address.iter().any(|part| part == Protocol::QuicV1);
            let (quic, tcp): (Vec<_>, Vec<_>) = known.addresses.iter().partition(is_quic);
            for addresses in [quic, tcp].into_iter().filter(|addresses| !addresses.is_empty()) {
                let opts = DialOpts::peer_id(*peer)
                    .addresses(addresses.into_iter().cloned().collect())
                    .condition(PeerCondition::Always)
                    .build();
                let id = opts.connection_id();
                match swarm.dial(opts) {
                    Ok(()) => {
                        known.dials.insert(id);
                    }
                    Err(error) => tracing::debug!(introducer = %peer, %error, "not dialled"),
                }
            }
            if known.dials.is_empty() {
                known.failures = known.failures.saturating_add(1);
                known.next = after(known.failures);
            }
        }
    }

    pub(super) fn arrived(&mut self, peer: &PeerId, connection: ConnectionId) {
        if let Some(known) = self.known.get_mut(peer) {
            known.dials.remove(&connection);
            known.since.get_or_insert_with(Instant::now);
        }
    }

    pub(super) fn failed(&mut self, connection: ConnectionId, error: &DialError) {
        for (peer, known) in &mut self.known {
            if known.dials.remove(&connection) {
                tracing::debug!(introducer = %peer, %error, "an introducer is not reached");
                if known.is_away() {
                    known.failures = known.failures.saturating_add(1);
                    known.next = after(known.failures);
                }
            }
        }
    }

    /// The last connection is gone. `soon`: this node needs it.
    pub(super) fn left(&mut self, peer: &PeerId, soon: bool) {
        let Some(known) = self.known.get_mut(peer) else {
            return;
        };
        let lasted = known.since.take().is_some_and(|since| since.elapsed() >= STEADY);
        known.relays = false;
        known.failures = if lasted {
            1
        } else {
            known.failures.saturating_add(1)
        };
        known.next = match soon {
            true => after(known.failures),
            false => from_now(VISIT),
        };
    }

    /// Whether this is an introducer, which says what it speaks.
    pub(super) fn met(&mut self, peer: &PeerId, speaks: &[StreamProtocol]) -> bool {
        let Some(known) = self.known.get_mut(peer) else {
            return false;
        };
        known.relays = speaks.contains(&libp2p_relay::HOP_PROTOCOL_NAME);
        true
    }

    /// Everybody is visited soon; where connections may be dead, `lost`, they are closed first.
    pub(super) fn hurry(&mut self, swarm: &mut Swarm<Behaviour>, lost: bool) {
        for (peer, known) in &mut self.known {
            known.failures = 0;
            known.next = from_now(super::WAITS.0);
            if lost && known.since.is_some() {
                let _ = swarm.disconnect_peer_id(*peer);
            }
        }
    }
}
