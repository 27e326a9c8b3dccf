//! Addresses: which network one belongs to, and which ones are used and passed on.
//!
//! A network is an IPv4 /24 or an IPv6 /48: what one customer of an access provider usually has, and so the unit in which a
//! stranger gets many addresses at no cost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// An IPv4 /24 or an IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4([u8; 3]),
    V6([u16; 3]),
}

impl From<IpAddr> for Network {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, ..] = v6.segments();
                Self::V6([a, b, c])
            }
        }
    }
}

impl Network {
    /// The network of an address that begins with an IP address; nothing else is ever connected to or from.
    pub(crate) fn of(address: &Multiaddr) -> Option<Self> {
        ip_of(address).map(Self::from)
    }
}

/// Which addresses are dialled and passed on to other peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of the public Internet.
    Public,
    /// Private and loopback ones too.
    All,
}

impl Reach {
    /// Whether this address is within reach, whatever stands behind its IP address.
    pub(crate) fn covers(self, address: &Multiaddr) -> bool {
        ip_of(address).is_some_and(|ip| self.covers_ip(ip))
    }

    /// The same for a plain IP address.
    pub(crate) fn covers_ip(self, ip: IpAddr) -> bool {
        self == Self::All || is_public(ip.to_canonical())
    }
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(v4) => Some(v4.into()),
        Protocol::Ip6(v6) => Some(v6.into()),
        _ => None,
    }
}

/// Whether an address ends where a peer itself listens: an IP address with QUIC version 1 or TCP, and nothing behind it but
/// perhaps the name of the peer.
pub(crate) fn is_direct(address: &Multiaddr) -> bool {
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let parts = match parts.split_last() {
        Some((Protocol::P2p(_), rest)) => rest,
        _ => &parts,
    };
    matches!(
        parts,
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)]
            | [
                Protocol::Ip4(_) | Protocol::Ip6(_),
                Protocol::Udp(_),
                Protocol::QuicV1
            ]
    )
}

/// Whether an address leads over the relay `over`, and is a peer's end of it.
pub(crate) fn is_relayed(address: &Multiaddr, over: PeerId) -> bool {
    let mut parts = address
        .iter()
        .skip_while(|part| !matches!(part, Protocol::P2p(_)));
    parts.next() == Some(Protocol::P2p(over))
        && parts.next() == Some(Protocol::P2pCircuit)
        && matches!(parts.next(), None | Some(Protocol::P2p(_)))
        && parts.next().is_none()
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// What the registry of special-purpose addresses (RFC 6890) leaves, without multicast and what is reserved.
fn is_public_v4(v4: Ipv4Addr) -> bool {
    let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_documentation();
    let set_aside = match v4.octets() {
        [0 | 224.., ..] | [192, 0, 0, _] | [192, 88, 99, _] => true,
        [100, b, ..] => (64..128).contains(&b),
        [198, b, ..] => b & 0xfe == 18,
        _ => false,
    };
    !special && !set_aside
}

/// Only 2000::/3 has been given out for the public Internet; in it, 2001::/23 and 2002::/16 hold tunnels that lead to any
/// IPv4 address, and 2001:db8::/32 is for documents.
fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, ..] = v6.segments();
    a & 0xe000 == 0x2000 && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && a != 0x2002
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_is_a_24_or_a_48() {
        let of = |ip: &str| Network::from(ip.parse::<IpAddr>().unwrap());
        assert_eq!(of("198.51.100.1"), of("198.51.100.254"));
        assert_ne!(of("198.51.100.1"), of("198.51.101.1"));
        assert_eq!(of("::ffff:198.51.100.1"), of("198.51.100.9"));
        assert_eq!(of("2001:db8:5:1::1"), of("2001:db8:5:ffff::2"));
        assert_ne!(of("2001:db8:5::1"), of("2001:db8:6::1"));
    }

    #[test]
    fn private_and_special_addresses_are_out_of_reach() {
        for ip in [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.1",
            "198.18.0.1",
            "203.0.113.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert!(!Reach::Public.covers_ip(ip), "{ip}");
            assert!(Reach::All.covers_ip(ip));
        }
        for ip in ["9.9.9.9", "100.128.0.1", "2a00:1450::1", "2001:4860::1"] {
            assert!(Reach::Public.covers_ip(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn a_direct_address_ends_at_the_peer_and_a_relayed_one_at_this_relay() {
        let (own, other) = (PeerId::random(), PeerId::random());
        for (text, direct, relayed) in [
            ("/ip4/9.9.9.9/tcp/1".to_owned(), true, false),
            (format!("/ip4/9.9.9.9/udp/1/quic-v1/p2p/{other}"), true, false),
            ("/ip4/9.9.9.9/udp/1".to_owned(), false, false),
            ("/ip4/9.9.9.9".to_owned(), false, false),
            ("/dns4/bar.com/tcp/1".to_owned(), false, false),
            ("/ip4/9.9.9.9/tcp/1/tcp/2".to_owned(), false, false),
            (format!("/ip4/9.9.9.9/tcp/1/p2p/{own}/p2p-circuit"), false, true),
            (
                format!("/ip4/9.9.9.9/tcp/1/p2p/{own}/p2p-circuit/p2p/{other}"),
                false,
                true,
            ),
            (
                format!("/ip4/9.9.9.9/tcp/1/p2p/{other}/p2p-circuit"),
                false,
                false,
            ),
            (
                format!("/ip4/9.9.9.9/tcp/1/p2p/{own}/p2p-circuit/p2p/{other}/p2p-circuit"),
                false,
                false,
            ),
        ] {
            assert_eq!(is_direct(&address(&text)), direct, "{text}");
            assert_eq!(is_relayed(&address(&text), own), relayed, "{text}");
        }
    }
}
