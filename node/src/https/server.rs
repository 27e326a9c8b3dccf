//! The server.
#![allow(clippy::todo, unused_variables, dead_code)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::network::Listener;

/// The key that a caller proved by mutual TLS and the name that its certificate claims; in the extensions of every
/// request to a [`super::grip_server`] face. The name is a claim until GRIP has compared it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// DER SubjectPublicKeyInfo of the proved key.
    pub spki: Vec<u8>,
    /// SHA-256 of `spki`.
    pub spki_sha256: [u8; 32],
    /// The certificate's one common name, as written.
    pub cn: String,
}

/// Where a request comes from; in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteAddress(pub SocketAddr);

/// Bounds of one listening face.
#[derive(Debug, Clone)]
pub struct ServingLimits {
    /// Connections at once, in all.
    pub connections: usize,
    /// Connections at once from one IPv4 address or one IPv6 /64.
    pub per_address: usize,
    /// From the accepted connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the first octet of a request to the end of its header; also how long a connection may be idle before it.
    pub header: Duration,
    /// Neither side has moved an octet for this long.
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
    todo!()
}
