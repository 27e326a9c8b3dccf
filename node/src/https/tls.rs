//! The TLS configurations of the two HTTPS faces.
#![allow(clippy::todo, unused_variables, dead_code)]

use std::sync::Arc;

use cargomail_protocol::fault::{Fault, Faulty};

use crate::clock::Clock;
use crate::identity::Certificate;

/// Why a peer's certificate is not looked at further (row D07).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// It is larger than the bound, or a chain.
    #[error("certificate larger than allowed")]
    TooLarge,
    /// It is not DER X.509.
    #[error("certificate cannot be parsed")]
    Malformed,
    /// It is a CA's.
    #[error("a CA's certificate")]
    Authority,
    /// Its time is over, or has not come.
    #[error("certificate expired or not yet valid")]
    NotValidNow,
    /// It has none or several common names, or one that is not a name.
    #[error("certificate without one proper common name")]
    CommonName,
    /// Its key is neither Ed25519 nor ECDSA P-256.
    #[error("certificate with a key of a kind that is not allowed")]
    KeyKind,
}

impl Faulty for BadCertificate {
    fn fault(&self) -> Fault {
        Fault::Unauthenticated
    }
}

/// A TLS configuration could not be made of a certificate and its key.
#[derive(Debug, thiserror::Error)]
#[error("TLS configuration: {0}")]
pub struct TlsError(#[from] pub rustls::Error);

impl Faulty for TlsError {
    fn fault(&self) -> Fault {
        Fault::Local
    }
}

/// For machines: TLS 1.3 only, a client certificate is required, no resumption and no early data (row D08). Any
/// self-signed certificate passes that is sane (row D07) and whose key the handshake proves.
///
/// # Errors
/// [`TlsError`] when the certificate and its key do not fit.
pub fn grip_server(
    certificate: &Certificate,
    clock: Arc<dyn Clock>,
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    todo!()
}

/// For people and their programs: TLS 1.3 and 1.2, no client certificate.
///
/// # Errors
/// [`TlsError`] when the certificate and its key do not fit.
pub fn user_server(certificate: &Certificate) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    todo!()
}
