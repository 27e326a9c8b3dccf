//! Who holds the relay's places: reservations and circuits, in all and for one network, and how often they are asked for.
//!
//! libp2p's relay counts circuits in all, and both for one peer; this counts the rest. It counts reservations in all too,
//! because there a full relay refuses even the peers whose reservations it holds when they renew them.
//!
//! What always holds: a peer's place ends with its time or with its last connection, whichever comes first; so nothing is
//! counted that is no longer there for longer than a reservation or a circuit lasts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use crate::config::RelaySection;
use crate::network::Network;
use crate::pace::Pace;

/// The places, shared with the relay, which asks before it grants one.
#[derive(Clone)]
pub(crate) struct Slots(Arc<Mutex<Places>>);

struct Places {
    bounds: RelaySection,
    reservations: HashMap<PeerId, Reservation>,
    circuits: Vec<Circuit>,
    asking: Pace<Network>,
}

struct Reservation {
    network: Network,
    until: Instant,
}

struct Circuit {
    from: PeerId,
    to: PeerId,
    network: Network,
    until: Instant,
}

impl Slots {
    pub(crate) fn new(bounds: RelaySection) -> Self {
        let asking = Pace::new(
            bounds.requests_per_minute,
            bounds.requests_per_minute_per_network,
            Instant::now(),
        );
        Self(Arc::new(Mutex::new(Places {
            bounds,
            reservations: HashMap::new(),
            circuits: Vec::new(),
            asking,
        })))
    }

    /// Whether a peer may reserve a place, or keep the one it has; if so it holds it from now on.
    pub(crate) fn reserve(&self, peer: PeerId, from: &Multiaddr, now: Instant) -> bool {
        Network::of(from).is_some_and(|network| self.places().reserve(peer, network, now))
    }

    /// Whether a circuit may be begun from this address. It counts once it stands: [`Slots::connected`].
    pub(crate) fn may_connect(&self, from: &Multiaddr, now: Instant) -> bool {
        Network::of(from).is_some_and(|network| self.places().may_connect(network, now))
    }

    /// A circuit stands.
    pub(crate) fn connected(&self, from: PeerId, to: PeerId, network: Network, now: Instant) {
        let mut places = self.places();
        let until = now + Duration::from_secs(places.bounds.circuit_seconds.into());
        places.circuits.push(Circuit {
            from,
            to,
            network,
            until,
        });
    }

    /// A circuit ended.
    pub(crate) fn disconnected(&self, from: PeerId, to: PeerId) {
        let circuits = &mut self.places().circuits;
        if let Some(at) = circuits
            .iter()
            .position(|circuit| circuit.from == from && circuit.to == to)
        {
            circuits.swap_remove(at);
        }
    }

    /// A peer has no connection any more.
    pub(crate) fn left(&self, peer: &PeerId) {
        self.places().reservations.remove(peer);
    }

    /// Reservations and circuits that there are.
    pub(crate) fn held(&self, now: Instant) -> (usize, usize) {
        let mut places = self.places();
        places.expire(now);
        (places.reservations.len(), places.circuits.len())
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn expire(&mut self, now: Instant) {
        self.reservations.retain(|_, held| held.until > now);
        self.circuits.retain(|circuit| circuit.until > now);
    }

    fn reserve(&mut self, peer: PeerId, network: Network, now: Instant) -> bool {
        if !self.asking.take(network, now) {
            return false;
        }
        self.expire(now);
        let others = |held: &(&PeerId, &Reservation)| *held.0 != peer;
        let in_all = self.reservations.iter().filter(others).count();
        let of_network = self
            .reservations
            .iter()
            .filter(others)
            .filter(|(_, held)| held.network == network)
            .count();
        let free = in_all < self.bounds.reservations && of_network < self.bounds.reservations_per_network;
        if free {
            let until = now + Duration::from_secs(self.bounds.reservation_seconds.into());
            self.reservations.insert(peer, Reservation { network, until });
        }
        free
    }

    fn may_connect(&mut self, network: Network, now: Instant) -> bool {
        if !self.asking.take(network, now) {
            return false;
        }
        self.expire(now);
        let of_network = self
            .circuits
            .iter()
            .filter(|circuit| circuit.network == network)
            .count();
        of_network < self.bounds.circuits_per_network
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(ip: &str) -> Multiaddr {
        format!("/ip4/{ip}/tcp/1").parse().unwrap()
    }

    fn slots() -> Slots {
        Slots::new(RelaySection {
            reservations: 3,
            reservations_per_network: 2,
            reservation_seconds: 60,
            circuits_per_network: 1,
            circuit_seconds: 10,
            requests_per_minute: 20,
            requests_per_minute_per_network: 8,
            ..RelaySection::default()
        })
    }

    #[test]
    fn one_network_takes_its_share_of_reservations_and_another_the_rest() {
        let (slots, now) = (slots(), Instant::now());
        let [alice, bob, carol, dave] = std::array::from_fn(|_| PeerId::random());
        assert!(slots.reserve(alice, &at("9.0.0.1"), now) && slots.reserve(bob, &at("9.0.0.2"), now));
        assert!(!slots.reserve(carol, &at("9.0.0.3"), now));
        assert!(slots.reserve(carol, &at("9.0.1.3"), now));
        assert!(!slots.reserve(dave, &at("9.0.2.4"), now));
        // Who holds one keeps it, also when all are taken.
        assert!(slots.reserve(alice, &at("9.0.0.1"), now));
        slots.left(&bob);
        assert!(slots.reserve(dave, &at("9.0.2.4"), now));
        assert_eq!(slots.held(now).0, 3);
        assert_eq!(slots.held(now + Duration::from_secs(60)).0, 0);
    }

    #[test]
    fn one_network_takes_its_share_of_circuits_until_they_end_or_their_time_is_over() {
        let (slots, now) = (slots(), Instant::now());
        let [alice, bob] = std::array::from_fn(|_| PeerId::random());
        let (from, later) = (at("9.0.0.1"), now + Duration::from_secs(10));
        assert!(slots.may_connect(&from, now));
        slots.connected(alice, bob, Network::of(&from).unwrap(), now);
        assert!(!slots.may_connect(&at("9.0.0.7"), now));
        assert!(slots.may_connect(&at("9.0.1.7"), now));
        slots.disconnected(alice, bob);
        assert!(slots.may_connect(&from, now));
        slots.connected(alice, bob, Network::of(&from).unwrap(), now);
        assert!(slots.may_connect(&from, later));
        assert_eq!(slots.held(later).1, 0);
    }

    #[test]
    fn one_network_asks_only_so_often() {
        let (slots, now) = (slots(), Instant::now());
        let alice = PeerId::random();
        assert!((0..8).all(|_| slots.reserve(alice, &at("9.0.0.1"), now)));
        assert!(!slots.reserve(alice, &at("9.0.0.1"), now));
        assert!(slots.reserve(PeerId::random(), &at("9.0.1.1"), now));
    }
}
