//! Which peer addresses are dialled (row D04): literal IP addresses that the policy allows, QUIC version 1 or TCP, with
//! the peer's name at the end; in a community also such an address of a relay before that name, and the name alone. Nothing
//! else: no names to resolve again, no relay behind a relay, no other transports.

use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::{PeerAddress, PeerError, key_of};
use crate::network::AddressPolicy;

/// Addresses of one locator that are looked at, and of one peer that are dialled or kept.
pub(super) const ADDRESSES: usize = 8;

/// Whether this node has joined a community, and so speaks of relays and tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    None,
    Member,
}

/// A peer that addresses name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dialable {
    pub(super) peer: PeerId,
    /// Where to dial it: TCP first, which takes less of the processor for each octet, then QUIC, then over relays.
    pub(super) addresses: Vec<Multiaddr>,
    /// Whether it is looked for in the community's table when it is nowhere else.
    pub(super) sought: bool,
}

/// The peers that these addresses name, in their order.
///
/// # Errors
/// [`PeerError::NoAddress`] when none is left.
pub(super) fn dialable(
    at: &[PeerAddress],
    policy: &AddressPolicy,
    membership: Membership,
) -> Result<Vec<Dialable>, PeerError> {
    let mut peers: Vec<Dialable> = Vec::new();
    let mut refused = Vec::new();
    for PeerAddress(text) in at.iter().take(ADDRESSES) {
        let found = match read(text, policy, membership) {
            Ok(found) => found,
            Err(why) => {
                refused.push(format!("{}: {why}", text.chars().take(128).collect::<String>()));
                continue;
            }
        };
        match peers.iter_mut().find(|known| known.peer == found.peer) {
            Some(known) => {
                known.addresses.extend(found.addresses);
                known.sought |= found.sought;
            }
            None => peers.push(found),
        }
    }
    if peers.is_empty() {
        return Err(PeerError::NoAddress(refused));
    }
    for known in &mut peers {
        known.addresses.sort_by_key(|address| {
            let has = |wanted| address.iter().any(|part| part == wanted);
            (has(Protocol::P2pCircuit), has(Protocol::QuicV1))
        });
    }
    if !refused.is_empty() {
        tracing::debug!(?refused, "peer addresses skipped");
    }
    Ok(peers)
}

fn read(text: &str, policy: &AddressPolicy, membership: Membership) -> Result<Dialable, String> {
    let text = text.strip_prefix("dnsaddr=").unwrap_or(text);
    let address: Multiaddr = text.parse().map_err(|_| "not a multiaddr".to_owned())?;
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let member = membership == Membership::Member;
    let only = "that only a node dials which has joined a community ([peers] communities)";
    let (peer, addresses) = match parts.as_slice() {
        [Protocol::P2p(peer)] if member => (*peer, Vec::new()),
        [Protocol::P2p(_)] => return Err(format!("a name without an address, {only}")),
        [
            relay @ ..,
            Protocol::P2p(over),
            Protocol::P2pCircuit,
            Protocol::P2p(peer),
        ] => {
            let relay = direct(relay, policy)?;
            if !member {
                return Err(format!("an address over a relay, {only}"));
            }
            if over == peer {
                return Err("a peer that is its own relay".to_owned());
            }
            let address = relay
                .with(Protocol::P2p(*over))
                .with(Protocol::P2pCircuit)
                .with(Protocol::P2p(*peer));
            (*peer, vec![address])
        }
        [place @ .., Protocol::P2p(peer)] => (*peer, vec![direct(place, policy)?.with(Protocol::P2p(*peer))]),
        _ => return Err(NO_SHAPE.to_owned()),
    };
    if key_of(&peer).is_none() {
        return Err("the peer id is not of an Ed25519 key".to_owned());
    }
    Ok(Dialable {
        peer,
        sought: addresses.is_empty(),
        addresses,
    })
}

const NO_SHAPE: &str = "not /ip4 or /ip6 with /tcp or /udp/…/quic-v1 and /p2p";

/// An address at which somebody listens, without a name, in the notation that the network uses.
fn direct(parts: &[Protocol<'_>], policy: &AddressPolicy) -> Result<Multiaddr, String> {
    let (ip, transport) = match parts {
        [ip, transport @ Protocol::Tcp(_)] => (ip, vec![transport.clone()]),
        [ip, udp @ Protocol::Udp(_), quic @ Protocol::QuicV1] => (ip, vec![udp.clone(), quic.clone()]),
        _ => return Err(NO_SHAPE.to_owned()),
    };
    let ip = match ip {
        Protocol::Ip4(v4) => IpAddr::V4(*v4),
        Protocol::Ip6(v6) => IpAddr::V6(*v6),
        _ => return Err("not a literal IP address".to_owned()),
    };
    let checked = policy.check(ip).map_err(|forbidden| forbidden.to_string())?;
    let mut address = Multiaddr::from(checked);
    transport.into_iter().for_each(|protocol| address.push(protocol));
    Ok(address)
}

/// An address at which somebody listens and nothing more, with or without their name, as it is dialled. libp2p's TCP reads an address from
/// its end, and what is checked has to be what is dialled.
///
/// # Errors
/// When it has another shape, or the policy forbids it.
pub(super) fn place(address: &Multiaddr, policy: &AddressPolicy) -> Result<Multiaddr, String> {
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    match parts.as_slice() {
        [place @ .., Protocol::P2p(peer)] => Ok(direct(place, policy)?.with(Protocol::P2p(*peer))),
        place => direct(place, policy),
    }
}

/// The IP address with which an address begins.
pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(v4) => Some(v4.into()),
        Protocol::Ip6(v6) => Some(v6.into()),
        _ => None,
    }
}

/// Whether an address is one that more than this machine, or this one line of it, could use.
pub(super) fn is_routed(address: &Multiaddr) -> bool {
    match ip_of(address) {
        Some(IpAddr::V4(v4)) => !v4.is_loopback() && !v4.is_link_local(),
        Some(IpAddr::V6(v6)) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        None => false,
    }
}

/// Whether an address leads over a relay.
pub(super) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// An address without the name of the peer at its end.
pub(super) fn nameless(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}
