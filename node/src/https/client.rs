//! The client: finds the server's addresses, checks them, proves the server's key, sends one request at a time or many.
//!
//! What always holds: only addresses that the policy allows are connected to, except one that this node's own
//! configuration names together with its key; no octet of a request leaves before the server has proved itself; nothing is
//! redirected, proxied, resumed or sent twice.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cargomail_protocol::fault::{Fault, Faulty};
use http::header::{self, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Request, Response, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::pool::{Connection, Pool, Returning, Sender};
use super::tls::{self, Trust, Versions};
use super::watch::Guarded;
use super::{Proof, Server, TlsError, pins};
use crate::clock::Clock;
use crate::dns::{Dns, DnsError};
use crate::identity::Certificate;
use crate::network::{AddressPolicy, ConnectError, Network};
use crate::peers::{PeerError, Peers};

/// From the end of the request to the header of the response.
const ANSWER: Duration = Duration::from_secs(60);
/// A response that is read into memory comes at least at this speed after a minute: octets a second.
const SLOWEST: u64 = 16 * 1024;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The pin's name could not be looked up.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The server's key is not one of those that are pinned for its name.
    #[error("{name}: the server's key is not pinned")]
    WrongPin {
        /// The server's name.
        name: String,
    },
    /// The TLS handshake failed: also when the server is not who it should be by the web PKI.
    #[error("{name}: TLS: {why}")]
    Tls {
        /// The server's name.
        name: String,
        /// What failed.
        why: String,
    },
    /// The HTTP exchange broke.
    #[error("{name}: HTTP: {why}")]
    Http {
        /// The server's name.
        name: String,
        /// What failed.
        why: String,
    },
    /// The server took too long.
    #[error("{name}: no answer in time")]
    Timeout {
        /// The server's name.
        name: String,
    },
    /// No stream to the server's peer.
    #[error("{name}: {error}")]
    Peer {
        /// The server's name.
        name: String,
        /// Why.
        error: PeerError,
    },
    /// The response is larger than the caller's bound.
    #[error("the response is larger than {limit} octets")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
}

impl Faulty for HttpsError {
    fn fault(&self) -> Fault {
        match self {
            HttpsError::Connect(error) => error.fault(),
            HttpsError::Dns(error) => error.fault(),
            HttpsError::WrongPin { .. } => Fault::Unauthenticated,
            // It is there, and is no such server.
            HttpsError::Peer {
                error: PeerError::Unsupported(_),
                ..
            } => Fault::Refused,
            HttpsError::Peer { error, .. } => error.fault(),
            HttpsError::TooLarge { .. } => Fault::TooLarge,
            _ => Fault::TryLater(Duration::from_secs(60)),
        }
    }
}

/// Sends requests over the network port; keeps a few connections for reuse, per server and identity. Follows no
/// redirect, uses no proxy. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(super) world: Arc<World>,
    pub(super) identity: Option<Certificate>,
    pub(super) versions: Versions,
    pub(super) pool: Pool,
    pub(super) peers: Option<Arc<dyn Peers>>,
}

