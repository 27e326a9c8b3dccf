//! Exchange streams as a libp2p behaviour: every stream that is asked for is opened or answered with a reason, every
//! stream that comes in is handed over or counted against its connection's bound.
//!
//! Not here: who may do what on a stream, and how many are served at once (see `admission`). What always holds: every reply is
//! sent exactly once; nothing that a peer does makes a queue here longer than the bounds say.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, DialError,
    FromSwarm, NetworkBehaviour, NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use tokio::sync::oneshot;

use super::{PeerError, key_of};

/// To agree on the protocol of a stream: one round trip, over a connection that may have died unnoticed.
const NEGOTIATION: Duration = Duration::from_secs(3);
/// The protocol's name (`spec/exchange.md`).
const PROTOCOL: StreamProtocol = StreamProtocol::new("/cargomail/exchange/1.0.0");
/// Streams that one connection may have open or waiting; the next ones are dropped, which the opener reads as a
/// break. Twice the width of the widest sensible fetch.
pub(super) const PER_CONNECTION: usize = 128;
/// Streams that wait for a connection to one peer.
const WAITING: usize = 256;

/// Where the answer to an opening goes.
pub(super) type Reply = oneshot::Sender<Result<(ConnectionId, Stream), PeerError>>;

/// A stream that a peer opened.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) stream: Stream,
    pub(super) place: Place,
}

