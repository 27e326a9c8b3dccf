//! Streams as a libp2p behaviour, of all that is [`Spoken`]: every stream that is asked for is opened or answered with a reason,
//! every stream that comes in is handed over or counted against its connection's bound. What is not served here is not agreed to.
//!
//! Not here: who may do what on a stream, and how many are served at once (see `admission`). What always holds: every reply is
//! sent exactly once; nothing that a peer does makes a queue here longer than the bounds say.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, DialError,
    FromSwarm, NetworkBehaviour, NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream};
use tokio::sync::oneshot;

use super::{PeerError, Spoken, key_of};

/// To agree on the protocol of a stream: one round trip, over a connection that may have died unnoticed.
const NEGOTIATION: Duration = Duration::from_secs(3);
/// Streams that one connection may have open or waiting; the next ones are dropped, which the opener reads as a
/// break. Twice the width of the widest sensible fetch.
pub(super) const PER_CONNECTION: usize = 128;
/// Streams that wait for a connection to one peer.
const WAITING: usize = 256;

/// Where the answer to an opening goes.
pub(super) type Reply = oneshot::Sender<Result<Opened, PeerError>>;

/// A stream that was opened here.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: ConnectionId,
    pub(super) stream: Stream,
    pub(super) place: Place,
}

/// An opening, and what for.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) spoken: Spoken,
    pub(super) reply: Reply,
}

