//! This node among its peers: libp2p over QUIC, and over TCP with TLS. One task owns the swarm; everybody else asks it
//! through a bounded queue.
//!
//! Not spoken here: relaying, hole punching, discovery, publish-subscribe (row L06). A peer learns from `identify` that
//! this is Cargomail, and no more.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use cargomail_protocol::limits;
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, identify, ping};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use super::admission::{Admission, connection_number};
use super::crowd::{Bounds, Crowd};
use super::dialable::dialable;
use super::muxer::Yamux;
use super::streams::{Arrived, PER_CONNECTION, Reply, Streams};
use super::{PeerAddress, PeerError, PeerStream, Peers};
use crate::identity::Identity;
use crate::network::AddressPolicy;

/// What `identify` tells every peer; the same for all nodes.
const IDENTIFY: (&str, &str) = ("/cargomail/1.0.0", "cargomail");
/// A connection without streams is closed after this long.
const IDLE: Duration = Duration::from_secs(60);
/// To open a stream, with all dialling.
const OPEN: Duration = Duration::from_secs(30);
/// How often a QUIC connection shows that it is alive.
const ALIVE: Duration = Duration::from_secs(2);
/// When a silent QUIC connection is taken for dead, in milliseconds: a peer that was killed says no goodbye, and until then
/// nobody dials it anew.
const GONE: u32 = 6000;
/// What one QUIC stream, and one QUIC connection, may have on its way before it is read.
const WINDOWS: (u32, u32) = (1024 * 1024, 3 * 1024 * 1024);
/// Openings that wait for the swarm's task.
const COMMANDS: usize = 64;
/// Accepted streams that wait for [`Peers::accept`].
const ACCEPTED: usize = 16;

/// How a node takes part in the peer network.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Where QUIC listens (UDP); port 0 lets the system choose.
    pub quic: Option<SocketAddr>,
    /// Where TCP with TLS listens.
    pub tcp: Option<SocketAddr>,
    /// Multiaddrs to announce instead of those listened at, without `/p2p/…`: behind a NAT.
    pub announce: Vec<String>,
    /// Which addresses are dialled.
    pub policy: AddressPolicy,
    /// Streams of one peer that are served at once; more wait for their turn.
    pub streams_per_peer: usize,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            quic: None,
            tcp: None,
            announce: Vec::new(),
            policy: AddressPolicy::public(),
            streams_per_peer: limits::STREAMS_PER_PEER,
        }
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    crowd: Crowd,
    streams: Streams,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

enum Command {
    Open(PeerId, Vec<Multiaddr>, Reply),
    Stop,
}

type Listening = Arc<RwLock<Vec<Multiaddr>>>;

/// This node among its peers. Cheap to clone; stops when the last clone is dropped or [`Host::stop`] is called.
#[derive(Clone)]
pub struct Host {
    peer: PeerId,
    policy: Arc<AddressPolicy>,
    announce: Arc<[Multiaddr]>,
    listening: Listening,
    commands: mpsc::Sender<Command>,
    accepted: Arc<Mutex<mpsc::Receiver<PeerStream>>>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({})", self.peer)
    }
}

impl Host {
    /// Starts listening and returns once every address is known.
    ///
    /// # Errors
    /// [`PeerError::Listen`] when an address cannot be listened at.
    pub async fn start(identity: &Identity, options: HostOptions) -> Result<Self, PeerError> {
        let announce = options
            .announce
            .iter()
            .map(|text| announced(text))
            .collect::<Result<_, _>>()?;
        let mut swarm = swarm(identity)?;
        let listeners = listen(&mut swarm, &options)?;
        let listening = Listening::default();
        let (commands, orders) = mpsc::channel(COMMANDS);
        let (accepting, accepted) = mpsc::channel(ACCEPTED);
        let (ready, started) = oneshot::channel();
        let running = Running {
            swarm,
            orders,
            listening: listening.clone(),
            admission: Admission::new(options.streams_per_peer, accepting),
            starting: Some((listeners, ready)),
        };
        tokio::spawn(running.run());
        started.await.map_err(|_| PeerError::Closed)??;
        Ok(Self {
            peer: identity.peer_id(),
            policy: Arc::new(options.policy),
            announce,
            listening,
            commands,
            accepted: Arc::new(Mutex::new(accepted)),
        })
    }

    /// Closes every connection; [`Peers::accept`] gives none from then on.
    pub async fn stop(&self) {
        let _ = self.commands.send(Command::Stop).await;
        self.commands.closed().await;
    }