/// What every client of this node has in common.
pub(super) struct World {
    pub(super) network: Arc<dyn Network>,
    pub(super) dns: Arc<dyn Dns>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) policy: AddressPolicy,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client without a certificate.
    #[must_use]
    pub fn new(
        network: Arc<dyn Network>,
        dns: Arc<dyn Dns>,
        clock: Arc<dyn Clock>,
        policy: AddressPolicy,
    ) -> Self {
        let world = Arc::new(World {
            network,
            dns,
            clock,
            policy,
        });
        Self {
            world,
            identity: None,
            versions: Versions::Both,
            pool: Pool::default(),
            peers: None,
        }
    }

    /// The same client with this certificate, for mutual TLS; it shares no connection with others.
    ///
    /// # Errors
    /// [`TlsError`] when the certificate and its key do not fit.
    pub fn with_identity(&self, certificate: &Certificate) -> Result<Self, TlsError> {
        tls::client(
            Trust::Pinned(Vec::new()),
            Some(certificate),
            self.versions,
            self.world.clock.clone(),
        )?;
        let identity = Some(certificate.clone());
        Ok(Self {
            identity,
            pool: Pool::default(),
            ..self.clone()
        })
    }

    /// The same client, which speaks HTTP/1.1 only: one request at a time on a connection. It shares no connection with others.
    #[must_use]
    pub fn without_http2(&self) -> Self {
        Self {
            versions: Versions::One,
            pool: Pool::default(),
            ..self.clone()
        }
    }

    /// Sends a request and gives the response as soon as its header is there; both bodies stream. The request's URI
    /// needs only path and query. Nothing is sent twice: a connection that was closed before the request went out is
    /// replaced, and every other failure is the caller's to judge.
    ///
    /// # Errors
    /// [`HttpsError`].
    pub async fn send(&self, server: &Server, request: Request<Body>) -> Result<Response<Body>, HttpsError> {
        let trust = self.trust(server).await?;
        let (mut request, sent) = tell_when_sent(request);
        if let Some(kept) = self.pool.take(server, &trust) {
            match self.exchange(server, kept, request, &sent).await {
                Err(Unsent::No(unsent)) => request = *unsent,
                Err(Unsent::Yes(error)) => return Err(error),
                Ok(response) => return Ok(response),
            }
        }
        let fresh = Box::pin(self.connect(server, trust)).await?;
        match self.exchange(server, fresh, request, &sent).await {
            Ok(response) => Ok(response),
            Err(Unsent::Yes(error)) => Err(error),
            Err(Unsent::No(_)) => Err(broken(
                &server.name,
                std::io::Error::from(std::io::ErrorKind::ConnectionReset),
            )),
        }
    }

    async fn trust(&self, server: &Server) -> Result<Trust, HttpsError> {
        Ok(match &server.proof {
            Proof::Fingerprints(fingerprints) => Trust::Pinned(fingerprints.clone()),
            Proof::WebPki => Trust::WebPki,
            Proof::Dns => match pins(&*self.world.dns, &server.name).await? {
                pins if pins.is_empty() => Trust::WebPki,
                pins => Trust::Pinned(pins),
            },
        })
    }

    async fn exchange(
        &self,
        server: &Server,
        mut connection: Connection,
        request: Request<Body>,
        sent: &CancellationToken,
    ) -> Result<Response<Body>, Unsent> {
        let request = self
            .addressed(server, &connection.sender, request)
            .map_err(Unsent::Yes)?;
        let trying = async {
            match &mut connection.sender {
                Sender::One(sender) => sender.try_send_request(request).await,
                Sender::Two(sender) => sender.try_send_request(request).await,
            }
        };
        let answered = tokio::select! {
            biased;
            answered = trying => answered,
            () = late(sent) => {
                self.pool.forget(server);
                return Err(Unsent::Yes(HttpsError::Timeout { name: server.name.clone() }));
            }
        };
        match answered {
            Ok(response) => Ok(response.map(|body| self.body(server, connection, body))),
            Err(mut failed) => Err(match failed.take_message() {
                Some(request) => Unsent::No(Box::new(request)),
                None => Unsent::Yes(broken(&server.name, failed.into_error())),
            }),
        }
    }

    /// The response's body; an HTTP/1.1 connection can be used again once it has been read.
    fn body(&self, server: &Server, connection: Connection, body: Incoming) -> Body {
        match connection.sender {
            Sender::One(_) => Returning::wrap(body, self.pool.clone(), server.clone(), connection),
            Sender::Two(_) => Body::new(body),
        }
    }

    /// The request in the form that the protocol's version wants.
    fn addressed(
        &self,
        server: &Server,
        sender: &Sender,
        request: Request<Body>,
    ) -> Result<Request<Body>, HttpsError> {
        let unfit = |error: http::Error| broken(&server.name, error);
        let host = match server.name.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
            _ => server.name.clone(),
        };
        let authority = if server.port == 443 {
            host
        } else {
            format!("{host}:{}", server.port)
        };
        let (mut parts, body) = request.into_parts();
        let path = parts
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or(PathAndQuery::from_static("/"));
        let mut uri = Uri::builder().path_and_query(path);
        match sender {
            Sender::One(_) => {
                parts.version = Version::HTTP_11;
                let host = HeaderValue::try_from(&authority).map_err(|error| unfit(error.into()))?;
                parts.headers.insert(header::HOST, host);
            }
            Sender::Two(_) => {
                parts.version = Version::HTTP_2;
                parts.headers.remove(header::HOST);
                let authority = Authority::try_from(authority).map_err(|error| unfit(error.into()))?;
                uri = uri.scheme(Scheme::HTTPS).authority(authority);
            }
        }
        parts.uri = uri.build().map_err(unfit)?;
        Ok(Request::from_parts(parts, body))
    }
}

/// Whether a request that failed had gone out.
enum Unsent {
    No(Box<Request<Body>>),
    Yes(HttpsError),
}

pub(super) fn broken(name: &str, why: impl std::error::Error) -> HttpsError {
    // The cause says what happened; hyper's own text only where.
    let mut text = why.to_string();
    let mut cause = why.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    HttpsError::Http {
        name: name.to_owned(),
        why: text,
    }
}

/// Returns once an answer to a request that was sent is overdue.
pub(super) async fn late(sent: &CancellationToken) {
    sent.cancelled().await;
    tokio::time::sleep(ANSWER).await;
}

/// The request, and a token that is cancelled when its body has gone out.
pub(super) fn tell_when_sent(request: Request<Body>) -> (Request<Body>, CancellationToken) {
    let sent = CancellationToken::new();
    (
        request.map(|body| Guarded::wrap(body, sent.clone().drop_guard())),
        sent,
    )
}

/// Collects a body of at most `limit` octets.
///
/// # Errors
/// [`HttpsError::TooLarge`], or [`HttpsError::Http`] when it breaks off, or [`HttpsError::Timeout`] when it crawls.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, HttpsError> {
    let name = || "response".to_owned();
    let longest = Duration::from_secs(60 + limit as u64 / SLOWEST);
    match tokio::time::timeout(longest, Limited::new(body, limit).collect()).await {
        Err(_) => Err(HttpsError::Timeout { name: name() }),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(HttpsError::TooLarge { limit }),
        Ok(Err(error)) => Err(HttpsError::Http {
            name: name(),
            why: error.to_string(),
        }),
    }
}
