//! Loopback addresses and free ports: one address for each site, so that the town looks like a network, and so that every
//! site can take mail at the same port, as MX records want it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, bail};

use crate::clock::{Randomness, SystemRandomness};

/// How often ports are looked for.
const TRIES: usize = 32;

/// The ports of one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The loopback address of all its faces.
    pub address: IpAddr,
    /// Notifications and the web channel.
    pub grip: u16,
    /// People's programs.
    pub user: u16,
    /// libp2p, over QUIC and over TCP.
    pub peers: u16,
    /// Mail; the same at every site of the town.
    pub smtp: u16,
}

impl Ports {
    /// One of the ports, at the site's address.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// Free ports at an address.
    pub(super) fn choose(address: IpAddr, smtp: u16) -> anyhow::Result<Self> {
        let mut found = Vec::new();
        while found.len() < 3 {
            let port = free(address)?;
            if port != smtp && !found.contains(&port) {
                found.push(port);
            }
        }
        let [grip, user, peers] = found[..] else {
            bail!("three ports were looked for");
        };
        Ok(Self {
            address,
            grip,
            user,
            peers,
            smtp,
        })
    }
}

/// Addresses of a network below 127.0.0.0/8 that no other town is likely to have.
pub(super) fn addresses(count: usize) -> Vec<IpAddr> {
    let mut random = [0_u8; 2];
    SystemRandomness.fill(&mut random);
    let [second, third] = random;
    let last = 1..=u8::try_from(count.clamp(1, 250)).unwrap_or(250);
    last.map(|last| IpAddr::V4(Ipv4Addr::new(127, second | 1, third, last)))
        .collect()
}

/// The address of the DNS server: that of the first site.
pub(super) fn first(addresses: &[IpAddr]) -> IpAddr {
    addresses
        .first()
        .copied()
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// A port that is free for TCP and UDP at an address.
fn free(address: IpAddr) -> anyhow::Result<u16> {
    for _ in 0..TRIES {
        let listener = TcpListener::bind(SocketAddr::new(address, 0))
            .with_context(|| format!("{address} cannot be listened at: is it a loopback address here?"))?;
        let port = listener.local_addr()?.port();
        if UdpSocket::bind(SocketAddr::new(address, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free at {address}");
}

/// A port that is free at every address.
pub(super) fn common(addresses: &[IpAddr]) -> anyhow::Result<u16> {
    for _ in 0..TRIES {
        let port = free(first(addresses))?;
        let bound: Result<Vec<_>, _> = addresses
            .iter()
            .map(|address| TcpListener::bind(SocketAddr::new(*address, port)))
            .collect();
        if bound.is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free at all of {addresses:?}");
}
