//! Open connections that the next request to the same server may use.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use super::Server;
use super::tls::Trust;

/// Servers with kept connections.
const SERVERS: usize = 64;
/// Kept connections to one server.
const CONNECTIONS: usize = 4;
/// How long a connection of HTTP/1.1 is kept without use, and one of HTTP/2: shorter than this program's servers wait for a request
/// ([`super::ServingLimits`]: `header` and `stalled`). Those of others say so when they wait no longer.
const IDLE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(45));

/// Sends requests on one connection.
pub(super) enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

/// An open connection.
pub(super) struct Connection {
    pub(super) sender: Sender,
    /// The hash of the key that the server proved.
    pub(super) key: [u8; 32],
    /// Nothing was asked of the server but that this is its key.
    pub(super) is_pinned: bool,
}

impl Connection {
    /// Whether it can be used that was used last then.
    fn is_usable(&self, since: Instant) -> bool {
        let (one, two) = IDLE;
        let (idle, is_ready) = match &self.sender {
            Sender::One(sender) => (one, sender.is_ready()),
            Sender::Two(sender) => (two, sender.is_ready()),
        };
        since.elapsed() < idle && is_ready
    }
}

type Kept = HashMap<Server, Vec<(Connection, Instant)>>;

#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Kept>>);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A connection lost with a panic is only a connection lost.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to the server whose key is still trusted; an HTTP/2 one stays here for others too.
    pub(super) fn take(&self, server: &Server, trust: &Trust) -> Option<Connection> {
        let mut kept = self.lock();
        let connections = kept.get_mut(server)?;
        connections.retain(|(connection, since)| {
            let trusted = match trust {
                Trust::Pinned(pins) => pins.contains(&connection.key),
                Trust::WebPki => !connection.is_pinned,
            };
            trusted && connection.is_usable(*since)
        });
        let (connection, _) = connections.pop()?;
        if let Sender::Two(sender) = &connection.sender {
            let shared = Connection {
                sender: Sender::Two(sender.clone()),
                ..connection
            };
            connections.push((shared, Instant::now()));
        }
        Some(connection)
    }

    /// No request after this one goes over the connections that are kept to this server: over one of them an answer did not come.
    pub(super) fn forget(&self, server: &Server) {
        self.lock().remove(server);
    }

    /// Keeps a connection for the next request. Where there is no room, the server makes room that was not asked for longest.
    pub(super) fn keep(&self, server: &Server, connection: Connection) {
        let mut kept = self.lock();
        if kept.len() >= SERVERS && !kept.contains_key(server) {
            let last = |connections: &Vec<(_, Instant)>| connections.iter().map(|(_, since)| *since).max();
            let longest = kept
                .iter()
                .min_by_key(|(server, connections)| (last(connections), *server));
            if let Some(longest) = longest.map(|(server, _)| server.clone()) {
                kept.remove(&longest);
            }
        }
        let connections = kept.entry(server.clone()).or_default();
        if connections.len() < CONNECTIONS {
            connections.push((connection, Instant::now()));
        }
    }
}

/// A response's body that gives its HTTP/1.1 connection back once it has been read to its end.
pub(super) struct Returning {
    body: Incoming,
    back: Option<(Pool, Server, Connection)>,
}

impl Returning {
    pub(super) fn wrap(body: Incoming, pool: Pool, server: Server, connection: Connection) -> Body {
        let mut returning = Self {
            body,
            back: Some((pool, server, connection)),
        };
        if returning.body.is_end_stream() {
            returning.give_back();
        }
        Body::new(returning)
    }

    fn give_back(&mut self) {
        if let Some((pool, server, connection)) = self.back.take() {
            pool.keep(&server, connection);
        }
    }
}

impl HttpBody for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || (polled.is_ready() && self.body.is_end_stream()) {
            self.give_back();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
