//! Where a node says that its libp2p node is: only what other nodes dial, without the node's name.

use std::net::{IpAddr, SocketAddr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::BadValue;
use super::settings::{bad, named};

/// An address that is to be announced, without this node's name at its end, which is added where it is published.
pub(super) fn written(text: &str) -> Result<String, BadValue> {
    const KEY: &str = "peers.announce";
    let way_out = "write multiaddrs as /ip4/203.0.113.5/udp/4001/quic-v1 or /ip4/203.0.113.5/tcp/4001";
    let mut address: Multiaddr = named(KEY, text, way_out)?;
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let leads = match parts.as_slice() {
        [ip, Protocol::Tcp(port)] | [ip, Protocol::Udp(port), Protocol::QuicV1] => {
            let unspecified = match ip {
                Protocol::Ip4(ip) => ip.is_unspecified(),
                Protocol::Ip6(ip) => ip.is_unspecified(),
                _ => true,
            };
            *port != 0 && !unspecified
        }
        _ => false,
    };
    match leads {
        true => Ok(address.to_string()),
        false => Err(bad(
            KEY,
            format!("{text:?} is nothing that other nodes dial"),
            way_out,
        )),
    }
}

/// The public addresses with the ports that are listened at. A port that the system chooses is not known yet.
pub(super) fn listened(public: &[IpAddr], quic: Option<SocketAddr>, tcp: Option<SocketAddr>) -> Vec<String> {
    let ports = |at: Option<SocketAddr>| at.map(|at| at.port());
    if [ports(quic), ports(tcp)].contains(&Some(0)) {
        return Vec::new();
    }
    let mut addresses = Vec::new();
    for ip in public {
        let fits = |at: &SocketAddr| at.is_ipv6() || ip.is_ipv4();
        if let Some(at) = quic.filter(fits) {
            let address = Multiaddr::from(*ip).with(Protocol::Udp(at.port()));
            addresses.push(address.with(Protocol::QuicV1).to_string());
        }
        if let Some(at) = tcp.filter(fits) {
            addresses.push(Multiaddr::from(*ip).with(Protocol::Tcp(at.port())).to_string());
        }
    }
    addresses
}
