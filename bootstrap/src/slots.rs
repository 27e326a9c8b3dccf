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

/// How long a circuit counts whose destination does not answer: longer than the relay waits for it.
const ANSWER: Duration = Duration::from_secs(120);

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
    /// None while the destination has not answered.
    to: Option<PeerId>,
    /// From which it was asked for.
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

    /// Whether a peer may begin a circuit from this address; if so it counts from now on.
    pub(crate) fn may_connect(&self, peer: PeerId, from: &Multiaddr, now: Instant) -> bool {
        Network::of(from).is_some_and(|network| self.places().may_connect(peer, network, now))
    }

    /// A circuit stands.
    pub(crate) fn connected(&self, from: PeerId, to: PeerId, now: Instant) {
        let mut places = self.places();
        let until = now + Duration::from_secs(places.bounds.circuit_seconds.into());
        if let Some(asked) = places.asked(from) {
            (asked.to, asked.until) = (Some(to), until);
        }
    }

    /// A circuit that was asked for does not come about.
    pub(crate) fn failed(&self, from: PeerId) {
        let circuits = &mut self.places().circuits;
        if let Some(at) = circuits
            .iter()
            .position(|circuit| circuit.from == from && circuit.to.is_none())
        {
            circuits.swap_remove(at);
        }
    }

    /// A circuit ended.
    pub(crate) fn disconnected(&self, from: PeerId, to: PeerId) {
        let circuits = &mut self.places().circuits;
        if let Some(at) = circuits
            .iter()
            .position(|circuit| circuit.from == from && circuit.to == Some(to))
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

    /// The first circuit that a peer asked for and that does not stand yet.
    fn asked(&mut self, from: PeerId) -> Option<&mut Circuit> {
        let mut circuits = self.circuits.iter_mut();
        circuits.find(|circuit| circuit.from == from && circuit.to.is_none())
    }

    fn may_connect(&mut self, peer: PeerId, network: Network, now: Instant) -> bool {
        if !self.asking.take(network, now) {
            return false;
        }
        self.expire(now);
        let of_network = self
            .circuits
            .iter()
            .filter(|circuit| circuit.network == network)
            .count();
        let free = of_network < self.bounds.circuits_per_network;
        if free {
            self.circuits.push(Circuit {
                from: peer,
                to: None,
                network,
                until: now + ANSWER,
            });
        }
        free
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
        let [alice, bob, carol] = std::array::from_fn(|_| PeerId::random());
        let (from, later) = (at("9.0.0.1"), now + Duration::from_secs(10));
        assert!(slots.may_connect(alice, &from, now));
        // It counts before its destination has answered, too.
        assert!(!slots.may_connect(carol, &at("9.0.0.7"), now));
        slots.connected(alice, bob, now);
        assert!(!slots.may_connect(carol, &at("9.0.0.7"), now));
        assert!(slots.may_connect(carol, &at("9.0.1.7"), now));
        slots.failed(carol);
        slots.disconnected(alice, bob);
        assert!(slots.may_connect(alice, &from, now));
        slots.connected(alice, bob, now);
        assert!(slots.may_connect(alice, &from, later));
        slots.failed(alice);
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