    async fn open_one(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<PeerStream, PeerError> {
        let key = super::key_of(&peer).ok_or(PeerError::Unsupported)?;
        let opening = async {
            // A connection that is ending, or whose peer was killed unnoticed, takes the first request with it; it is
            // closed then, and the second request is dialled for.
            for last in [false, true] {
                let (reply, answer) = oneshot::channel();
                let command = Command::Open(peer, addresses.clone(), reply);
                self.commands.send(command).await.map_err(|_| PeerError::Closed)?;
                match answer.await {
                    Ok(Err(PeerError::Unreachable(_))) if !last => {}
                    Ok(answered) => return answered,
                    Err(_) if self.commands.is_closed() => return Err(PeerError::Closed),
                    Err(_) => {}
                }
            }
            Err(PeerError::Unreachable("the connection was closed".to_owned()))
        };
        let (connection, stream) = match tokio::time::timeout(OPEN, opening).await {
            Ok(opened) => opened?,
            Err(_) => return Err(PeerError::Unreachable("no stream in time".to_owned())),
        };
        Ok(PeerStream {
            key,
            connection: connection_number(connection),
            io: Box::new(stream.compat()),
        })
    }
}

#[async_trait]
impl Peers for Host {
    async fn open(&self, at: &[PeerAddress]) -> Result<PeerStream, PeerError> {
        let mut last = PeerError::NoAddress(Vec::new());
        for (peer, addresses) in dialable(at, &self.policy)? {
            match self.open_one(peer, addresses).await {
                Ok(stream) => return Ok(stream),
                Err(PeerError::Closed) => return Err(PeerError::Closed),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn accept(&self) -> Option<PeerStream> {
        self.accepted.lock().await.recv().await
    }

    fn addresses(&self) -> Vec<PeerAddress> {
        let listening = self.listening.read().unwrap_or_else(PoisonError::into_inner);
        let shown = if self.announce.is_empty() {
            listening.as_slice()
        } else {
            &self.announce
        };
        let named = |address: &Multiaddr| address.clone().with(Protocol::P2p(self.peer));
        shown
            .iter()
            .map(|address| PeerAddress(named(address).to_string()))
            .collect()
    }
}

fn cannot_listen(at: impl std::fmt::Display, why: impl std::fmt::Display) -> PeerError {
    PeerError::Listen {
        at: at.to_string(),
        why: why.to_string(),
    }
}

fn announced(text: &str) -> Result<Multiaddr, PeerError> {
    text.parse().map_err(|why| cannot_listen(text, why))
}

fn swarm(identity: &Identity) -> Result<Swarm<Behaviour>, PeerError> {
    let keys = identity.libp2p();
    let bounds = Bounds {
        pending: limits::PEERS_PENDING,
        established: limits::PEER_CONNECTIONS,
        per_peer: limits::CONNECTIONS_PER_PEER,
    };
    let identify = identify::Config::new(IDENTIFY.0.to_owned(), keys.public())
        .with_agent_version(IDENTIFY.1.to_owned())
        .with_hide_listen_addrs(true)
        .with_cache_size(0);
    let behaviour = Behaviour {
        crowd: Crowd::new(bounds),
        streams: Streams::default(),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new()),
    };
    let tcp = libp2p::tcp::Config::default().nodelay(true);
    let swarm = SwarmBuilder::with_existing_identity(keys)
        .with_tokio()
        .with_tcp(tcp, libp2p::tls::Config::new, Yamux::new)
        .map_err(|why| cannot_listen("tcp", why))?
        .with_quic_config(|mut config| {
            config.max_concurrent_stream_limit = 2 * PER_CONNECTION as u32;
            config.max_stream_data = WINDOWS.0;
            config.max_connection_data = WINDOWS.1;
            config.keep_alive_interval = ALIVE;
            config.max_idle_timeout = GONE;
            config
        })
        .with_behaviour(|_| behaviour)
        .map_err(|why| cannot_listen("any", why))?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(IDLE)
                .with_dial_concurrency_factor(std::num::NonZeroU8::MIN)
                .with_max_negotiating_inbound_streams(PER_CONNECTION)
        })
        .build();
    Ok(swarm)
}

/// The listeners that must have an address before this host has started.
fn listen(swarm: &mut Swarm<Behaviour>, options: &HostOptions) -> Result<Vec<ListenerId>, PeerError> {
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

type Starting = (Vec<ListenerId>, oneshot::Sender<Result<(), PeerError>>);

/// The task that owns the swarm.
struct Running {
    swarm: Swarm<Behaviour>,
    orders: mpsc::Receiver<Command>,
    listening: Listening,
    admission: Admission,
    /// Listeners without an address yet, and who waits for them.
    starting: Option<Starting>,
}

impl Running {
    async fn run(mut self) {
        self.started(None);
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Command::Open(peer, addresses, reply)) => {
                        self.swarm.behaviour_mut().streams.open(peer, addresses, reply);
                    }
                    Some(Command::Stop) | None => break,
                },
                event = self.swarm.select_next_some() => self.happened(event),
            }
        }
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        // The goodbyes go out before the sockets close.
        let farewell = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
    }

    fn happened(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(arrived)) => self.arrived(arrived),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event {
                connection,
                result: Err(ping::Failure::Timeout | ping::Failure::Other { .. }),
                ..
            })) => {
                tracing::debug!(%connection, "a peer does not answer any more");
                self.swarm.close_connection(connection);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.listening
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(address);
                self.started(Some(listener_id));
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                let mut listening = self.listening.write().unwrap_or_else(PoisonError::into_inner);
                listening.retain(|other| *other != address);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a peer listener failed"),
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => self.closed(&addresses, reason),
            SwarmEvent::ConnectionClosed {
                num_established: 0, ..
            } => self.admission.tidy(),
            SwarmEvent::IncomingConnectionError {
                error,
                send_back_addr,
                ..
            } => {
                tracing::debug!(%error, from = %send_back_addr, "an incoming connection failed");
            }
            _ => {}
        }
    }

    fn arrived(&mut self, arrived: Arrived) {
        self.admission.arrived(arrived);
    }

    /// A listener has its first address; tells whoever started this host once all have.
    fn started(&mut self, listener: Option<ListenerId>) {
        if let Some((listeners, _)) = &mut self.starting {
            listeners.retain(|other| Some(*other) != listener);
        }
        if let Some((_, ready)) = self.starting.take_if(|(listeners, _)| listeners.is_empty()) {
            let _ = ready.send(Ok(()));
        }
    }

    fn closed(&mut self, addresses: &[Multiaddr], reason: Result<(), std::io::Error>) {
        let why = reason
            .err()
            .map_or_else(|| "closed".to_owned(), |error| error.to_string());
        tracing::error!(?addresses, why, "a peer listener is gone");
        if let Some((_, ready)) = self.starting.take() {
            let at = addresses
                .first()
                .map_or_else(|| "the peer address".to_owned(), ToString::to_string);
            let _ = ready.send(Err(cannot_listen(at, why)));
        }
    }
}
