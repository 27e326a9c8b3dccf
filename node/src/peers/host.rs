//! This node among its peers: libp2p over QUIC, and over TCP with TLS. One task owns the swarm; everybody else asks it
//! through a bounded queue.
//!
//! Spoken only by a node that has joined a community (row L06): relayed connections and their upgrade to direct ones, the question
//! whether it can be dialled, the community's table. Never: relaying for others, publish-subscribe, a public table. A peer learns from
//! `identify` that this is Cargomail, from a member also where it is, and no more.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cargomail_protocol::limits;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::admission::{Accepting, Admission, Held, connection_number};
use super::community::{Community, Joining, Shown};
use super::dialable::{Dialable, Membership, dialable, is_relayed};
use super::running::{Command, Running};
use super::streams::{Opened, Opening};
use super::swarm::{cannot_listen, listen, swarm};
use super::{PeerAddress, PeerError, PeerStream, Peers, Spoken};
use crate::identity::Identity;
use crate::network::AddressPolicy;

/// How long an opening over a relay waits before each further try.
const RELAY_PAUSES: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_secs(2),
];
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
    /// The community to join; none to speak none of what only a member speaks.
    pub joining: Option<Joining>,
    /// Which addresses are dialled.
    pub policy: AddressPolicy,
    /// For what peers may open streams; [`Peers::accept`] has to be asked for each.
    pub served: Vec<Spoken>,
    /// Streams of one peer that are served at once; more wait for their turn.
    pub streams_per_peer: StreamBounds,
}

/// Streams that are served at once, of each that is spoken.
#[derive(Debug, Clone, Copy)]
pub struct StreamBounds {
    /// Of the exchange.
    pub exchange: usize,
    /// Of HTTP.
    pub grip: usize,
}

impl Default for StreamBounds {
    /// Those of one peer.
    fn default() -> Self {
        Self {
            exchange: limits::STREAMS_PER_PEER,
            grip: limits::GRIP_STREAMS_PER_PEER,
        }
    }
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            quic: None,
            tcp: None,
            announce: Vec::new(),
            joining: None,
            policy: AddressPolicy::public(),
            served: vec![Spoken::Exchange],
            streams_per_peer: StreamBounds::default(),
        }
    }
}

/// This node among its peers. Cheap to clone; stops when the last clone is dropped or [`Host::stop`] is called.
#[derive(Clone)]
pub struct Host {
    peer: PeerId,
    policy: Arc<AddressPolicy>,
    announce: Arc<[Multiaddr]>,
    membership: Membership,
    shown: Shown,
    commands: mpsc::Sender<Command>,
    accepted: Arc<Accepted>,
}

