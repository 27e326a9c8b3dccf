//! The server: accepts, shakes hands, and hands requests to a router, with a bound on every phase (rows H01 to H03).
//!
//! What always holds: one connection can neither delay another's handshake nor outlive its limits; what is over a cap
//! is closed at once and costs no task.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

use axum::Router;
use cargomail_protocol::grip::{KeyHash, Proved};
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::tls::inspect;
use super::watch::{Asked, Guarded, Paced, Progress, Watched};
use crate::network::{ByteStream, Caller, Callers, Listener};

/// The header of one request.
const HEADER: u32 = 32 * 1024;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// What one HTTP/2 stream, and all of a connection's together, may have on its way before it is read.
const WINDOWS: (u32, u32) = (256 * 1024, 1024 * 1024);
/// Streams that a peer may open and reset before they were looked at (row H02).
const RESETS: usize = 20;

/// The key that a caller proved by mutual TLS and the name that its certificate claims. The name is a claim until GRIP has compared it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// DER SubjectPublicKeyInfo of the proved key.
    pub spki: Vec<u8>,
    /// SHA-256 of `spki`.
    pub spki_sha256: [u8; 32],
    /// The certificate's one common name, as written.
    pub cn: String,
}

impl PeerCertificate {
    /// What it proves: in the extensions of every request to a [`super::grip_server`] face.
    #[must_use]
    pub fn proves(&self) -> Proved {
        Proved::Certificate {
            key: KeyHash::from_bytes(self.spki_sha256),
            name: self.cn.clone(),
        }
    }
}

/// Where a request comes from; in the extensions of every request that comes from an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteAddress(pub SocketAddr);

/// Bounds of one listening face.
#[derive(Debug, Clone)]
pub struct ServingLimits {
    /// Connections at once, in all.
    pub connections: usize,
    /// Connections at once from one IPv4 address or one IPv6 /48.
    pub per_address: usize,
    /// From the accepted connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the first octet of a request to the end of its header; also how long a connection may be idle before it.
    pub header: Duration,
    /// Neither side has moved an octet for this long, or no request was open on a connection of HTTP/2.
    pub stalled: Duration,
    /// How long requests may go on after a shutdown has begun.
    pub shutdown: Duration,
}

impl Default for ServingLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_address: 64,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(15),
            stalled: Duration::from_secs(60),
            shutdown: Duration::from_secs(10),
        }
    }
}

/// A face that is being served.
#[derive(Debug)]
pub struct Serving {
    local: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits until the last connection is closed, after the shutdown token was cancelled.
    pub async fn stopped(self) {
        let _ = self.task.await;
    }
}

/// Serves the router over TLS until `shutdown` is cancelled; then open requests may end.
///
/// # Errors
/// When the listener does not know where it listens.
pub fn serve(
    listener: Box<dyn Listener>,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    limits: ServingLimits,
    shutdown: CancellationToken,
) -> io::Result<Serving> {
    let local = listener.local_addr()?;
    let face = Face {
        acceptor: TlsAcceptor::from(tls),
        places: Arc::new(Semaphore::new(limits.connections)),
        callers: Callers::default(),
        requests: Requests {
            router,
            limits,
            shutdown,
        },
    };
    let task = tokio::spawn(accept(listener, Arc::new(face)).in_current_span());
    Ok(Serving { local, task })
}

struct Face {
    acceptor: TlsAcceptor,
    places: Arc<Semaphore>,
    callers: Callers,
    requests: Requests,
}

/// What is done with the requests of a connection.
pub(super) struct Requests {
    pub(super) router: Router,
    pub(super) limits: ServingLimits,
    pub(super) shutdown: CancellationToken,
}

/// Who is at the other end of a connection, as far as that is known.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) from: Option<SocketAddr>,
    pub(super) proved: Option<Proved>,
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.from, &self.proved) {
            (Some(from), _) => write!(f, "{from}"),
            (None, Some(proved)) => write!(f, "{proved}"),
            (None, None) => f.write_str("somebody"),
        }
    }
}

