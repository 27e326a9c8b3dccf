//! The TLS configurations of both HTTPS faces and of the client, and what a certificate must look like.
//!
//! Not here: whether a key may do what it asks for. A self-signed certificate proves nothing but its key, by the
//! handshake's signature; its name is a claim. What always holds: TLS 1.3 wherever machines talk, no resumption that could keep
//! an identity beyond its time, no early data that could be replayed (row D08).

use std::sync::Arc;
use std::time::Duration;

use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::limits;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;

use super::{PeerCertificate, Renewable};
use crate::clock::Clock;
use crate::identity::{self, Certificate};

/// Why a peer's certificate is not looked at further (row D07).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// It is larger than the bound, or came with others.
    #[error("a certificate larger than allowed, or a chain")]
    TooLarge,
    /// It is not one DER X.509 certificate.
    #[error("a certificate that cannot be parsed")]
    Malformed,
    /// It is a CA's.
    #[error("a CA's certificate")]
    Authority,
    /// Its time is over, or has not come.
    #[error("a certificate that is expired or not yet valid")]
    NotValidNow,
    /// It is for something else than a client.
    #[error("a certificate for another purpose")]
    Purpose,
    /// It has none or several common names, or one that is not a name.
    #[error("a certificate without one proper common name")]
    CommonName,
    /// Its key is neither Ed25519 nor ECDSA P-256.
    #[error("a certificate with a key of a kind that is not allowed")]
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
pub fn grip_server(certificate: &Certificate, clock: Arc<dyn Clock>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let verifier = Arc::new(AnySaneClient {
        provider: provider.clone(),
    });
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(Now(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificate.chain().to_vec(), certificate.key().clone_key())?;
    without_resumption(&mut config);
    Ok(Arc::new(config))
}

/// For people and their programs: TLS 1.3 and 1.2, no client certificate.
///
/// # Errors
/// [`TlsError`] when there can be no such configuration.
pub fn user_server(certificate: &Renewable) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(WebPkiClientVerifier::no_client_auth())
        .with_cert_resolver(Arc::new(certificate.clone()));
    without_resumption(&mut config);
    Ok(Arc::new(config))
}

fn without_resumption(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
}

/// Which server keys the client takes.
#[derive(Debug, Clone)]
pub(super) enum Trust {
    /// One of these, by the hash of its SubjectPublicKeyInfo; nothing else of the certificate counts.
    Pinned(Vec<[u8; 32]>),
    /// What the web PKI takes for the server's name.
    WebPki,
}

/// Which versions of HTTP the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versions {
    /// HTTP/1.1.
    One,
    /// HTTP/2 where the server does, else HTTP/1.1.
    Both,
}

/// The client's side, with its certificate for mutual TLS if it has one.
pub(super) fn client(
    trust: Trust,
    identity: Option<&Certificate>,
    versions: Versions,
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Pinned(pins) => Arc::new(PinnedServer {
            pins,
            provider: provider.clone(),
        }),
        Trust::WebPki => Arc::new(rustls_platform_verifier::Verifier::new(provider.clone())?),
    };
    let builder = ClientConfig::builder_with_details(provider, Arc::new(Now(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(own) => builder.with_client_auth_cert(own.chain().to_vec(), own.key().clone_key())?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = match versions {
        Versions::One => vec![b"http/1.1".to_vec()],
        Versions::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The node's clock, as rustls asks for the time.
struct Now(Arc<dyn Clock>);

impl std::fmt::Debug for Now {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Now")
    }
}

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(
            self.0.now().millis(),
        )))
    }
}

/// The key that a client's certificate holds and the name that it claims, when the certificate is sane (row D07).
///
/// # Errors
/// [`BadCertificate`], the first that applies.
pub fn inspect(der: &[u8], seconds: u64) -> Result<PeerCertificate, BadCertificate> {
    if der.len() > limits::CERTIFICATE {
        return Err(BadCertificate::TooLarge);
    }
    let Ok((rest, certificate)) = x509_parser::parse_x509_certificate(der) else {
        return Err(BadCertificate::Malformed);
    };
    if !rest.is_empty() {
        return Err(BadCertificate::Malformed);
    }
    check_purpose(&certificate)?;
    let valid = certificate.validity();
    let now = i64::try_from(seconds).unwrap_or(i64::MAX);
    if now < valid.not_before.timestamp() || now > valid.not_after.timestamp() {
        return Err(BadCertificate::NotValidNow);
    }
    check_key(&certificate)?;
    let cn = common_name(&certificate)?;
    let spki = certificate.public_key().raw.to_vec();
    let spki_sha256 = Sha256::digest(&spki).into();
    Ok(PeerCertificate {
        spki,
        spki_sha256,
        cn,
    })
}

fn check_purpose(certificate: &X509Certificate<'_>) -> Result<(), BadCertificate> {
    let constraints = certificate
        .basic_constraints()
        .map_err(|_| BadCertificate::Malformed)?;
    let usage = certificate.key_usage().map_err(|_| BadCertificate::Malformed)?;
    let signs = usage.as_ref().is_some_and(|usage| usage.value.key_cert_sign());
    if signs || constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(BadCertificate::Authority);
    }
    let extended = certificate
        .extended_key_usage()
        .map_err(|_| BadCertificate::Malformed)?;
    let for_clients = extended.is_none_or(|extended| extended.value.client_auth || extended.value.any);
    let signing = usage.is_none_or(|usage| usage.value.digital_signature());
    if for_clients && signing {
        Ok(())
    } else {
        Err(BadCertificate::Purpose)
    }
}

fn check_key(certificate: &X509Certificate<'_>) -> Result<(), BadCertificate> {
    use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
    let algorithm = &certificate.public_key().algorithm;
    let curve = || {
        algorithm
            .parameters
            .as_ref()
            .and_then(|parameters| parameters.as_oid().ok())
    };
    let allowed = algorithm.algorithm == OID_SIG_ED25519
        || (algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve() == Some(OID_EC_P256));
    if allowed {
        Ok(())
    } else {
        Err(BadCertificate::KeyKind)
    }
}

fn common_name(certificate: &X509Certificate<'_>) -> Result<String, BadCertificate> {
    let mut names = certificate.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err(BadCertificate::CommonName);
    };
    let text = name.as_str().map_err(|_| BadCertificate::CommonName)?;
    let proper = !text.is_empty()
        && text.len() <= limits::NAME
        && text
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
    if proper {
        Ok(text.to_owned())
    } else {
        Err(BadCertificate::CommonName)
    }
}

/// Takes every sane client certificate; whose key may do what is decided later.
#[derive(Debug)]
struct AnySaneClient {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnySaneClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let sane = if intermediates.is_empty() {
            inspect(end_entity, now.as_secs())
        } else {
            Err(BadCertificate::TooLarge)
        };
        sane.map(|_| ClientCertVerified::assertion()).map_err(|why| {
            tracing::debug!(%why, "client certificate refused");
            rustls::Error::InvalidCertificate(match why {
                BadCertificate::NotValidNow => CertificateError::Expired,
                BadCertificate::Malformed => CertificateError::BadEncoding,
                BadCertificate::Purpose => CertificateError::InvalidPurpose,
                why => CertificateError::Other(rustls::OtherError(Arc::new(why))),
            })
        })
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// Takes a server whose key is pinned, as TLSA `3 1 1` would (RFC 7671 §5.1: names and dates do not count).
#[derive(Debug)]
struct PinnedServer {
    pins: Vec<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let hash = identity::spki_sha256(end_entity)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.pins.contains(&hash) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
