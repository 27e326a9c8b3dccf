//! The swarm: QUIC, and TCP with TLS; identify, ping, a Kademlia server that keeps addresses and nothing else, a relay and an
//! AutoNAT server. What is bounded here is bounded for each connection; [`crate::door`] bounds how many there are.

use std::time::Duration;

use libp2p::allow_block_list::{self, AllowedPeers};
use libp2p::core::Transport;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, Swarm, SwarmBuilder, identify, ping, quic, tcp, tls, yamux};
use libp2p_autonat::v2::server as autonat;
use libp2p_kad as kad;
use libp2p_kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p_relay as relay;

use crate::boxed::Boxed;
use crate::door::Door;
use crate::metrics::Counts;
use crate::outward::Outward;
use crate::parting::Parting;
use crate::questions::Questions;
use crate::relay::Relay;
use crate::settings::{Allowed, Settings};
use crate::slots::Slots;
use crate::table::KADEMLIA;

/// Streams of one connection: a lookup needs one at a time, a relayed peer one for each circuit.
const STREAMS: usize = 32;
/// What a peer may send ahead on one stream, and on all of one connection, octets. Over TCP, yamux begins with 256 KiB a stream.
const STREAM_WINDOW: u32 = 32 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// How often it is asked whether a peer is there: a lost one over TCP keeps its place until two questions in a row had no answer, each within
/// 20 seconds.
const PING: Duration = Duration::from_secs(20);

/// Everything that is spoken, and who may speak.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) allow: Toggle<allow_block_list::Behaviour<AllowedPeers>>,
    pub(crate) door: Door,
    pub(crate) relay: Relay,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) kademlia: Questions,
    pub(crate) autonat: Toggle<autonat::Behaviour>,
}

/// A swarm that does not listen yet.
///
/// # Errors
/// No certificate can be made of the key.
pub(crate) fn swarm(
    settings: &Settings,
    keys: Keypair,
    slots: &Slots,
    counts: Counts,
) -> anyhow::Result<Swarm<Boxed<Behaviour>>> {
    let own = keys.public().to_peer_id();
    let behaviour = Behaviour {
        allow: settings.allow.as_ref().map(allow_list).into(),
        door: Door::new(settings.connections.clone(), &settings.autonat, counts),
        relay: Relay::new(own, relay_config(settings, slots)),
        identify: identify::Behaviour::new(
            identify::Config::new("/cargomail/1.0.0".to_owned(), keys.public())
                .with_agent_version("cargomail-bootstrap".to_owned())
                .with_cache_size(0),
        ),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING)),
        kademlia: Questions(kademlia(own)),
        autonat: (settings.autonat.dials_per_minute > 0)
            .then(autonat::Behaviour::default)
            .into(),
    };
    let mut muxer = yamux::Config::default();
    muxer.set_max_num_streams(STREAMS);
    let over_tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let over_tcp = Outward::new(over_tcp, settings.reach)
        .upgrade(Version::V1Lazy)
        .authenticate(tls::Config::new(&keys)?)
        .multiplex(muxer)
        .map(|(peer, muxer), _| (peer, Parting::from(muxer)));
    let over_quic = Outward::new(quic::tokio::Transport::new(quic_config(&keys)), settings.reach);
    let idle = Duration::from_secs(settings.connections.idle_seconds.into());
    Ok(SwarmBuilder::with_existing_identity(keys)
        .with_tokio()
        .with_other_transport(|_| over_tcp)?
        .with_other_transport(|_| over_quic)?
        .with_behaviour(|_| Boxed::new(behaviour))?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(idle)
                .with_max_negotiating_inbound_streams(STREAMS)
        })
        .build())
}

fn allow_list(allowed: &Allowed) -> allow_block_list::Behaviour<AllowedPeers> {
    let mut list = allow_block_list::Behaviour::default();
    for peer in allowed {
        list.allow_peer(*peer);
    }
    list
}

fn quic_config(keys: &Keypair) -> quic::Config {
    let mut config = quic::Config::new(keys);
    config.max_concurrent_stream_limit = STREAMS as u32;
    config.max_stream_data = STREAM_WINDOW;
    config.max_connection_data = CONNECTION_WINDOW;
    config
}

/// A table of addresses. Whatever a peer wants to have stored becomes an event, which nobody here handles, and there is no room
/// for it either. It asks nobody on its own but while it holds fewer than 20 peers.
fn kademlia(own: PeerId) -> kad::Behaviour<MemoryStore> {
    let store = MemoryStoreConfig {
        max_records: 0,
        max_provided_keys: 0,
        ..MemoryStoreConfig::default()
    };
    let mut config = kad::Config::new(KADEMLIA);
    config
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_periodic_bootstrap_interval(None)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    let mut kademlia = kad::Behaviour::with_config(own, MemoryStore::with_config(own, store), config);
    kademlia.set_mode(Some(kad::Mode::Server));
    kademlia
}

/// libp2p counts for one peer until there is one more than the bound; in all, [`Slots`] counts.
fn relay_config(settings: &Settings, slots: &Slots) -> relay::Config {
    let bounds = &settings.relay;
    let (reserving, connecting) = (slots.clone(), slots.clone());
    relay::Config {
        max_reservations: usize::MAX,
        max_reservations_per_peer: bounds.reservations_per_peer.saturating_sub(1),
        reservation_duration: Duration::from_secs(bounds.reservation_seconds.into()),
        reservation_rate_limiters: vec![Box::new(move |peer, from: &_, now| {
            reserving.reserve(peer, from, now)
        })],
        max_circuits: bounds.circuits,
        max_circuits_per_peer: bounds.circuits_per_peer.saturating_sub(1),
        max_circuit_duration: Duration::from_secs(bounds.circuit_seconds.into()),
        max_circuit_bytes: bounds.circuit_bytes,
        circuit_src_rate_limiters: vec![Box::new(move |peer, from: &_, now| {
            connecting.may_connect(peer, from, now)
        })],
    }
}
