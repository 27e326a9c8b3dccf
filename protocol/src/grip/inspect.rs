//! Looking into a token without believing it: for people who search a fault, never for a decision.

use serde::Serialize;
use serde_json::Value;

use super::claims::Kind;
use super::digest::Digest;
use super::key::{Jwk, PublicKey};
use super::record::Record;
use super::token::{Parsed, segments};
use crate::limits;
use crate::timestamp::Timestamp;

/// What can be seen in a token. Nothing of it is verified, apart from what `signature` says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The header, as it stands.
    pub header: Value,
    /// The claims, as they stand.
    pub claims: Value,
    /// Octets of the compact form.
    pub size: usize,
    /// SHA-256 of the compact form, as a raw CID: how logs and ledgers may name the token.
    pub cid: String,
    /// What the token is for, if its type is known.
    pub kind: Option<&'static str>,
    /// Why the token breaks the grammar of its kind; none when it does not.
    pub flaw: Option<String>,
    /// Whether the key inside made the signature. Says nothing about whose key it is.
    pub signature: Signature,
    /// The TXT record that would bind the key to the issuer, if the key is usable.
    pub record: Option<String>,
    /// The name at which that record would have to stand.
    pub record_at: Option<String>,
    /// `iat`, in the form of RFC 3339.
    pub issued: Option<String>,
    /// `exp`, in the form of RFC 3339.
    pub expires: Option<String>,
    /// The token inside, or why there is nothing to see.
    pub nested: Vec<Result<Inspection, Opaque>>,
}

/// What the signature is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signature {
    /// Made by the key in the token.
    Fits,
    /// Not made by it.
    DoesNotFit,
    /// No usable key, or an algorithm that is not that key's.
    CannotBeChecked,
}

/// Not even three segments of base64url with JSON in the first two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum Opaque {
    /// Larger than anything that is looked at.
    #[error("larger than {} octets", limits::TOKEN_CHAIN)]
    TooLarge,
    /// No compact JWS.
    #[error("not a compact JWS: {0}")]
    NotAToken(String),
}

/// Decodes a token and, one level deep, those inside it.
///
/// # Errors
/// [`Opaque`] when there is nothing to see.
pub fn inspect(text: &str) -> Result<Inspection, Opaque> {
    look(text, limits::TOKEN_DEPTH)
}

fn look(text: &str, depth: usize) -> Result<Inspection, Opaque> {
    if text.len() > limits::TOKEN_CHAIN {
        return Err(Opaque::TooLarge);
    }
    let not_a_token = |why: &dyn ToString| Opaque::NotAToken(why.to_string());
    let parts = segments(text).map_err(|why| not_a_token(&why))?;
    let header: Value = serde_json::from_slice(&parts.header).map_err(|why| not_a_token(&why))?;
    let claims: Value = serde_json::from_slice(&parts.claims).map_err(|why| not_a_token(&why))?;
    let kind = kind_of(&header, &claims);
    let key = key_of(&claims);
    let flaw = match kind {
        Some(kind) => Parsed::read(text, kind).err().map(|why| why.to_string()),
        None => Some("WrongType".to_owned()),
    };
    let time = |claim: &str| {
        let seconds = claims.get(claim).and_then(Value::as_u64);
        seconds.map(|seconds| Timestamp::from_seconds(seconds).rfc3339())
    };
    let inside = claims.get("tokens").and_then(Value::as_array);
    let nested = inside
        .filter(|_| depth > 1)
        .into_iter()
        .flatten()
        .take(4)
        .filter_map(Value::as_str)
        .map(|token| look(token, depth - 1))
        .collect();
    Ok(Inspection {
        size: text.len(),
        cid: Digest::of(text.as_bytes()).to_string(),
        kind: kind.map(described),
        flaw,
        signature: signature_of(text, &header, key, &parts.signature, parts.signed),
        record: key.map(|key| Record(key.hash()).to_string()),
        record_at: claims.get("iss").and_then(Value::as_str).map(str::to_owned),
        issued: time("iat"),
        expires: time("exp"),
        nested,
        header,
        claims,
    })
}

fn kind_of(header: &Value, claims: &Value) -> Option<Kind> {
    let typ = header.get("typ").and_then(Value::as_str)?;
    let receipt = if claims.get("results").is_some() {
        Kind::ChannelReceipt
    } else {
        Kind::Receipt
    };
    [Kind::Channel, Kind::Notify, Kind::Fetch, receipt]
        .into_iter()
        .find(|kind| kind.typ() == typ)
}

fn described(kind: Kind) -> &'static str {
    match kind {
        Kind::Channel => "token 0: a message for another broker",
        Kind::Notify => "token 1: a notification for an agent",
        Kind::Fetch => "token 2: a fetch from an origin",
        Kind::Receipt => "token 3: a receipt for resources",
        Kind::ChannelReceipt => "token 3: a receipt for a message",
    }
}

fn key_of(claims: &Value) -> Option<PublicKey> {
    let jwk: Jwk = serde_json::from_value(claims.get("jwk")?.clone()).ok()?;
    jwk.key().ok()
}

fn signature_of(
    text: &str,
    header: &Value,
    key: Option<PublicKey>,
    signature: &[u8],
    signed: usize,
) -> Signature {
    let algorithm = header.get("alg").and_then(Value::as_str);
    match key {
        Some(key) if algorithm == Some(key.algorithm()) => {
            if key.verify(text.get(..signed).unwrap_or_default().as_bytes(), signature) {
                Signature::Fits
            } else {
                Signature::DoesNotFit
            }
        }
        _ => Signature::CannotBeChecked,
    }
}
