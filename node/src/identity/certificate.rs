//! Certificates over the node's keys, and the hash that stands in the DNS for a key.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cargomail_protocol::timestamp::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, SignatureAlgorithm};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;

use super::{IdentityError, file};

/// Validity begins earlier, for peers whose clock is late.
const EARLIER: Duration = Duration::from_secs(24 * 3600);
/// A machine's certificate is made anew at every start and is trusted by its key's DNS record, which is what
/// revokes it; ten years outlast any one run.
const MACHINE_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A certificate for people: the longest that browsers accept.
const PEOPLE_LIFE: Duration = Duration::from_secs(397 * 24 * 3600);
/// A certificate for people is made anew when it would end within this time.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A certificate chain with its private key.
#[derive(Clone)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Certificate({})",
            data_encoding::HEXLOWER.encode(&self.spki_sha256())
        )
    }
}

impl Certificate {
    pub(super) fn self_signed_ed25519(
        pkcs8: &[u8],
        name: &str,
        from: Timestamp,
    ) -> Result<Self, IdentityError> {
        self_signed(
            pkcs8,
            &rcgen::PKCS_ED25519,
            &[name.to_owned()],
            from,
            MACHINE_LIFE,
        )
    }

    /// A certificate that browsers accept once told to: ECDSA P-256, self-signed, for these names. Key and
    /// certificate are kept in the folder as `web-key.pem` and `web-certificate.pem`; the key is made once, the
    /// certificate again when the names change or its end is near.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn for_people(folder: &Path, names: &[String], now: Timestamp) -> Result<Self, IdentityError> {
        let key_path = folder.join("web-key.pem");
        let path = folder.join("web-certificate.pem");
        if !file::exists(&key_path)? {
            let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(refused)?;
            file::create_secret(&key_path, &file::pem("PRIVATE KEY", pair.serialized_der()))?;
        }
        let expected = "ECDSA P-256 key in PKCS#8 PEM";
        let key = file::read_key(&key_path)?.ok_or(IdentityError::NotAKey {
            path: key_path.clone(),
            expected,
        })?;
        if file::exists(&path)?
            && let Ok(kept) = Self::open(&path, &key_path)
            && kept.serves(names, now)
        {
            return Ok(kept);
        }
        let fresh = self_signed(&key, &rcgen::PKCS_ECDSA_P256_SHA256, names, now, PEOPLE_LIFE)?;
        let text = file::pem("CERTIFICATE", fresh.der());
        std::fs::write(&path, text.as_bytes()).map_err(|why| IdentityError::File { path, why })?;
        Ok(fresh)
    }

    /// A chain and its key from PEM files, as an ACME client writes them.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn open(chain: &Path, key: &Path) -> Result<Self, IdentityError> {
        let none = |path: &Path, expected| IdentityError::NotAKey {
            path: path.to_owned(),
            expected,
        };
        let certificates: Vec<_> = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect)
            .map_err(|_| none(chain, "certificate in PEM"))?;
        if certificates.is_empty() {
            return Err(none(chain, "certificate in PEM"));
        }
        let pkcs8 = file::read_key(key)?.ok_or_else(|| none(key, "key in PKCS#8 PEM"))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_vec()));
        let certificate = Self {
            chain: certificates,
            key: Arc::new(key),
        };
        spki(certificate.der()).map(|_| certificate)
    }

    /// The chain, this certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }

    /// This certificate, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        self.chain.first().map_or(&[], |der| der.as_ref())
    }

    /// SHA-256 of its SubjectPublicKeyInfo: what a DNS pin or a configured fingerprint holds.
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        spki_sha256(self.der()).expect("read once already when this value was made")
    }

    fn serves(&self, names: &[String], now: Timestamp) -> bool {
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(self.der()) else {
            return false;
        };
        let until = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let stands: Vec<String> = parsed
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|san| san.value.general_names.iter().filter_map(name_text).collect())
            .unwrap_or_default();
        stands == names && Timestamp::from_seconds(until) > now.plus(RENEW_BEFORE)
    }
}

/// The DER SubjectPublicKeyInfo of a certificate.
///
/// # Errors
/// [`IdentityError::Certificate`] when it cannot be parsed.
pub fn spki(certificate: &[u8]) -> Result<Vec<u8>, IdentityError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(refused)?;
    Ok(parsed.public_key().raw.to_vec())
}

/// SHA-256 over the DER SubjectPublicKeyInfo of a certificate: TLSA `3 1 1` (RFC 6698).
///
/// # Errors
/// [`IdentityError::Certificate`] when it cannot be parsed.
pub fn spki_sha256(certificate: &[u8]) -> Result<[u8; 32], IdentityError> {
    Ok(Sha256::digest(spki(certificate)?).into())
}

fn refused(why: impl std::fmt::Display) -> IdentityError {
    IdentityError::Certificate(why.to_string())
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from).ok();
            let v6 = || <[u8; 16]>::try_from(*octets).map(IpAddr::from).ok();
            v4.or_else(v6).map(|ip| ip.to_string())
        }
        _ => None,
    }
}

fn sans(names: &[String]) -> Result<Vec<rcgen::SanType>, IdentityError> {
    Ok(CertificateParams::new(names.to_vec())
        .map_err(refused)?
        .subject_alt_names)
}

fn self_signed(
    pkcs8: &[u8],
    algorithm: &'static SignatureAlgorithm,
    names: &[String],
    from: Timestamp,
    life: Duration,
) -> Result<Certificate, IdentityError> {
    let der = PrivatePkcs8KeyDer::from(pkcs8.to_vec());
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, algorithm).map_err(refused)?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = sans(names)?;
    params.distinguished_name = DistinguishedName::new();
    let name = names.first().ok_or_else(|| refused("no name given"))?;
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    params.is_ca = IsCa::ExplicitNoCa;
    let begin = from.seconds().saturating_sub(EARLIER.as_secs());
    params.not_before = moment(begin)?;
    params.not_after = moment(from.seconds().saturating_add(life.as_secs()))?;
    let certificate = params.self_signed(&pair).map_err(refused)?;
    let key = PrivateKeyDer::Pkcs8(der);
    Ok(Certificate {
        chain: vec![certificate.der().clone()],
        key: Arc::new(key),
    })
}

fn moment(seconds: u64) -> Result<OffsetDateTime, IdentityError> {
    let seconds = i64::try_from(seconds).map_err(refused)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(refused)
}
