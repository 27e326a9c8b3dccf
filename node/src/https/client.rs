//! The client.
#![allow(clippy::todo, unused_variables, dead_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cargomail_protocol::address::Domain;
use cargomail_protocol::fault::{Fault, Faulty};
use http::{Request, Response};

use crate::clock::Clock;
use crate::dns::{Dns, DnsError};
use crate::identity::Certificate;
use crate::network::{AddressPolicy, ConnectError, Network};

/// How a server proves that it is the one that was meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Proof {
    /// Its key's hash stands in TXT at `_grip.<name>`; where no pin is published there, the web PKI for the name.
    Dns,
    /// Its key's hash (SHA-256 of the SubjectPublicKeyInfo) is one of these.
    Fingerprints(Vec<[u8; 32]>),
    /// A certificate of the web PKI for the name.
    WebPki,
}

/// Whom to send a request to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    /// Who it is: the name in `_grip.<name>`, in the TLS SNI and in the certificate of the web PKI.
    pub name: String,
    /// Where it is: a host name, or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How it proves who it is.
    pub proof: Proof,
}

impl Server {
    /// A server found in the DNS, which proves itself by the DNS.
    #[must_use]
    pub fn named(name: &Domain, host: &str, port: u16) -> Self {
        Self {
            name: name.to_string(),
            host: host.to_owned(),
            port,
            proof: Proof::Dns,
        }
    }

    /// A server at a configured address, known by its key: the user's own node.
    #[must_use]
    pub fn at(address: SocketAddr, fingerprints: Vec<[u8; 32]>) -> Self {
        let host = address.ip().to_string();
        Self {
            name: host.clone(),
            host,
            port: address.port(),
            proof: Proof::Fingerprints(fingerprints),
        }
    }
}

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
            HttpsError::TooLarge { .. } => Fault::TooLarge,
            _ => Fault::TryLater(Duration::from_secs(60)),
        }
    }
}

/// Sends requests over the network port; keeps a few connections for reuse, per server and identity. Follows no
/// redirect, uses no proxy. Cheap to clone.
#[derive(Clone)]
pub struct Client {}

impl Client {
    /// A client without a certificate.
    #[must_use]
    pub fn new(
        network: Arc<dyn Network>,
        dns: Arc<dyn Dns>,
        clock: Arc<dyn Clock>,
        policy: AddressPolicy,
    ) -> Self {
        todo!()
    }

    /// The same client with this certificate, for mutual TLS; it shares no connection with others.
    ///
    /// # Errors
    /// [`super::TlsError`] when the certificate and its key do not fit.
    pub fn with_identity(&self, certificate: &Certificate) -> Result<Self, super::TlsError> {
        todo!()
    }

    /// Sends a request and gives the response as soon as its header is there; both bodies stream. The request's URI
    /// needs only path and query. Nothing is sent twice: a connection that was closed before the request went out is
    /// replaced, and every other failure is the caller's to judge.
    ///
    /// # Errors
    /// [`HttpsError`].
    pub async fn send(&self, server: &Server, request: Request<Body>) -> Result<Response<Body>, HttpsError> {
        todo!()
    }
}

/// Collects a body of at most `limit` octets.
///
/// # Errors
/// [`HttpsError::TooLarge`], or [`HttpsError::Http`] when it breaks off.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, HttpsError> {
    todo!()
}