/// Streams of peers that wait to be taken.
struct Accepted {
    exchange: Mutex<mpsc::Receiver<PeerStream>>,
    grip: Mutex<mpsc::Receiver<PeerStream>>,
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
        let policy = Arc::new(options.policy.clone());
        let membership = match &options.joining {
            Some(_) => Membership::Member,
            None => Membership::None,
        };
        let mut swarm = swarm(identity, &policy, membership, &options.served)?;
        let listeners = listen(&mut swarm, &options)?;
        let shown = Shown::default();
        let joining = options.joining;
        let (commands, orders) = mpsc::channel(COMMANDS);
        let (exchange, exchanges) = mpsc::channel(ACCEPTED);
        let (grip, grips) = mpsc::channel(ACCEPTED);
        let accepting = Accepting { exchange, grip };
        let (ready, started) = oneshot::channel();
        let running = Running {
            swarm,
            orders,
            shown: shown.clone(),
            admission: Admission::new(options.streams_per_peer, accepting),
            community: joining.map(|joining| Community::new(joining, policy.clone(), shown.clone())),
            starting: Some((listeners, ready)),
        };
        tokio::spawn(running.run());
        started.await.map_err(|_| PeerError::Closed)??;
        Ok(Self {
            peer: identity.peer_id(),
            policy,
            announce,
            membership,
            shown,
            commands,
            accepted: Arc::new(Accepted {
                exchange: Mutex::new(exchanges),
                grip: Mutex::new(grips),
            }),
        })
    }

    /// Whether this host has joined a community.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.membership == Membership::Member
    }

    /// Closes every connection; [`Peers::accept`] gives none from then on.
    pub async fn stop(&self) {
        let _ = self.commands.send(Command::Stop).await;
        self.commands.closed().await;
    }

    /// Opens a stream at the addresses that are known, or else where the community's table says that the peer is.
    async fn open_found(&self, spoken: Spoken, found: Dialable) -> Result<PeerStream, PeerError> {
        let peer = found.peer;
        if !found.addresses.is_empty() {
            let opened = self.open_one(spoken, peer, found.addresses).await;
            if opened.is_ok() || !found.sought {
                return opened;
            }
        }
        let (reply, answer) = oneshot::channel();
        let command = Command::Find(peer, reply);
        self.commands.send(command).await.map_err(|_| PeerError::Closed)?;
        let at = answer.await.map_err(|_| PeerError::Closed)??;
        let addresses = match at.is_empty() {
            // It was met on the way.
            true => Vec::new(),
            false => {
                let places = dialable(&at, &self.policy, self.membership)?;
                places.into_iter().flat_map(|place| place.addresses).collect()
            }
        };
        self.open_one(spoken, peer, addresses).await
    }

    async fn open_one(
        &self,
        spoken: Spoken,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    ) -> Result<PeerStream, PeerError> {
        let key = super::key_of(&peer).ok_or(PeerError::Unsupported(spoken))?;
        let opening = async {
            // A connection that is ending, or whose peer was killed unnoticed, takes the first request with it; it is
            // closed then, and the second request is dialled for. And libp2p gives a circuit up at once while its relay is
            // being dialled for something else.
            let pauses = match addresses.iter().any(is_relayed) {
                true => RELAY_PAUSES.as_slice(),
                false => &[Duration::ZERO],
            };
            let mut pauses = pauses.iter();
            loop {
                let (reply, answer) = oneshot::channel();
                let command = Command::Open(peer, addresses.clone(), Opening { spoken, reply });
                self.commands.send(command).await.map_err(|_| PeerError::Closed)?;
                let why = match answer.await {
                    Ok(Err(PeerError::Unreachable(why))) => why,
                    Ok(answered) => return answered,
                    Err(_) if self.commands.is_closed() => return Err(PeerError::Closed),
                    Err(_) => "the connection was closed".to_owned(),
                };
                match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(PeerError::Unreachable(why)),
                }
            }
        };
        let Opened {
            connection,
            stream,
            place,
        } = match tokio::time::timeout(limits::STREAM_OPENING, opening).await {
            Ok(opened) => opened?,
            Err(_) => return Err(PeerError::Unreachable("no stream in time".to_owned())),
        };
        Ok(PeerStream {
            key,
            connection: connection_number(connection),
            io: Box::new(Held::new(stream, place)),
        })
    }
}

#[async_trait]
impl Peers for Host {
    async fn open(&self, spoken: Spoken, at: &[PeerAddress]) -> Result<PeerStream, PeerError> {
        let mut last = PeerError::NoAddress(Vec::new());
        for found in dialable(at, &self.policy, self.membership)? {
            match self.open_found(spoken, found).await {
                Ok(stream) => return Ok(stream),
                Err(PeerError::Closed) => return Err(PeerError::Closed),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn accept(&self, spoken: Spoken) -> Option<PeerStream> {
        let accepted = match spoken {
            Spoken::Exchange => &self.accepted.exchange,
            Spoken::Grip => &self.accepted.grip,
        };
        accepted.lock().await.recv().await
    }

    fn addresses(&self) -> Vec<PeerAddress> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        let elsewhere = self.announce.iter().chain(&shown.reachable);
        // What is listened at leads nobody here while this node is hidden.
        let here = shown.listening.iter().filter(|_| !shown.is_hidden);
        let named = |address: &Multiaddr| address.clone().with(Protocol::P2p(self.peer));
        let addresses: Vec<&Multiaddr> = match self.announce.is_empty() && shown.reachable.is_empty() {
            true => here.collect(),
            false => elsewhere.collect(),
        };
        let addresses = addresses.into_iter().map(named);
        addresses
            .map(|address| PeerAddress(address.to_string()))
            .collect()
    }
}

fn announced(text: &str) -> Result<Multiaddr, PeerError> {
    text.parse().map_err(|why| cannot_listen(text, why))
}