async fn accept(mut listener: Box<dyn Listener>, face: Arc<Face>) {
    let tasks = TaskTracker::new();
    loop {
        let (stream, from) = tokio::select! {
            biased;
            () = face.requests.shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or a connection that was gone already: neither may spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let place = face.places.clone().try_acquire_owned().ok();
        let caller = face.callers.enter(from.ip(), face.requests.limits.per_address);
        let (Some(place), Some(caller)) = (place, caller) else {
            tracing::debug!(%from, "a connection over the cap was closed");
            continue;
        };
        tasks.spawn(connection(face.clone(), stream, from, place, caller).in_current_span());
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn connection(
    face: Arc<Face>,
    stream: Box<dyn ByteStream>,
    from: SocketAddr,
    _place: OwnedSemaphorePermit,
    _caller: Caller,
) {
    let progress = Progress::default();
    let stream = Watched::new(stream, progress.clone());
    let handshake = tokio::time::timeout(face.requests.limits.handshake, face.acceptor.accept(stream));
    let stream = tokio::select! {
        biased;
        () = face.requests.shutdown.cancelled() => return,
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%from, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%from, "TLS handshake took too long"),
        },
    };
    let (_, session) = stream.get_ref();
    let version = match session.alpn_protocol() == Some(b"h2") {
        true => Version::Two,
        false => Version::One,
    };
    let proved = match session.peer_certificates() {
        None => None,
        Some(chain) => match chain.first().map(|der| inspect(der, valid_time(der))) {
            Some(Ok(peer)) => Some(peer.proves()),
            _ => return tracing::warn!(%from, "a certificate that passed the handshake could not be read"),
        },
    };
    let known = Known {
        from: Some(from),
        proved,
    };
    face.requests.answer(stream, version, known, progress).await;
}

impl Requests {
    /// Answers the requests on a connection until it ends, stalls, is not used, or the service stops.
    pub(super) async fn answer<S>(&self, stream: S, version: Version, known: Known, progress: Progress)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone();
        // HTTP/2 runs each request in a task of its own, which would forget whose node it is.
        let span = tracing::Span::current();
        let about = known.clone();
        let asked = Asked::default();
        let asks = asked.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Paced::wrap);
            let extensions = request.extensions_mut();
            if let Some(from) = known.from {
                extensions.insert(RemoteAddress(from));
            }
            if let Some(proved) = &known.proved {
                extensions.insert(proved.clone());
            }
            let open = asks.one_more();
            let answer = router.clone().oneshot(request);
            async move { Ok::<_, Infallible>(answer.await?.map(|body| Guarded::wrap(body, open))) }
                .instrument(span.clone())
        });
        let builder = builder(&self.limits, version);
        let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let stalled = progress.stalled(self.limits.stalled);
        let unused = async {
            match version {
                // Waits for each header in its own time.
                Version::One => std::future::pending().await,
                Version::Two => asked.nothing(self.limits.stalled).await,
            }
        };
        tokio::select! {
            biased;
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(from = %about, %error, "connection ended");
                }
            }
            () = stalled => tracing::debug!(from = %about, "connection stalled"),
            () = unused => close(serving, self.limits.stalled).await,
            () = self.shutdown.cancelled() => close(serving, self.limits.shutdown).await,
        }
    }
}

/// Takes no more requests of a connection; what is under way may end within that time.
async fn close<C: GracefulConnection>(mut serving: Pin<&mut C>, within: Duration) {
    serving.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(within, serving).await;
}

/// A moment at which the certificate is valid: the handshake has judged its dates, by the node's clock.
fn valid_time(der: &[u8]) -> u64 {
    let begin =
        x509_parser::parse_x509_certificate(der).map(|(_, parsed)| parsed.validity().not_before.timestamp());
    begin
        .ok()
        .and_then(|begin| u64::try_from(begin).ok())
        .unwrap_or(0)
}

#[derive(Clone, Copy)]
pub(super) enum Version {
    One,
    Two,
}

fn builder(limits: &ServingLimits, version: Version) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(HEADER as usize)
        .max_headers(100);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER)
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .max_send_buf_size(WINDOWS.0 as usize);
    // TLS, or what was agreed on for the stream, has settled the version, so there is no guessing by the first octets, which could be sent slowly.
    match version {
        Version::One => builder.http1_only(),
        Version::Two => builder.http2_only(),
    }
}
