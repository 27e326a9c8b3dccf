//! How many streams that peers opened are served at once, of each that is spoken: so many of one peer, so many in all. The next ones wait
//! for their turn, for as long as a stalled stream would live, and are then dropped.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cargomail_protocol::limits;
use libp2p::{PeerId, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use super::host::StreamBounds;
use super::streams::Arrived;
use super::{PeerStream, Spoken, key_of};

/// So many times as many streams as are served wait for their turn, in all and of one peer; each is a task of a few hundred octets and
/// its receive window.
const WAITING: usize = 4;

/// The gates between the swarm and [`super::Peers::accept`]: one for each that is spoken, so that neither keeps the other waiting.
pub(super) struct Admission {
    exchange: Gate,
    grip: Gate,
}

/// Where accepted streams go.
pub(super) struct Accepting {
    pub(super) exchange: mpsc::Sender<PeerStream>,
    pub(super) grip: mpsc::Sender<PeerStream>,
}

impl Admission {
    pub(super) fn new(bounds: StreamBounds, accepting: Accepting) -> Self {
        Self {
            exchange: Gate::new(bounds.exchange, limits::STREAMS, accepting.exchange),
            grip: Gate::new(bounds.grip, limits::GRIP_STREAMS, accepting.grip),
        }
    }

    /// Hands the stream over when its turn has come.
    pub(super) fn arrived(&mut self, arrived: Arrived) {
        match arrived.spoken {
            Spoken::Exchange => self.exchange.arrived(arrived),
            Spoken::Grip => self.grip.arrived(arrived),
        }
    }

    /// Forgets peers of which nothing is open or waiting.
    pub(super) fn tidy(&mut self) {
        for gate in [&mut self.exchange, &mut self.grip] {
            gate.peers.retain(|_, peer| !peer.is_idle());
        }
    }
}

/// What one peer may have served, and waiting.
struct OfPeer {
    served: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl OfPeer {
    fn new(served: usize) -> Self {
        Self {
            served: Arc::new(Semaphore::new(served)),
            waiting: Arc::new(Semaphore::new(WAITING * served)),
        }
    }

    /// Whether nothing is open or waiting: every stream holds on to one of the two.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.served) == 1 && Arc::strong_count(&self.waiting) == 1
    }
}

struct Gate {
    per_peer: usize,
    peers: HashMap<PeerId, OfPeer>,
    served: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    accepted: mpsc::Sender<PeerStream>,
}

impl Gate {
    fn new(per_peer: usize, in_all: usize, accepted: mpsc::Sender<PeerStream>) -> Self {
        Self {
            per_peer,
            peers: HashMap::new(),
            served: Arc::new(Semaphore::new(in_all)),
            waiting: Arc::new(Semaphore::new(WAITING * in_all)),
            accepted,
        }
    }

    fn arrived(&mut self, arrived: Arrived) {
        let Some(key) = key_of(&arrived.peer) else { return };
        let per_peer = self.per_peer;
        let of_peer = self
            .peers
            .entry(arrived.peer)
            .or_insert_with(|| OfPeer::new(per_peer));
        // Of the places to wait in it has a share, too: one that asks for too much leaves the others theirs.
        let queued = [&of_peer.waiting, &self.waiting].map(|waiting| waiting.clone().try_acquire_owned());
        let [Ok(of_peers), Ok(of_all)] = queued else {
            return tracing::debug!(peer = %arrived.peer, "a stream was dropped: too many wait");
        };
        let queued = [of_peers, of_all];
        let (of_peer, served, accepted) =
            (of_peer.served.clone(), self.served.clone(), self.accepted.clone());
        tokio::spawn(async move {
            let turn = async {
                let of_peer = of_peer.acquire_owned().await.ok()?;
                Some([of_peer, served.acquire_owned().await.ok()?])
            };
            let Ok(Some(turns)) = tokio::time::timeout(limits::STALLED, turn).await else {
                return tracing::debug!(peer = %arrived.peer, "a stream was dropped: its turn did not come");
            };
            let io = Held::new(arrived.stream, (turns, arrived.place));
            let connection = connection_number(arrived.connection);
            let _ = accepted
                .send(PeerStream {
                    key,
                    connection,
                    io: Box::new(io),
                })
                .await;
            drop(queued);
        });
    }
}

/// libp2p's number of a connection, which it only tells as text.
pub(super) fn connection_number(connection: libp2p::swarm::ConnectionId) -> u64 {
    connection.to_string().parse().unwrap_or(0)
}

/// A stream with its place and turns, which end with it.
pub(super) struct Held<Turns> {
    stream: Compat<Stream>,
    _turns: Turns,
}

impl<Turns> Held<Turns> {
    pub(super) fn new(stream: Stream, turns: Turns) -> Self {
        Self {
            stream: stream.compat(),
            _turns: turns,
        }
    }
}

impl<Turns: Unpin> AsyncRead for Held<Turns> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<Turns: Unpin> AsyncWrite for Held<Turns> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