/// A stream that a peer opened.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) spoken: Spoken,
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

    /// One more, however many there are.
    fn add(taken: &Arc<AtomicUsize>) -> Self {
        taken.fetch_add(1, Ordering::Relaxed);
        Self(taken.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections to one peer on which streams are opened, and who waits for the first.
#[derive(Default)]
struct Peer {
    direct: Vec<ConnectionId>,
    relayed: Vec<ConnectionId>,
    waiting: Vec<Opening>,
}

impl Peer {
    /// The one for the next stream: the newest, and a relayed one only where there is no other.
    fn best(&self) -> Option<ConnectionId> {
        self.direct.last().or(self.relayed.last()).copied()
    }
}

/// The behaviour.
pub(super) struct Streams {
    served: Served,
    peers: HashMap<PeerId, Peer>,
    actions: VecDeque<ToSwarm<Arrived, Opening>>,
    waker: Option<Waker>,
}

impl Streams {
    /// A behaviour that takes streams of peers for these.
    pub(super) fn new(served: &[Spoken]) -> Self {
        Self {
            served: Served(served.to_vec()),
            peers: HashMap::new(),
            actions: VecDeque::new(),
            waker: None,
        }
    }

    /// Opens a stream, on the best connection to the peer or on one that is dialled first.
    pub(super) fn open(&mut self, peer_id: PeerId, addresses: Vec<Multiaddr>, opening: Opening) {
        let peer = self.peers.entry(peer_id).or_default();
        if let Some(connection) = peer.best() {
            let handler = NotifyHandler::One(connection);
            self.actions.push_back(ToSwarm::NotifyHandler {
                peer_id,
                handler,
                event: opening,
            });
        } else {
            peer.waiting.retain(|opening| !opening.reply.is_closed());
            if peer.waiting.len() >= WAITING {
                answer(
                    opening.reply,
                    Err(PeerError::Unreachable(
                        "too many streams wait for this peer".to_owned(),
                    )),
                );
                return;
            }
            let first = peer.waiting.is_empty();
            peer.waiting.push(opening);
            if first {
                let opts = DialOpts::peer_id(peer_id)
                    // It may still be connected, by what no stream is opened on any more.
                    .condition(PeerCondition::NotDialing)
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

    /// No more streams are opened on a connection: it is gone, or about to go, or opens none; the next opening dials anew.
    pub(super) fn give_up(&mut self, peer_id: PeerId, connection: ConnectionId) {
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
            for Opening { reply, .. } in peer.waiting.drain(..) {
                answer(reply, Err(PeerError::Unreachable(why.clone())));
            }
            self.peers.remove(&peer_id);
        }
    }
}

/// Sends the answer; an opener that no longer waits loses nothing.
fn answer(reply: Reply, result: Result<Opened, PeerError>) {
    let _ = reply.send(result);
}

/// A peer whose key is not an Ed25519 key has no name in the protocol.
#[derive(Debug, thiserror::Error)]
#[error("the peer's key is not an Ed25519 key")]
struct ForeignKey;

fn handler(peer: &PeerId, served: &Served) -> Result<Handler, ConnectionDenied> {
    if key_of(peer).is_none() {
        return Err(ConnectionDenied::new(ForeignKey));
    }
    Ok(Handler {
        served: served.clone(),
        taken: Arc::default(),
        opened: Arc::default(),
        actions: VecDeque::new(),
    })
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
        handler(&peer, &self.served)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        handler(&peer, &self.served)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(new) => {
                self.connected(new.peer_id, new.connection_id, new.endpoint.is_relayed());
            }
            FromSwarm::ConnectionClosed(old) => self.give_up(old.peer_id, old.connection_id),
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
            FromConnection::Arrived(spoken, stream, place) => {
                let arrived = Arrived {
                    spoken,
                    peer,
                    connection,
                    stream,
                    place,
                };
                self.actions.push_back(ToSwarm::GenerateEvent(arrived));
            }
            FromConnection::Opened(reply, stream, place) => {
                let opened = Opened {
                    connection,
                    stream,
                    place,
                };
                answer(reply, Ok(opened));
            }
            FromConnection::Failed(reply, error, others) => {
                if matches!(error, PeerError::Unreachable(_)) {
                    self.give_up(peer, connection);
                    // It is dead or stuck, or slow for what else is sent there, which goes on; whether it lives, pings tell.
                    if others == 0 {
                        let connection = CloseConnection::One(connection);
                        self.actions.push_back(ToSwarm::CloseConnection {
                            peer_id: peer,
                            connection,
                        });
                    }
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
    Arrived(Spoken, Stream, Place),
    Opened(Reply, Stream, Place),
    /// With the number of other streams on the connection.
    Failed(Reply, PeerError, usize),
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

/// What a peer may choose from for a stream that it opens.
#[derive(Debug, Clone)]
pub(super) struct Served(Vec<Spoken>);

impl UpgradeInfo for Served {
    type Info = Spoken;
    type InfoIter = std::vec::IntoIter<Spoken>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Served {
    type Output = (Spoken, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, chosen: Spoken) -> Self::Future {
        ready(Ok((chosen, stream)))
    }
}

/// One connection's streams.
pub(super) struct Handler {
    served: Served,
    /// Of the peer's streams.
    taken: Arc<AtomicUsize>,
    /// Of this node's.
    opened: Arc<AtomicUsize>,
    actions: VecDeque<ConnectionHandlerEvent<Chosen, Opening, FromConnection>>,
}

/// The one protocol of a stream that is opened here.
type Chosen = ReadyUpgrade<Spoken>;

impl ConnectionHandler for Handler {
    type FromBehaviour = Opening;
    type ToBehaviour = FromConnection;
    type InboundProtocol = Served;
    type OutboundProtocol = Chosen;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opening;

    fn listen_protocol(&self) -> SubstreamProtocol<Served> {
        SubstreamProtocol::new(self.served.clone(), ())
    }

    fn on_behaviour_event(&mut self, opening: Opening) {
        if !opening.reply.is_closed() {
            let chosen = ReadyUpgrade::new(opening.spoken);
            let protocol = SubstreamProtocol::new(chosen, opening).with_timeout(NEGOTIATION);
            self.actions
                .push_back(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Served, Chosen, (), Opening>) {
        let told = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (spoken, stream),
                ..
            }) => match Place::take(&self.taken) {
                Some(place) => FromConnection::Arrived(spoken, stream, place),
                None => return tracing::debug!("a stream over the connection's bound was dropped"),
            },
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                FromConnection::Opened(info.reply, protocol, Place::add(&self.opened))
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let others = self.taken.load(Ordering::Relaxed) + self.opened.load(Ordering::Relaxed);
                FromConnection::Failed(info.reply, failure(info.spoken, error), others)
            }
            _ => return,
        };
        self.actions
            .push_back(ConnectionHandlerEvent::NotifyBehaviour(told));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Chosen, Opening, FromConnection>> {
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

fn failure(spoken: Spoken, error: StreamUpgradeError<Infallible>) -> PeerError {
    match error {
        StreamUpgradeError::NegotiationFailed => PeerError::Unsupported(spoken),
        StreamUpgradeError::Timeout => PeerError::Unreachable("opening a stream took too long".to_owned()),
        StreamUpgradeError::Io(error) => PeerError::Unreachable(error.to_string()),
        StreamUpgradeError::Apply(never) => match never {},
    }
}
