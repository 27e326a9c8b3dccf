//! The swarm: QUIC, and TCP with TLS; identify, ping and a Kademlia server that keeps addresses and nothing else.
//!
//! What always holds: no record and no provider is stored, whoever asks for it; a peer's addresses are its own words, so
//! they are introductions and never trust: whoever dials one checks the key (row L04 of the threats).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use cargomail_protocol::limits;
use futures::StreamExt;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, kad, ping, yamux};
use tokio::sync::oneshot;

use crate::settings::{PassOn, Settings};

/// The community's own table, apart from every public one.
const KADEMLIA: StreamProtocol = StreamProtocol::new("/cargomail/kad/1.0.0");
/// Connections in all: more than a node's, because a lookup holds one for seconds only and its windows are small.
const CONNECTIONS: u32 = 4 * limits::PEER_CONNECTIONS;
/// A connection on which nothing is asked is closed after this long.
const IDLE: Duration = Duration::from_secs(30);
/// Addresses of one peer that are kept.
const ADDRESSES: usize = 8;
/// Streams of one connection: a lookup needs one at a time.
const STREAMS: usize = 32;

/// What is written, and for whom.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output {
    Text,
    Json,
}

/// What there is to tell.
pub(crate) enum News {
    /// Peers can be sent here; ends in `/p2p/<peer id>`.
    Listening(Multiaddr),
    /// Everything is closed.
    Stopped,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    kademlia: kad::Behaviour<MemoryStore>,
}

/// Serves until `stop` is sent.
pub(crate) async fn serve(
    settings: &Settings,
    mut stop: oneshot::Receiver<()>,
    tell: impl Fn(News),
) -> anyhow::Result<()> {
    let mut swarm = swarm(settings)?;
    let quic = listen_at(settings.quic, |port| vec![Protocol::Udp(port), Protocol::QuicV1]);
    let tcp = listen_at(settings.tcp, |port| vec![Protocol::Tcp(port)]);
    for at in [quic, tcp] {
        swarm
            .listen_on(at.clone())
            .with_context(|| format!("cannot listen at {at}"))?;
    }
    let own = *swarm.local_peer_id();
    loop {
        let event = tokio::select! {
            _ = &mut stop => break,
            event = swarm.select_next_some() => event,
        };
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                tell(News::Listening(address.with(Protocol::P2p(own))))
            }
            SwarmEvent::ListenerClosed {
                reason, addresses, ..
            } => {
                reason.with_context(|| format!("the listener at {addresses:?} is gone"))?;
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => introduce(&mut swarm, peer_id, info, settings.pass_on),
            _ => {}
        }
    }
    close(&mut swarm).await;
    tell(News::Stopped);
    Ok(())
}

fn listen_at(at: SocketAddr, transport: impl Fn(u16) -> Vec<Protocol<'static>>) -> Multiaddr {
    transport(at.port())
        .into_iter()
        .fold(Multiaddr::from(at.ip()), Multiaddr::with)
}

fn swarm(settings: &Settings) -> anyhow::Result<Swarm<Behaviour>> {
    let keys = settings.keys.clone();
    let own = keys.public().to_peer_id();
    let connections = ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits::PEERS_PENDING))
        .with_max_pending_outgoing(Some(limits::PEERS_PENDING))
        .with_max_established(Some(CONNECTIONS))
        .with_max_established_per_peer(Some(limits::CONNECTIONS_PER_PEER));
    let identify = identify::Config::new("/cargomail/1.0.0".to_owned(), keys.public())
        .with_agent_version("cargomail-bootstrap".to_owned())
        .with_cache_size(0);
    let store = MemoryStoreConfig {
        max_records: 0,
        max_provided_keys: 0,
        ..MemoryStoreConfig::default()
    };
    let mut table = kad::Config::new(KADEMLIA);
    // Whatever a peer wants to have stored becomes an event, which nobody here handles.
    table
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    let mut kademlia = kad::Behaviour::with_config(own, MemoryStore::with_config(own, store), table);
    kademlia.set_mode(Some(kad::Mode::Server));
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(connections),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new()),
        kademlia,
    };
    let muxer = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS);
        config
    };
    Ok(SwarmBuilder::with_existing_identity(keys)
        .with_tokio()
        .with_tcp(
            libp2p::tcp::Config::default().nodelay(true),
            libp2p::tls::Config::new,
            muxer,
        )?
        .with_quic_config(|mut config| {
            config.max_concurrent_stream_limit = STREAMS as u32;
            config.max_stream_data = 64 * 1024;
            config.max_connection_data = 256 * 1024;
            config
        })
        .with_behaviour(|_| behaviour)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build())
}

/// Puts a peer that serves the table into it, at the addresses that others can use.
fn introduce(swarm: &mut Swarm<Behaviour>, peer: PeerId, info: identify::Info, pass_on: PassOn) {
    if !info.protocols.contains(&KADEMLIA) {
        return;
    }
    let usable = info
        .listen_addrs
        .into_iter()
        .filter(|address| is_usable(address, pass_on));
    for address in usable.take(ADDRESSES) {
        tracing::debug!(%peer, %address, "introduced");
        swarm.behaviour_mut().kademlia.add_address(&peer, address);
    }
}

/// Whether an address is a literal IP address with QUIC version 1 or TCP, and one to pass on.
fn is_usable(address: &Multiaddr, pass_on: PassOn) -> bool {
    let parts: Vec<Protocol<'_>> = address
        .iter()
        .filter(|part| !matches!(part, Protocol::P2p(_)))
        .collect();
    let ip: IpAddr = match parts.first() {
        Some(Protocol::Ip4(v4)) => (*v4).into(),
        Some(Protocol::Ip6(v6)) => (*v6).into(),
        _ => return false,
    };
    let transport = matches!(
        parts.get(1..),
        Some([Protocol::Tcp(_)] | [Protocol::Udp(_), Protocol::QuicV1])
    );
    transport && (pass_on == PassOn::All || is_public(ip.to_canonical()))
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let carrier = v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_documentation();
            !special && !carrier && v4.octets()[0] != 0 && v4.octets()[0] < 224
        }
        // Only 2000::/3 has been given out for the public Internet.
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000 && v6.segments()[..2] != [0x2001, 0xdb8],
    }
}

/// Says goodbye to every peer, for a second at most.
async fn close(swarm: &mut Swarm<Behaviour>) {
    let peers: Vec<PeerId> = swarm.connected_peers().copied().collect();
    for peer in peers {
        let _ = swarm.disconnect_peer_id(peer);
    }
    let farewell = async {
        while swarm.connected_peers().next().is_some() {
            swarm.select_next_some().await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
}
