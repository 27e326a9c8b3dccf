//! Which peer addresses are dialled (row D04): literal IP addresses that the policy allows, QUIC version 1 or TCP, with
//! the peer's name at the end. Nothing else: no names to resolve again, no relays, no other transports.

use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::{PeerAddress, PeerError, key_of};
use crate::network::AddressPolicy;

/// Addresses of one locator that are looked at.
const ADDRESSES: usize = 8;

/// The peers that these addresses name, in their order, each with the addresses to dial it at: TCP first, which takes less
/// of the processor for each octet, then QUIC.
///
/// # Errors
/// [`PeerError::NoAddress`] when none is left.
pub(super) fn dialable(
    at: &[PeerAddress],
    policy: &AddressPolicy,
) -> Result<Vec<(PeerId, Vec<Multiaddr>)>, PeerError> {
    let mut peers: Vec<(PeerId, Vec<Multiaddr>)> = Vec::new();
    let mut refused = Vec::new();
    for PeerAddress(text) in at.iter().take(ADDRESSES) {
        match read(text, policy) {
            Err(why) => refused.push(format!("{}: {why}", text.chars().take(128).collect::<String>())),
            Ok((peer, address)) => match peers.iter_mut().find(|(known, _)| *known == peer) {
                Some((_, addresses)) => addresses.push(address),
                None => peers.push((peer, vec![address])),
            },
        }
    }
    if peers.is_empty() {
        return Err(PeerError::NoAddress(refused));
    }
    for (_, addresses) in &mut peers {
        addresses.sort_by_key(|address| address.iter().any(|part| part == Protocol::QuicV1));
    }
    if !refused.is_empty() {
        tracing::debug!(?refused, "peer addresses skipped");
    }
    Ok(peers)
}

fn read(text: &str, policy: &AddressPolicy) -> Result<(PeerId, Multiaddr), String> {
    let text = text.strip_prefix("dnsaddr=").unwrap_or(text);
    let address: Multiaddr = text.parse().map_err(|_| "not a multiaddr".to_owned())?;
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let (ip, transport, peer) = match parts.as_slice() {
        [ip, tcp @ Protocol::Tcp(_), Protocol::P2p(peer)] => (ip, vec![tcp.clone()], peer),
        [
            ip,
            udp @ Protocol::Udp(_),
            quic @ Protocol::QuicV1,
            Protocol::P2p(peer),
        ] => (ip, vec![udp.clone(), quic.clone()], peer),
        _ => return Err("not /ip4 or /ip6 with /tcp or /udp/…/quic-v1 and /p2p".to_owned()),
    };
    let ip = match ip {
        Protocol::Ip4(v4) => IpAddr::V4(*v4),
        Protocol::Ip6(v6) => IpAddr::V6(*v6),
        _ => return Err("not a literal IP address".to_owned()),
    };
    if key_of(peer).is_none() {
        return Err("the peer id is not of an Ed25519 key".to_owned());
    }
    let checked = policy.check(ip).map_err(|forbidden| forbidden.to_string())?;
    let mut address = Multiaddr::from(checked);
    transport.into_iter().for_each(|protocol| address.push(protocol));
    Ok((*peer, address.with(Protocol::P2p(*peer))))
}
