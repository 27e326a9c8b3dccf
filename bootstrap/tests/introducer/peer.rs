//! Peers: a swarm each, as a node that joins would build it, with TLS over TCP, over QUIC, and over a relay.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::Endpoint;
use libp2p::core::transport::{PortUse, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, SwarmEvent, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, ping, quic, tcp, tls, yamux};
use libp2p_autonat::v2::client as autonat;
use libp2p_kad as kad;
use libp2p_kad::store::MemoryStore;
use libp2p_relay::client as relay;

pub(crate) const KADEMLIA: StreamProtocol = StreamProtocol::new("/cargomail/kad/1.0.0");

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) kademlia: kad::Behaviour<MemoryStore>,
    pub(crate) relay: relay::Behaviour,
    pub(crate) autonat: Toggle<autonat::Behaviour>,
    pub(crate) claims: Claims,
}

/// What kind of peer.
pub(crate) struct Kind {
    pub(crate) keys: Keypair,
    pub(crate) agent: &'static str,
    pub(crate) mode: kad::Mode,
    pub(crate) ping: Duration,
    /// An address of which it wants to know whether others can dial it.
    pub(crate) claim: Option<Multiaddr>,
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            keys: Keypair::generate_ed25519(),
            agent: "a peer",
            mode: kad::Mode::Client,
            ping: Duration::from_secs(15),
            claim: None,
        }
    }
}

pub(crate) fn peer(kind: Kind) -> Swarm<Behaviour> {
    let own = kind.keys.public().to_peer_id();
    let mut kademlia = kad::Behaviour::with_config(own, MemoryStore::new(own), kad::Config::new(KADEMLIA));
    kademlia.set_mode(Some(kind.mode));
    let identify = identify::Config::new("/test".to_owned(), kind.keys.public())
        .with_agent_version(kind.agent.to_owned())
        .with_push_listen_addr_updates(true);
    let asks = autonat::Config::default().with_probe_interval(Duration::from_millis(100));
    let autonat = kind
        .claim
        .is_some()
        .then(|| autonat::Behaviour::new(rand::make_rng(), asks));
    swarm(&kind.keys, |relay| Behaviour {
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(kind.ping)),
        kademlia,
        relay,
        autonat: autonat.into(),
        claims: Claims(kind.claim),
    })
}

pub(crate) fn anybody() -> Swarm<Behaviour> {
    peer(Kind::default())
}

/// A swarm over all transports.
pub(crate) fn swarm<B: NetworkBehaviour>(
    keys: &Keypair,
    behaviour: impl FnOnce(relay::Behaviour) -> B,
) -> Swarm<B> {
    swarm_with(keys, quic::Config::new(keys), behaviour)
}

/// The same with windows of its own.
pub(crate) fn swarm_with<B: NetworkBehaviour>(
    keys: &Keypair,
    quic: quic::Config,
    behaviour: impl FnOnce(relay::Behaviour) -> B,
) -> Swarm<B> {
    let (over_relay, client) = relay::new(keys.public().to_peer_id());
    let tls = || tls::Config::new(keys).unwrap();
    let over_relay = over_relay
        .upgrade(Version::V1Lazy)
        .authenticate(tls())
        .multiplex(yamux::Config::default());
    let over_tcp = tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(Version::V1Lazy)
        .authenticate(tls())
        .multiplex(yamux::Config::default());
    SwarmBuilder::with_existing_identity(keys.clone())
        .with_tokio()
        .with_other_transport(|_| over_relay)
        .unwrap()
        .with_other_transport(|_| over_tcp)
        .unwrap()
        .with_other_transport(|_| quic::tokio::Transport::new(quic))
        .unwrap()
        .with_behaviour(|_| behaviour(client))
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
        .build()
}

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.unwrap()
}

/// Goes on until an event is the one that is looked for.
pub(crate) async fn until<B: NetworkBehaviour, T>(
    swarm: &mut Swarm<B>,
    mut wanted: impl FnMut(SwarmEvent<B::ToSwarm>) -> Option<T>,
) -> T {
    loop {
        if let Some(found) = wanted(swarm.select_next_some().await) {
            return found;
        }
    }
}

/// Lets a peer go on by itself.
pub(crate) fn live<B: NetworkBehaviour<ToSwarm: Send> + Send>(
    mut swarm: Swarm<B>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    })
}

/// Listens on loopback; where.
pub(crate) async fn listen(swarm: &mut Swarm<Behaviour>) -> Multiaddr {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    soon(until(swarm, |event| match event {
        SwarmEvent::NewListenAddr { address, .. } => Some(address),
        _ => None,
    }))
    .await
}

/// Dials once more, whatever connections there are.
pub(crate) fn dial<B: NetworkBehaviour>(swarm: &mut Swarm<B>, at: &Multiaddr, name: PeerId) -> ConnectionId {
    let how = DialOpts::peer_id(name)
        .addresses(vec![at.clone()])
        .condition(PeerCondition::Always)
        .build();
    let id = how.connection_id();
    swarm.dial(how).unwrap();
    id
}

/// Dials, and says what the other side told of itself; `None` when it did not let this peer in.
pub(crate) async fn knock(
    swarm: &mut Swarm<Behaviour>,
    at: &Multiaddr,
    name: PeerId,
) -> Option<identify::Info> {
    let id = dial(swarm, at, name);
    soon(until(swarm, |event| match event {
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
            info,
            connection_id,
            ..
        })) if connection_id == id => Some(Some(info)),
        SwarmEvent::OutgoingConnectionError { connection_id, .. }
        | SwarmEvent::ConnectionClosed { connection_id, .. }
            if connection_id == id =>
        {
            Some(None)
        }
        _ => None,
    }))
    .await
}

/// Says which of the peer's own addresses others may be able to dial.
pub(crate) struct Claims(pub(crate) Option<Multiaddr>);

impl NetworkBehaviour for Claims {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.0.take() {
            Some(claim) => Poll::Ready(ToSwarm::NewExternalAddrCandidate(claim)),
            None => Poll::Pending,
        }
    }
}
