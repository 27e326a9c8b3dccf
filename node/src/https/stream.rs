//! The same requests over streams of libp2p (`spec/grip.md` §4): HTTP/1.1 on each, between peers that have proved their keys.
//!
//! Not here: which addresses of peers may be dialled, which is the peer host's matter. What always holds: nothing is said to a peer
//! whose key is not pinned for the name; a request on a stream proves a key and claims no name; a stream has the bounds of a
//! connection by HTTPS in every phase.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use cargomail_protocol::address::Domain;
use cargomail_protocol::grip::{Proved, PublicKey};
use cargomail_protocol::limits;
use http::header::{self, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response, Version};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::client::{broken, late, tell_when_sent};
use super::connect::{HEADER, drive};
use super::server::{self, Known, Requests};
use super::watch::{Progress, Watched};
use super::{Client, HttpsError, ServingLimits, pins};
use crate::peers::{self, PeerAddress, PeerError, PeerStream, Peers, ReachError, Spoken};

impl Client {
    /// The same client, which can also send over streams of these peers.
    #[must_use]
    pub fn with_peers(self, peers: Arc<dyn Peers>) -> Self {
        Self {
            peers: Some(peers),
            ..self
        }
    }

    /// Whether it can send over streams.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.peers.is_some()
    }

    /// Sends a request to the peer of a name at one of these addresses, over a stream of its own: a connection that is there costs one
    /// round trip. Otherwise as [`Client::send`]; nothing is sent twice.
    ///
    /// # Errors
    /// [`HttpsError`].
    pub async fn send_to_peer(
        &self,
        name: &Domain,
        at: Vec<PeerAddress>,
        request: Request<Body>,
    ) -> Result<Response<Body>, HttpsError> {
        let name = name.as_str();
        let request = addressed(name, request)?;
        let (request, sent) = tell_when_sent(request);
        let stream = self.stream(name, at).await?;
        let progress = Progress::default();
        let io = TokioIo::new(Watched::new(stream.io, progress.clone()));
        let (mut sender, driver) = http1::Builder::new()
            .max_buf_size(HEADER)
            .handshake(io)
            .await
            .map_err(|error| broken(name, error))?;
        drive(driver, progress);
        tokio::select! {
            biased;
            answered = sender.send_request(request) => match answered {
                Ok(response) => Ok(response.map(Body::new)),
                Err(error) => Err(broken(name, error)),
            },
            () = late(&sent) => Err(HttpsError::Timeout { name: name.to_owned() }),
        }
    }

    async fn stream(&self, name: &str, at: Vec<PeerAddress>) -> Result<PeerStream, HttpsError> {
        let failed = |error| HttpsError::Peer {
            name: name.to_owned(),
            error,
        };
        let peers = self.peers.as_deref().ok_or_else(|| failed(PeerError::Closed))?;
        let pins = pins(&*self.world.dns, name).await?;
        let reaching = peers::reach(peers, Spoken::Grip, name, at, &pins);
        match tokio::time::timeout(limits::STREAM_OPENING, reaching).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(ReachError::NotPinned(name))) => Err(HttpsError::WrongPin { name }),
            Ok(Err(ReachError::Peer(error))) => Err(failed(error)),
            Err(_) => Err(failed(PeerError::Unreachable("no stream in time".to_owned()))),
        }
    }
}

/// The request in the form of HTTP/1.1.
fn addressed(name: &str, request: Request<Body>) -> Result<Request<Body>, HttpsError> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    parts.version = Version::HTTP_11;
    let host = HeaderValue::try_from(name).map_err(|error| broken(name, error))?;
    parts.headers.insert(header::HOST, host);
    Ok(Request::from_parts(parts, body))
}

/// Serves the router on streams that peers open, until `shutdown` is cancelled or the peers stop; then open requests may end. Of a
/// peer's streams at once, the peers let so many through as their bounds allow.
pub async fn serve_peers(
    peers: Arc<dyn Peers>,
    router: Router,
    bounds: ServingLimits,
    shutdown: CancellationToken,
) {
    let requests = Arc::new(Requests {
        router,
        limits: bounds,
        shutdown: shutdown.clone(),
    });
    let places = Arc::new(Semaphore::new(limits::GRIP_STREAMS));
    let tasks = TaskTracker::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.ok()?;
            Some((place, peers.accept(Spoken::Grip).await?))
        };
        let (place, stream) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            next = next => match next {
                Some(next) => next,
                None => break,
            },
        };
        tasks.spawn(talk(requests.clone(), stream, place).in_current_span());
    }
    tasks.close();
    tasks.wait().await;
}

async fn talk(requests: Arc<Requests>, stream: PeerStream, _place: OwnedSemaphorePermit) {
    let Ok(key) = PublicKey::ed25519(stream.key).map(|key| key.hash()) else {
        return tracing::debug!("a peer's key is unusable");
    };
    let known = Known {
        from: None,
        proved: Some(Proved::Peer { key }),
    };
    let progress = Progress::default();
    let io = Watched::new(stream.io, progress.clone());
    requests.answer(io, server::Version::One, known, progress).await;
}
