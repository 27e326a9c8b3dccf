//! Nodes of people at home, and what they say to each other.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cargomail_node::clock::SystemClock;
use cargomail_node::dns::{Resolver, ResolverOptions, Zone};
use cargomail_node::identity::Identity;
use cargomail_node::network::AddressPolicy;
use cargomail_node::peers::{
    Host, HostOptions, Introducer, Joining, PeerAddress, PeerStream, Peers, Relaying, Spoken,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A node's options: of nobody's community.
pub(crate) fn alone() -> HostOptions {
    HostOptions {
        quic: Some(ANYWHERE),
        tcp: Some(ANYWHERE),
        policy: AddressPolicy::allowing_loopback(),
        ..HostOptions::default()
    }
}

pub(crate) async fn zone() -> Zone {
    Zone::start(ANYWHERE).await.unwrap()
}

/// Options of a member, who looks up names in this zone.
pub(crate) fn member(introducers: Vec<Introducer>, relay: Relaying, zone: &Zone) -> HostOptions {
    let options = ResolverOptions {
        servers: vec![zone.local_addr()],
        ..ResolverOptions::default()
    };
    HostOptions {
        joining: Some(Joining {
            introducers,
            relay,
            dns: Arc::new(Resolver::new(&options, Arc::new(SystemClock)).unwrap()),
        }),
        ..alone()
    }
}

pub(crate) fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

pub(crate) async fn host(seed: u8, options: HostOptions) -> Host {
    Host::start(&identity(seed), options).await.unwrap()
}

/// Answers every stream with what it says, as it comes.
pub(crate) fn echo(host: &Host) {
    let host = host.clone();
    tokio::spawn(async move {
        while let Some(stream) = host.accept(Spoken::Exchange).await {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(stream.io);
                let mut octet = [0; 64];
                while let Ok(count @ 1..) = read.read(&mut octet).await {
                    if write.write_all(&octet[..count]).await.is_err() || write.flush().await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Says a word, and whether it came back.
pub(crate) async fn says(stream: &mut PeerStream, word: &[u8]) -> bool {
    let answered = async {
        stream.io.write_all(word).await?;
        stream.io.flush().await?;
        let mut heard = vec![0; word.len()];
        stream.io.read_exact(&mut heard).await?;
        Ok::<_, std::io::Error>(heard)
    };
    let answered = tokio::time::timeout(Duration::from_secs(10), answered).await;
    matches!(answered, Ok(Ok(heard)) if heard == word)
}

/// Waits until it is so.
pub(crate) async fn until<T>(mut is_so: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = is_so().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .unwrap()
}

/// The node's addresses, once one of them is like this.
pub(crate) async fn at(host: &Host, part: &str) -> Vec<PeerAddress> {
    until(async || {
        let addresses = host.addresses();
        let found = addresses.iter().any(|address| address.0.contains(part));
        found.then_some(addresses)
    })
    .await
}