/// One of a connection's places; free again when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |count: usize| (count < PER_CONNECTION).then_some(count + 1);
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Self(taken.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections to one peer, and who waits for the first.
#[derive(Default)]
struct Peer {
    direct: Vec<ConnectionId>,
    relayed: Vec<ConnectionId>,
    waiting: Vec<Reply>,
}

impl Peer {
    /// The one for the next stream: the newest, and a relayed one only where there is no other.
    fn best(&self) -> Option<ConnectionId> {
        self.direct.last().or(self.relayed.last()).copied()
    }
}

/// The behaviour.
#[derive(Default)]
pub(super) struct Streams {
    peers: HashMap<PeerId, Peer>,
    actions: VecDeque<ToSwarm<Arrived, Reply>>,
    waker: Option<Waker>,
}

impl Streams {
    /// Opens a stream, on the best connection to the peer or on one that is dialled first.
    pub(super) fn open(&mut self, peer_id: PeerId, addresses: Vec<Multiaddr>, reply: Reply) {
        let peer = self.peers.entry(peer_id).or_default();
        if let Some(connection) = peer.best() {
            let handler = NotifyHandler::One(connection);
            self.actions.push_back(ToSwarm::NotifyHandler {
                peer_id,
                handler,
                event: reply,
            });
        } else {
            peer.waiting.retain(|reply| !reply.is_closed());
            if peer.waiting.len() >= WAITING {
                answer(
                    reply,
                    Err(PeerError::Unreachable(
                        "too many streams wait for this peer".to_owned(),
                    )),
                );
                return;
            }
            let first = peer.waiting.is_empty();
            peer.waiting.push(reply);
            if first {
                let opts = DialOpts::peer_id(peer_id)
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .addresses(addresses)
                    .override_dial_concurrency_factor(NonZeroU8::MIN)
                    .build();
                self.actions.push_back(ToSwarm::Dial { opts });
            }
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn connected(&mut self, peer_id: PeerId, connection: ConnectionId, is_relayed: bool) {
        let peer = self.peers.entry(peer_id).or_default();
        match is_relayed {
            true => peer.relayed.push(connection),
            false => peer.direct.push(connection),
        }
        for event in peer.waiting.drain(..) {
            let handler = NotifyHandler::One(connection);
            self.actions.push_back(ToSwarm::NotifyHandler {
                peer_id,
                handler,
                event,
            });
        }
    }

    fn disconnected(&mut self, peer_id: PeerId, connection: ConnectionId) {
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            peer.direct.retain(|other| *other != connection);
            peer.relayed.retain(|other| *other != connection);
            if peer.best().is_none() && peer.waiting.is_empty() {
                self.peers.remove(&peer_id);
            }
        }
    }

    fn dial_failed(&mut self, peer_id: PeerId, error: &DialError) {
        // Another dial to the same peer is under way, and its own end decides.
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&peer_id) else {
            return;
        };
        if peer.best().is_none() {
            let why = error.to_string();
            for reply in peer.waiting.drain(..) {
                answer(reply, Err(PeerError::Unreachable(why.clone())));
            }
            self.peers.remove(&peer_id);
        }
    }
}

/// Sends the answer; an opener that no longer waits loses nothing.
fn answer(reply: Reply, result: Result<(ConnectionId, Stream), PeerError>) {
    let _ = reply.send(result);
}

/// A peer whose key is not an Ed25519 key has no name in the protocol.
#[derive(Debug, thiserror::Error)]
#[error("the peer's key is not an Ed25519 key")]
struct ForeignKey;

fn handler(peer: &PeerId) -> Result<Handler, ConnectionDenied> {
    if key_of(peer).is_none() {
        return Err(ConnectionDenied::new(ForeignKey));
    }
    Ok(Handler::default())
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = Arrived;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        handler(&peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        handler(&peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(new) => {
                self.connected(new.peer_id, new.connection_id, new.endpoint.is_relayed());
            }
            FromSwarm::ConnectionClosed(old) => self.disconnected(old.peer_id, old.connection_id),
            FromSwarm::DialFailure(failed) => {
                if let Some(peer) = failed.peer_id {
                    self.dial_failed(peer, failed.error);
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {
            FromConnection::Arrived(stream, place) => {
                let arrived = Arrived {
                    peer,
                    connection,
                    stream,
                    place,
                };
                self.actions.push_back(ToSwarm::GenerateEvent(arrived));
            }
            FromConnection::Opened(reply, stream) => answer(reply, Ok((connection, stream))),
            FromConnection::Failed(reply, error) => {
                if matches!(error, PeerError::Unreachable(_)) {
                    // A connection that opens no stream is dead or stuck; the next opening dials anew.
                    let connection = CloseConnection::One(connection);
                    self.actions.push_back(ToSwarm::CloseConnection {
                        peer_id: peer,
                        connection,
                    });
                }
                answer(reply, Err(error));
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.actions.pop_front() {
            Some(action) => Poll::Ready(action),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// What one connection tells.
pub(super) enum FromConnection {
    Arrived(Stream, Place),
    Opened(Reply, Stream),
    Failed(Reply, PeerError),
}

impl std::fmt::Debug for FromConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FromConnection::Arrived(..) => "Arrived",
            FromConnection::Opened(..) => "Opened",
            FromConnection::Failed(..) => "Failed",
        })
    }
}

type Protocol = ReadyUpgrade<StreamProtocol>;

/// One connection's streams.
#[derive(Default)]
pub(super) struct Handler {
    taken: Arc<AtomicUsize>,
    actions: VecDeque<ConnectionHandlerEvent<Protocol, Reply, FromConnection>>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Reply;
    type ToBehaviour = FromConnection;
    type InboundProtocol = Protocol;
    type OutboundProtocol = Protocol;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Protocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn on_behaviour_event(&mut self, reply: Reply) {
        if !reply.is_closed() {
            let protocol =
                SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), reply).with_timeout(NEGOTIATION);
            self.actions
                .push_back(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Protocol, Protocol, (), Reply>) {
        let told = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                match Place::take(&self.taken) {
                    Some(place) => FromConnection::Arrived(stream, place),
                    None => return tracing::debug!("a stream over the connection's bound was dropped"),
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                FromConnection::Opened(info, protocol)
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                FromConnection::Failed(info, failure(error))
            }
            _ => return,
        };
        self.actions
            .push_back(ConnectionHandlerEvent::NotifyBehaviour(told));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Protocol, Reply, FromConnection>> {
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

fn failure(error: StreamUpgradeError<std::convert::Infallible>) -> PeerError {
    match error {
        StreamUpgradeError::NegotiationFailed => PeerError::Unsupported,
        StreamUpgradeError::Timeout => PeerError::Unreachable("opening a stream took too long".to_owned()),
        StreamUpgradeError::Io(error) => PeerError::Unreachable(error.to_string()),
        StreamUpgradeError::Apply(never) => match never {},
    }
}
