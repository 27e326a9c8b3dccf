//! Keys: the public key of an issuer in its three forms, its hash as it stands in the DNS, and the node's own key.
//!
//! Two types and no others: Ed25519 (RFC 8032), which every node has, and ECDSA P-256 (RFC 6090), which is verified
//! too. What always holds: a [`PublicKey`] is a point that can verify something. Points of small order, encodings
//! that are not canonical and points that lie on no curve are refused when the key is read.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::fault::{Fault, Faulty};
use crate::json;

/// DER of an Ed25519 SubjectPublicKeyInfo (RFC 8410 §4) up to the key.
const ED25519_SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// DER of a P-256 SubjectPublicKeyInfo (RFC 5480 §2) up to the uncompressed point.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The y coordinates of the points of order 8, little-endian: with 0, 1 and p − 1 all points of small order.
const ORDER_EIGHT: [[u8; 32]; 2] = [
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Why a key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither Ed25519 nor P-256, or not in the form of RFC 8410 §4, RFC 5480 §2, RFC 8037 §2 or RFC 7518 §6.2.
    #[error("neither an Ed25519 nor a P-256 key in its one form")]
    Form,
    /// The octets are no point of the curve, not its canonical encoding, or a point of small order.
    #[error("the key is no usable point of its curve")]
    Point,
    /// Not a private Ed25519 key in PKCS#8.
    #[error("no Ed25519 private key")]
    Private,
}

impl Faulty for KeyError {
    fn fault(&self) -> Fault {
        match self {
            KeyError::Form | KeyError::Point => Fault::Unauthenticated,
            KeyError::Private => Fault::Local,
        }
    }
}

/// SHA-256 over the DER SubjectPublicKeyInfo of a key: what TLSA `3 1 1` would hold. Compared in constant time.
#[derive(Clone, Copy, Eq, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// From the 32 octets of the hash.
    #[must_use]
    pub const fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hash of a DER SubjectPublicKeyInfo, whatever key it holds.
    #[must_use]
    pub fn of_spki(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// The 32 octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads exactly 64 hexadecimal digits, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 {
            return None;
        }
        let hash = HEXLOWER.decode(text.to_ascii_lowercase().as_bytes()).ok()?;
        hash.try_into().ok().map(Self)
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl std::hash::Hash for KeyHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

/// The public key of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(Point);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    Ed25519([u8; 32]),
    /// The uncompressed point (SEC 1 §2.3.3): 4, x, y.
    P256([u8; 65]),
}

impl PublicKey {
    /// From the 32 octets of an Ed25519 key.
    ///
    /// # Errors
    /// [`KeyError::Point`] for a point of small order and for an encoding that is not canonical.
    pub fn ed25519(bytes: [u8; 32]) -> Result<Self, KeyError> {
        if is_unusable_ed25519(&bytes) {
            return Err(KeyError::Point);
        }
        Ok(Self(Point::Ed25519(bytes)))
    }

    /// From an uncompressed P-256 point, 65 octets that begin with 4.
    ///
    /// # Errors
    /// [`KeyError::Form`] for another form, [`KeyError::Point`] when it does not lie on the curve.
    pub fn p256(point: &[u8]) -> Result<Self, KeyError> {
        let point: [u8; 65] = point.try_into().map_err(|_| KeyError::Form)?;
        if point[0] != 4 {
            return Err(KeyError::Form);
        }
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| KeyError::Point)?;
        Ok(Self(Point::P256(point)))
    }

    /// Reads a DER SubjectPublicKeyInfo: the one encoding that each of the two types has.
    ///
    /// # Errors
    /// [`KeyError`] for anything else.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(key) = der.strip_prefix(&ED25519_SPKI) {
            return Self::ed25519(key.try_into().map_err(|_| KeyError::Form)?);
        }
        der.strip_prefix(&P256_SPKI)
            .map_or(Err(KeyError::Form), Self::p256)
    }

    /// The DER SubjectPublicKeyInfo: 44 octets for Ed25519, 91 for P-256.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        match &self.0 {
            Point::Ed25519(key) => [ED25519_SPKI.as_slice(), key].concat(),
            Point::P256(point) => [P256_SPKI.as_slice(), point].concat(),
        }
    }

    /// The hash that stands in the DNS.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of_spki(&self.spki())
    }

    /// The 32 octets of an Ed25519 key; none for P-256.
    #[must_use]
    pub fn as_ed25519(&self) -> Option<&[u8; 32]> {
        match &self.0 {
            Point::Ed25519(key) => Some(key),
            Point::P256(_) => None,
        }
    }

    /// The JSON Web Key with the members that RFC 8037 §2 or RFC 7518 §6.2 require, and no others.
    #[must_use]
    pub fn jwk(&self) -> Jwk {
        match &self.0 {
            Point::Ed25519(key) => Jwk {
                kty: "OKP".to_owned(),
                crv: "Ed25519".to_owned(),
                x: BASE64URL_NOPAD.encode(key),
                y: None,
            },
            Point::P256(point) => {
                let (x, y) = point[1..].split_at(32);
                Jwk {
                    kty: "EC".to_owned(),
                    crv: "P-256".to_owned(),
                    x: BASE64URL_NOPAD.encode(x),
                    y: Some(BASE64URL_NOPAD.encode(y)),
                }
            }
        }
    }

    /// The one signature algorithm that goes with a key of this type: `EdDSA` or `ES256`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match &self.0 {
            Point::Ed25519(_) => "EdDSA",
            Point::P256(_) => "ES256",
        }
    }

    /// Whether `signature` (64 octets; for P-256 r and s as RFC 7518 §3.4 writes them) over `message` was made by
    /// this key.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let (key, algorithm) = match &self.0 {
            Point::Ed25519(key) => (DecodingKey::from_ed_der(key), Algorithm::EdDSA),
            Point::P256(point) => (DecodingKey::from_ec_der(point), Algorithm::ES256),
        };
        signature.len() == 64
            && jsonwebtoken::crypto::verify(&BASE64URL_NOPAD.encode(signature), message, &key, algorithm)
                .unwrap_or(false)
    }
}

