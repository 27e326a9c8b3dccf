//! The swarm of a node: what it speaks, over which transports, and where it listens. What is bounded here is bounded for each
//! connection; [`Crowd`] bounds how many there are.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use cargomail_protocol::limits;
use libp2p::core::Transport;
use libp2p::core::transport::{ListenerId, OptionalTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, identify, ping, quic, tcp, tls};
use libp2p_relay::client as relay;

use super::crowd::{Bounds, Crowd};
use super::dialable::{ADDRESSES, Membership};
use super::host::HostOptions;
use super::members::Members;
use super::muxer::Yamux;
use super::outward::Outward;
use super::streams::{PER_CONNECTION, Streams};
use super::{PeerError, Spoken};
use crate::identity::Identity;
use crate::network::AddressPolicy;

/// What `identify` tells every peer; the same for all nodes.
const IDENTIFY: (&str, &str) = ("/cargomail/1.0.0", "cargomail");
/// A connection without streams is closed after this long.
const IDLE: Duration = Duration::from_secs(60);
/// How often a QUIC connection shows that it is alive.
const ALIVE: Duration = Duration::from_secs(2);
/// Of all connections, one network may have one in so many, and as many are kept for those that this node makes.
const SHARE: usize = 4;
/// When a silent QUIC connection is taken for dead, in milliseconds: a peer that was killed says no goodbye, and until then
/// nobody dials it anew.
const GONE: u32 = 6000;
/// What one QUIC stream, and one QUIC connection, may have on its way before it is read; of one stream as much as over TCP.
const WINDOWS: (u32, u32) = (896 * 1024, 3 * 1024 * 1024);
/// Addresses that one dial tries at once where they have to meet the other side's dial; [`Streams`] tries one after the other.
const AT_ONCE: NonZeroU8 = NonZeroU8::new(ADDRESSES as u8).expect("there are some");

/// Everything that is spoken.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    crowd: Crowd,
    pub(super) streams: Streams,
    pub(super) identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(super) members: Toggle<Members>,
}

/// A swarm that does not listen yet.
///
/// # Errors
/// [`PeerError::Listen`] when a transport cannot be had.
pub(super) fn swarm(
    identity: &Identity,
    policy: &Arc<AddressPolicy>,
    membership: Membership,
    served: &[Spoken],
) -> Result<Swarm<Behaviour>, PeerError> {
    let keys = identity.libp2p();
    let own = identity.peer_id();
    let bounds = Bounds {
        pending: limits::PEERS_PENDING,
        pending_per_network: limits::PEERS_PENDING / SHARE,
        established: limits::PEER_CONNECTIONS,
        arrived: limits::PEER_CONNECTIONS - limits::PEER_CONNECTIONS / SHARE,
        per_network: limits::PEER_CONNECTIONS / SHARE,
        per_peer: limits::CONNECTIONS_PER_PEER,
    };
    // Of its addresses it tells those that others have proved to reach, and those over relays; without a community, none.
    let identify = identify::Config::new(IDENTIFY.0.to_owned(), keys.public())
        .with_agent_version(IDENTIFY.1.to_owned())
        .with_hide_listen_addrs(true)
        .with_cache_size(0);
    let (over_relay, members) = match membership {
        Membership::None => (OptionalTransport::none(), None),
        Membership::Member => {
            let (transport, client) = relay::new(own);
            (
                OptionalTransport::some(transport),
                Some(Members::new(own, client)),
            )
        }
    };
    let behaviour = Behaviour {
        crowd: Crowd::new(bounds),
        streams: Streams::new(served),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new()),
        members: members.into(),
    };
    let tls = || tls::Config::new(&keys).map_err(|why| cannot_listen("tcp", why));
    let over_tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let over_tcp = Outward::new(over_tcp, policy.clone())
        .upgrade(Version::V1Lazy)
        .authenticate(tls()?)
        .multiplex(Yamux::new());
    let over_quic = Outward::new(quic::tokio::Transport::new(quic_config(&keys)), policy.clone());
    let over_relay = over_relay
        .upgrade(Version::V1Lazy)
        .authenticate(tls()?)
        .multiplex(Yamux::new());
    let any = |why: std::convert::Infallible| match why {};
    Ok(SwarmBuilder::with_existing_identity(keys.clone())
        .with_tokio()
        .with_other_transport(|_| over_tcp)
        .map_err(any)?
        .with_other_transport(|_| over_quic)
        .map_err(any)?
        .with_other_transport(|_| over_relay)
        .map_err(any)?
        .with_behaviour(|_| behaviour)
        .map_err(any)?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(IDLE)
                .with_dial_concurrency_factor(AT_ONCE)
                .with_max_negotiating_inbound_streams(PER_CONNECTION)
        })
        .build())
}

fn quic_config(keys: &Keypair) -> quic::Config {
    let mut config = quic::Config::new(keys);
    config.max_concurrent_stream_limit = 2 * PER_CONNECTION as u32;
    config.max_stream_data = WINDOWS.0;
    config.max_connection_data = WINDOWS.1;
    config.keep_alive_interval = ALIVE;
    config.max_idle_timeout = GONE;
    config
}

pub(super) fn cannot_listen(at: impl std::fmt::Display, why: impl std::fmt::Display) -> PeerError {
    PeerError::Listen {
        at: at.to_string(),
        why: why.to_string(),
    }
}

/// The listeners that must have an address before a host has started.
///
/// # Errors
/// [`PeerError::Listen`].
pub(super) fn listen(
    swarm: &mut Swarm<Behaviour>,
    options: &HostOptions,
) -> Result<Vec<ListenerId>, PeerError> {
    let quic = options
        .quic
        .map(|at| (at, quic_at as fn(SocketAddr) -> Multiaddr));
    let tcp = options.tcp.map(|at| (at, tcp_at as fn(SocketAddr) -> Multiaddr));
    let mut listeners = Vec::new();
    for (at, address) in quic.into_iter().chain(tcp) {
        let mut listen = |at: Multiaddr| swarm.listen_on(at.clone()).map_err(|why| cannot_listen(&at, why));
        let listening = listen(address(at));
        // `[::]` is every address of the machine, as at the other faces; libp2p itself takes it for those of IPv6 alone. One of
        // the two kinds is enough: a machine need not have both.
        let listening = match at.ip() == Ipv6Addr::UNSPECIFIED {
            true => listen(address(SocketAddr::from((Ipv4Addr::UNSPECIFIED, at.port())))).or(listening),
            false => listening,
        };
        listeners.push(listening?);
    }
    Ok(listeners)
}

fn quic_at(at: SocketAddr) -> Multiaddr {
    Multiaddr::from(at.ip())
        .with(Protocol::Udp(at.port()))
        .with(Protocol::QuicV1)
}

fn tcp_at(at: SocketAddr) -> Multiaddr {
    Multiaddr::from(at.ip()).with(Protocol::Tcp(at.port()))
}
