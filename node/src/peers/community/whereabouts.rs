//! Where a node is, for others: what it listens at, what introducers have dialled with success, and its ends of relays.

use std::sync::{Arc, PoisonError, RwLock};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, Swarm};

use crate::network::AddressPolicy;
use crate::peers::dialable::{ip_of, is_relayed, nameless};
use crate::peers::swarm::Behaviour;

/// Addresses of this node, without its name.
#[derive(Debug, Default)]
pub(in crate::peers) struct Whereabouts {
    /// What is listened at on this machine.
    pub(in crate::peers) listening: Vec<Multiaddr>,
    /// What introducers have dialled with success, and this node's ends of relays.
    pub(in crate::peers) reachable: Vec<Multiaddr>,
    /// Whether nobody can dial what is listened at.
    pub(in crate::peers) is_hidden: bool,
}

/// Shared between the swarm's task and whoever asks.
pub(in crate::peers) type Shown = Arc<RwLock<Whereabouts>>;

/// Lets others know where this node is: at `places` of relays too, and at nothing else while it is `hidden`.
pub(super) fn show(shown: &Shown, swarm: &Swarm<Behaviour>, places: &[&[Multiaddr]], hidden: bool) {
    let mut reachable = direct(swarm);
    reachable.extend(places.iter().flat_map(|place| place.iter().cloned()));
    let mut shown = shown.write().unwrap_or_else(PoisonError::into_inner);
    shown.is_hidden = hidden;
    for address in reachable.iter().filter(|at| !shown.reachable.contains(at)) {
        tracing::info!(%address, "others reach this node here, with its name at the end: publish it in the DNS");
    }
    shown.reachable = reachable;
}

/// This node's own addresses that introducers have dialled, in an order that stays.
pub(super) fn direct(swarm: &Swarm<Behaviour>) -> Vec<Multiaddr> {
    let confirmed = swarm.external_addresses().filter(|at| !is_relayed(at));
    let mut confirmed: Vec<Multiaddr> = confirmed.cloned().map(nameless).collect();
    confirmed.sort_unstable();
    confirmed.dedup();
    confirmed
}

/// Whether an address is a peer's end of this relay, and one that this node itself would dial.
pub(super) fn is_end_of(address: &Multiaddr, relay: PeerId, policy: &AddressPolicy) -> bool {
    if ip_of(address).is_none_or(|ip| policy.check(ip).is_err()) {
        return false;
    }
    let mut parts = address
        .iter()
        .skip_while(|part| !matches!(part, Protocol::P2p(_)));
    parts.next() == Some(Protocol::P2p(relay))
        && parts.next() == Some(Protocol::P2pCircuit)
        && parts.next().is_none()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_names_ends_of_itself_at_public_addresses_and_nothing_else() {
        let (relay, other) = (PeerId::random(), PeerId::random());
        for (text, is_end) in [
            (format!("/ip4/9.9.9.9/tcp/1/p2p/{relay}/p2p-circuit"), true),
            (
                format!("/ip4/9.9.9.9/udp/1/quic-v1/p2p/{relay}/p2p-circuit"),
                true,
            ),
            (format!("/ip4/9.9.9.9/tcp/1/p2p/{other}/p2p-circuit"), false),
            (format!("/ip4/10.0.0.1/tcp/1/p2p/{relay}/p2p-circuit"), false),
            (format!("/dns4/bar.test/tcp/1/p2p/{relay}/p2p-circuit"), false),
            (format!("/ip4/9.9.9.9/tcp/1/p2p/{relay}"), false),
            (
                format!("/ip4/9.9.9.9/tcp/1/p2p/{relay}/p2p-circuit/p2p/{other}"),
                false,
            ),
            ("/ip4/9.9.9.9/tcp/1".to_owned(), false),
        ] {
            let address = text.parse().unwrap();
            assert_eq!(
                is_end_of(&address, relay, &AddressPolicy::public()),
                is_end,
                "{text}"
            );
        }
    }
}