/// Whether 32 octets are a y coordinate at or above p = 2^255 − 19, or that of a point of small order.
fn is_unusable_ed25519(bytes: &[u8; 32]) -> bool {
    let mut y = *bytes;
    y[31] &= 0x7f; // the highest bit is the sign of x
    let middle_is = |value: u8| y[1..31].iter().all(|byte| *byte == value);
    let close_to_p = y[31] == 0x7f && middle_is(0xff) && y[0] >= 0xec; // p − 1 and everything above
    let zero_or_one = y[31] == 0 && middle_is(0) && y[0] <= 1;
    close_to_p || zero_or_one || ORDER_EIGHT.contains(&y)
}

/// A public key as a JSON Web Key: what the `jwk` claim holds. No other members are read or written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwk {
    kty: String,
    crv: String,
    x: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::present"
    )]
    y: Option<String>,
}

impl Jwk {
    /// The key.
    ///
    /// # Errors
    /// [`KeyError::Form`] for other types and curves and for coordinates that are not 32 octets in strict base64url,
    /// [`KeyError::Point`] for octets that are no usable point.
    pub fn key(&self) -> Result<PublicKey, KeyError> {
        let coordinate = |text: &str| -> Result<[u8; 32], KeyError> {
            let bytes = BASE64URL_NOPAD
                .decode(text.as_bytes())
                .map_err(|_| KeyError::Form)?;
            bytes.try_into().map_err(|_| KeyError::Form)
        };
        match (self.kty.as_str(), self.crv.as_str(), &self.y) {
            ("OKP", "Ed25519", None) => PublicKey::ed25519(coordinate(&self.x)?),
            ("EC", "P-256", Some(y)) => {
                let (x, y) = (coordinate(&self.x)?, coordinate(y)?);
                PublicKey::p256(&[&[4], x.as_slice(), &y].concat())
            }
            _ => Err(KeyError::Form),
        }
    }
}

/// The node's own Ed25519 key, which signs its tokens, its receipts and its ledger. The library wipes it from memory
/// when the last clone is dropped.
#[derive(Clone)]
pub struct NodeKey {
    public: PublicKey,
    pair: Arc<Ed25519KeyPair>,
}

impl NodeKey {
    /// The key of a 32-octet seed (RFC 8032 §5.1.5).
    ///
    /// # Errors
    /// [`KeyError::Private`] when the cryptographic library refuses it, which is not known to happen.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Private)?;
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| KeyError::Private)?;
        Ok(Self {
            public: PublicKey::ed25519(public)?,
            pair: Arc::new(pair),
        })
    }

    /// Reads an Ed25519 private key in DER PKCS#8, version 1 or 2 (RFC 8410 §7).
    ///
    /// # Errors
    /// [`KeyError::Private`] for anything else.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyError::Private)?;
        let seed = pair.seed().map_err(|_| KeyError::Private)?;
        let octets: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(|_| KeyError::Private)?;
        let seed: Zeroizing<[u8; 32]> =
            Zeroizing::new(octets.as_ref().try_into().map_err(|_| KeyError::Private)?);
        Self::from_seed(&seed)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The hash of the public half, as it stands in the DNS.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        self.public.hash()
    }

    /// Signs octets: 64 octets, the same ones every time (RFC 8032 §5.1.6).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair
            .sign(message)
            .as_ref()
            .try_into()
            .expect("an Ed25519 signature has 64 octets")
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.hash())
    }
}
