//! Who this node is: one Ed25519 key for tokens, certificates and the libp2p identity, and one ECDSA P-256 key that
//! browsers accept.
//!
//! Not here: what a key may do (that is GRIP's business). What always holds: a key file is created once with mode
//! 0600, complete or not at all, and is never overwritten; a key that others can read is not used.

mod certificate;
mod file;

use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use cargomail_protocol::address::ClientId;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::timestamp::Timestamp;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::Randomness;
pub use certificate::{Certificate, spki, spki_sha256};
pub(crate) use file::create_secret;

/// DER of an Ed25519 private key in PKCS#8 version 1 (RFC 8410 §7), up to the seed.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// DER of an Ed25519 SubjectPublicKeyInfo (RFC 8410 §4), up to the key.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why a key or a certificate cannot be used. Always this machine's own matter.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file could not be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Others may read the key file.
    #[error("{path}: others may read this key (mode {mode:o}); chmod 600 it, or make a new one")]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no key of the expected form.
    #[error("{path}: no {expected}")]
    NotAKey {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
    /// The certificate could not be made or read.
    #[error("certificate: {0}")]
    Certificate(String),
}

impl Faulty for IdentityError {
    fn fault(&self) -> Fault {
        Fault::Local
    }
}

/// The node's Ed25519 key: its libp2p identity, the key of its certificates and the signer of its tokens.
#[derive(Clone)]
pub struct Identity {
    seed: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.peer_id())
    }
}

impl Identity {
    /// A new key.
    #[must_use]
    pub fn generate(randomness: &dyn Randomness) -> Self {
        let mut seed = Zeroizing::new([0_u8; 32]);
        randomness.fill(seed.as_mut_slice());
        Self::from_seed(&seed)
    }

    /// The key of a seed (RFC 8032 §5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 octets are an Ed25519 seed");
        let mut public = [0_u8; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Self {
            seed: Zeroizing::new(*seed),
            public,
        }
    }

    /// Reads the key from a PKCS#8 PEM file.
    ///
    /// # Errors
    /// [`IdentityError::TooOpen`] when others may read the file, [`IdentityError::NotAKey`] when it holds no
    /// Ed25519 key, [`IdentityError::File`] when it cannot be read.
    pub fn open(path: &Path) -> Result<Self, IdentityError> {
        let not_a_key = || IdentityError::NotAKey {
            path: path.to_owned(),
            expected: "Ed25519 key in PKCS#8 PEM",
        };
        let der = file::read_key(path)?.ok_or_else(not_a_key)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| not_a_key())?;
        let seed = pair.seed().map_err(|_| not_a_key())?;
        let bytes: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(|_| not_a_key())?;
        let seed: Zeroizing<[u8; 32]> = Zeroizing::new(bytes.as_ref().try_into().map_err(|_| not_a_key())?);
        Ok(Self::from_seed(&seed))
    }

    /// Makes a new key and writes it as a PKCS#8 PEM file, synced to disk, readable by the owner only.
    ///
    /// # Errors
    /// [`IdentityError::File`], also when the file exists already: a key is never overwritten.
    pub fn create(path: &Path, randomness: &dyn Randomness) -> Result<Self, IdentityError> {
        let identity = Self::generate(randomness);
        file::create_secret(path, &identity.pkcs8_pem())?;
        Ok(identity)
    }

    /// The key in the file, or a new one when there is no file.
    ///
    /// # Errors
    /// Those of [`Identity::open`] and [`Identity::create`].
    pub fn open_or_create(path: &Path, randomness: &dyn Randomness) -> Result<Self, IdentityError> {
        if file::exists(path)? {
            Self::open(path)
        } else {
            Self::create(path, randomness)
        }
    }

    /// The seed, from which everything else follows.
    #[must_use]
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The private key in PKCS#8 version 1, DER.
    #[must_use]
    pub fn pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([PKCS8_PREFIX.as_slice(), self.seed.as_slice()].concat())
    }

    /// The private key in PKCS#8 version 1, PEM.
    #[must_use]
    pub fn pkcs8_pem(&self) -> Zeroizing<String> {
        file::pem("PRIVATE KEY", &self.pkcs8_der())
    }

    /// The public key as DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.public].concat()
    }

    /// SHA-256 of [`Identity::spki`]: the `p=` of the node's DNS records, once in lower-case hex.
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.spki()).into()
    }

    /// The key as libp2p's identity.
    #[must_use]
    pub fn libp2p(&self) -> libp2p::identity::Keypair {
        let mut seed = *self.seed;
        libp2p::identity::Keypair::ed25519_from_bytes(&mut seed).expect("every 32 octets are an Ed25519 seed")
    }

    /// The node's libp2p name, which contains the public key.
    #[must_use]
    pub fn peer_id(&self) -> libp2p::PeerId {
        self.libp2p().public().to_peer_id()
    }

    /// A self-signed certificate over this key for one role, CN and SAN = the client identifier. The same key,
    /// name and time give the same certificate.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`].
    pub fn certificate(&self, id: &ClientId, from: Timestamp) -> Result<Certificate, IdentityError> {
        Certificate::self_signed_ed25519(&self.pkcs8_der(), &id.to_string(), from)
    }

    /// A self-signed certificate over this key for a server, CN and SAN = the locator or domain whose
    /// `_grip.<name>` record holds this key.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`].
    pub fn server_certificate(&self, name: &str, from: Timestamp) -> Result<Certificate, IdentityError> {
        Certificate::self_signed_ed25519(&self.pkcs8_der(), name, from)
    }
}

#[cfg(test)]
mod tests;
