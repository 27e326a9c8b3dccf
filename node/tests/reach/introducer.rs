//! An introducer in this process, of the same protocols as the real one, which can be stopped, started again, and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cargomail_node::peers::{Introducer, PeerAddress};
use futures::StreamExt;
use libp2p::core::transport::Transport;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, ping, quic, tcp, tls, yamux};
use libp2p_autonat::v2::server as autonat;
use libp2p_kad as kad;
use libp2p_kad::store::MemoryStore;

const KADEMLIA: StreamProtocol = StreamProtocol::new("/cargomail/kad/1.0.0");

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    kademlia: kad::Behaviour<MemoryStore>,
    relay: libp2p_relay::Behaviour,
    autonat: autonat::Behaviour,
}

/// How it relays.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) keys: Keypair,
    pub(crate) port: u16,
    pub(crate) place: Duration,
    pub(crate) circuit_bytes: u64,
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            keys: Keypair::generate_ed25519(),
            port: 0,
            place: Duration::from_secs(3600),
            circuit_bytes: 1 << 22,
        }
    }
}

/// One that runs as long as this lives.
pub(crate) struct Running {
    pub(crate) name: PeerId,
    pub(crate) addresses: Vec<Multiaddr>,
    pub(crate) renewed: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    pub(crate) fn over(&self, transport: &str) -> Introducer {
        let mut addresses = self.addresses.iter().map(ToString::to_string);
        let address = addresses.find(|at| at.contains(transport)).unwrap();
        Introducer::At(PeerAddress(format!("{address}/p2p/{}", self.name)))
    }

    pub(crate) fn port(&self) -> u16 {
        let tcp = self.addresses.iter().flatten().find_map(|part| match part {
            Protocol::Tcp(port) => Some(port),
            _ => None,
        });
        tcp.unwrap()
    }

    pub(crate) fn renewals(&self) -> usize {
        self.renewed.load(Ordering::Relaxed)
    }

    /// Ends it, and waits until its sockets are free.
    pub(crate) async fn end(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

/// The transports of a peer that is no node.
pub(crate) fn swarm<B: NetworkBehaviour>(keys: &Keypair, behaviour: B) -> Swarm<B> {
    let over_tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(tls::Config::new(keys).unwrap())
        .multiplex(yamux::Config::default());
    SwarmBuilder::with_existing_identity(keys.clone())
        .with_tokio()
        .with_other_transport(|_| over_tcp)
        .unwrap()
        .with_other_transport(|_| quic::tokio::Transport::new(quic::Config::new(keys)))
        .unwrap()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(30)))
        .build()
}

/// Listens at these addresses; where.
pub(crate) async fn listen<B: NetworkBehaviour>(swarm: &mut Swarm<B>, at: &[String]) -> Vec<Multiaddr> {
    for address in at {
        swarm.listen_on(address.parse().unwrap()).unwrap();
    }
    let mut addresses = Vec::new();
    while addresses.len() < at.len() {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            addresses.push(address);
        }
    }
    addresses
}

pub(crate) async fn start(kind: Kind) -> Running {
    let name = kind.keys.public().to_peer_id();
    let mut config = kad::Config::new(KADEMLIA);
    config.set_kbucket_inserts(kad::BucketInserts::Manual);
    let mut kademlia = kad::Behaviour::with_config(name, MemoryStore::new(name), config);
    kademlia.set_mode(Some(kad::Mode::Server));
    let bounds = libp2p_relay::Config {
        reservation_duration: kind.place,
        max_circuit_bytes: kind.circuit_bytes,
        ..libp2p_relay::Config::default()
    };
    let mut swarm = swarm(
        &kind.keys,
        Behaviour {
            identify: identify::Behaviour::new(identify::Config::new(
                "/cargomail/1.0.0".to_owned(),
                kind.keys.public(),
            )),
            ping: ping::Behaviour::default(),
            kademlia,
            relay: libp2p_relay::Behaviour::new(name, bounds),
            autonat: autonat::Behaviour::default(),
        },
    );
    let at = [
        format!("/ip4/127.0.0.1/tcp/{}", kind.port),
        format!("/ip4/127.0.0.1/udp/{}/quic-v1", kind.port),
    ];
    let addresses = listen(&mut swarm, &at).await;
    for address in &addresses {
        swarm.add_external_address(address.clone());
    }
    let renewed = Arc::new(AtomicUsize::new(0));
    let counted = renewed.clone();
    let task = tokio::spawn(async move {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                    peer_id,
                    info,
                    ..
                })) if info.protocols.contains(&KADEMLIA) => {
                    for address in info.listen_addrs {
                        let address = address.with_p2p(peer_id).unwrap();
                        swarm.behaviour_mut().kademlia.add_address(&peer_id, address);
                    }
                }
                SwarmEvent::Behaviour(BehaviourEvent::Relay(
                    libp2p_relay::Event::ReservationReqAccepted { renewed: true, .. },
                )) => {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
    });
    Running {
        name,
        addresses,
        renewed,
        task,
    }
}
