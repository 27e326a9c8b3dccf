//! Tokens as text: issuing, and the strict reading that comes before any signature work.
//!
//! A compact JWS (RFC 7515 §3.1) whose header has exactly `typ` and `alg` and whose payload is a JWT claims set
//! (RFC 7519). Not here: whether a token is to be believed (see [`super::verify`]). What always holds: what is read is
//! bounded before it is decoded, and a claim that the kind does not have ends the reading.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};
use uuid::{Uuid, Variant};

use super::claims::{Claims, Kind, Statement};
use super::digest::Digest;
use super::error::{Syntax, Why};
use super::key::{Jwk, NodeKey, PublicKey};
use crate::address::{Address, ClientId, Domain};
use crate::channel::Outcome;
use crate::fault::{Fault, Faulty};
use crate::timestamp::Timestamp;
use crate::{json, limits};

/// The last second that both text forms of a date can write: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

/// Why a token was not issued: nobody would accept it. Always this node's own matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// Larger than [`limits::TOKEN`], or with what is nested larger than [`limits::TOKEN_CHAIN`]. A token 0 that names
    /// too many recipients is split.
    #[error("the token would be too large")]
    TooLarge,
    /// The claims contradict the rules of their kind.
    #[error("{0}")]
    Claims(Syntax),
    /// The subject is not of the issuer's service domain.
    #[error("the subject is not of the issuer's domain")]
    ForeignSubject,
    /// `exp` is later than the kind allows.
    #[error("the token would live too long")]
    LifetimeTooLong,
    /// What was to be signed again is no token of its kind.
    #[error("not a token that can be signed again")]
    Unreadable,
    /// The cryptographic library refused.
    #[error("the token could not be signed")]
    Signing,
}

impl Faulty for IssueError {
    fn fault(&self) -> Fault {
        match self {
            IssueError::TooLarge => Fault::TooLarge,
            _ => Fault::Local,
        }
    }
}

/// Signs the claims: a compact JWS. The same key and claims give the same text.
///
/// # Errors
/// [`IssueError`] when no verifier would accept the token.
pub fn issue(key: &NodeKey, claims: &Claims) -> Result<String, IssueError> {
    let wire = Wire::write(claims, key.public());
    wire.clone().read(claims.kind()).map_err(|why| match why {
        Why::Malformed(syntax) => IssueError::Claims(syntax),
        _ => IssueError::Signing,
    })?;
    if claims
        .subject()
        .is_some_and(|subject| subject.domain() != claims.issuer.service_domain())
    {
        return Err(IssueError::ForeignSubject);
    }
    if lives_too_long(claims) {
        return Err(IssueError::LifetimeTooLong);
    }
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(claims.kind().typ().to_owned());
    // As jsonwebtoken's `encode` writes it; that one would read the private key anew for each token.
    let part = |octets: serde_json::Result<Vec<u8>>| octets.map(|octets| BASE64URL_NOPAD.encode(&octets));
    let header = part(serde_json::to_vec(&header)).map_err(|_| IssueError::Signing)?;
    let payload = part(serde_json::to_vec(&wire)).map_err(|_| IssueError::Signing)?;
    let mut text = format!("{header}.{payload}");
    let signature = BASE64URL_NOPAD.encode(&key.sign(text.as_bytes()));
    text.push('.');
    text.push_str(&signature);
    check_size(&text, claims.kind()).map_err(|_| IssueError::TooLarge)?;
    if claims.nested().is_some_and(|nested| nested.len() > limits::TOKEN) {
        return Err(IssueError::TooLarge);
    }
    Ok(text)
}

/// Signs again what a token of one's own says. By the key that signed it, it is the same text.
///
/// # Errors
/// [`IssueError`].
pub fn issue_again(key: &NodeKey, token: &str, kind: Kind) -> Result<String, IssueError> {
    let parsed = Parsed::read(token, kind).map_err(|_| IssueError::Unreadable)?;
    issue(key, &parsed.claims)
}

/// Whether `exp` lies further behind `iat` than the kind allows.
pub(super) fn lives_too_long(claims: &Claims) -> bool {
    match (claims.expires(), claims.kind().longest_life()) {
        (Some(expires), Some(longest)) => expires.since(claims.issued) > longest,
        _ => false,
    }
}

/// The bound on a token of this kind: those with a token inside may be as large as a chain.
fn check_size(text: &str, kind: Kind) -> Result<(), Why> {
    let bound = match kind.nested() {
        Some(_) => limits::TOKEN_CHAIN,
        None => limits::TOKEN,
    };
    if text.len() > bound {
        return Err(Why::TooLarge);
    }
    Ok(())
}

/// A token that obeys the grammar of its kind. Nothing about it is believed yet.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    pub(super) text: String,
    pub(super) algorithm: String,
    pub(super) jwk: Jwk,
    pub(super) claims: Claims,
    signed: usize,
    signature: Vec<u8>,
}

/// The two members of a header; any other ends the reading.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderWire {
    alg: String,
    typ: String,
}

/// The decoded segments of a compact JWS.
pub(super) struct Segments {
    pub(super) header: Vec<u8>,
    pub(super) claims: Vec<u8>,
    pub(super) signature: Vec<u8>,
    /// Octets of the text that the signature covers.
    pub(super) signed: usize,
}

/// Takes a compact JWS apart: exactly three segments, none empty, each in strict base64url.
pub(super) fn segments(text: &str) -> Result<Segments, Why> {
    let mut parts = text.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Why::Malformed(Syntax::Segments));
    };
    if header.is_empty() || claims.is_empty() || signature.is_empty() {
        return Err(Why::Malformed(Syntax::Segments));
    }
    let decode = |segment: &str| {
        BASE64URL_NOPAD
            .decode(segment.as_bytes())
            .map_err(|_| Why::Malformed(Syntax::Base64))
    };
    Ok(Segments {
        header: decode(header)?,
        claims: decode(claims)?,
        signature: decode(signature)?,
        signed: header.len() + 1 + claims.len(),
    })
}

impl Parsed {
    /// Check 1: sizes, depth, grammar, type.
    pub(super) fn read(text: &str, kind: Kind) -> Result<Self, Why> {
        check_size(text, kind)?;
        let segments = segments(text)?;
        let header: HeaderWire =
            json::read(&segments.header).map_err(|at| Why::Malformed(Syntax::Header(at)))?;
        let wire: Wire = json::read(&segments.claims).map_err(|at| Why::Malformed(Syntax::Claims(at)))?;
        for nested in wire.tokens.iter().flatten() {
            if nested.len() > limits::TOKEN {
                return Err(Why::TooLarge);
            }
            if holds_tokens(nested) {
                return Err(Why::TooDeep);
            }
        }
        if header.typ != kind.typ() {
            return Err(Why::WrongType);
        }
        let jwk = wire.jwk.clone();
        Ok(Self {
            text: text.to_owned(),
            algorithm: header.alg,
            jwk,
            claims: wire.read(kind)?,
            signed: segments.signed,
            signature: segments.signature,
        })
    }

    /// Check 2: the algorithm is that of the key's type, and the key made the signature.
    pub(super) fn check_signature(&self) -> Result<PublicKey, Why> {
        let key = self.jwk.key().map_err(|_| Why::Algorithm)?;
        if self.algorithm != key.algorithm() {
            return Err(Why::Algorithm);
        }
        let signed = self.text.get(..self.signed).unwrap_or_default();
        if !key.verify(signed.as_bytes(), &self.signature) {
            return Err(Why::BadSignature);
        }
        Ok(key)
    }
}

/// Whether a nested token has tokens in it in its turn. What cannot be read is refused at its own check.
fn holds_tokens(text: &str) -> bool {
    segments(text)
        .ok()
        .and_then(|segments| json::read::<Wire>(&segments.claims).ok())
        .is_some_and(|wire| wire.tokens.is_some())
}

/// The claims as they stand in the payload. One struct for all kinds: which of them a kind has is decided in
/// [`Wire::read`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    iss: String,
    aud: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::present"
    )]
    sub: Option<String>,
    #[serde(deserialize_with = "json::object")]
    jwk: Jwk,
    iat: u64,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::present"
    )]
    exp: Option<u64>,
    jti: String,
    digest: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::present"
    )]
    rcpt: Option<Vec<String>>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::present"
    )]
    tokens: Option<Vec<String>>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "json::present"
    )]
    results: Option<Vec<String>>,
}

/// A claim that must be there.
fn needed<T>(claim: Option<T>, name: &'static str) -> Result<T, Why> {
    claim.ok_or(Why::Malformed(Syntax::Missing(name)))
}

/// A name in the one form in which tokens write names.
fn name<T: ToString, E>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, E>,
    claim: &'static str,
) -> Result<T, Why> {
    parse(text)
        .ok()
        .filter(|name| name.to_string() == text)
        .ok_or(Why::Malformed(Syntax::Name(claim)))
}

impl Wire {
    fn write(claims: &Claims, key: &PublicKey) -> Self {
        let results = match &claims.statement {
            Statement::ChannelReceipt { results, .. } => {
                Some(results.iter().map(ToString::to_string).collect())
            }
            _ => None,
        };
        let recipients = claims.recipients();
        Self {
            iss: claims.issuer.to_string(),
            aud: claims.audience.to_string(),
            sub: claims.subject().map(ToString::to_string),
            jwk: key.jwk(),
            iat: claims.issued.seconds(),
            exp: claims.expires().map(Timestamp::seconds),
            jti: claims.id.to_string(),
            digest: claims.digest.to_string(),
            rcpt: (claims.kind() == Kind::Channel)
                .then(|| recipients.iter().map(ToString::to_string).collect()),
            tokens: claims.nested().map(|nested| vec![nested.to_owned()]),
            results,
        }
    }

    /// The claims, when they are those of the kind: no fewer, no more, each in its one form.
    fn read(self, kind: Kind) -> Result<Claims, Why> {
        self.check_members(kind)?;
        let issued = second(self.iat)?;
        let audience = name(&self.aud, Domain::parse, "aud")?;
        let issuer = name(&self.iss, ClientId::parse, "iss")?;
        let subject = |sub: Option<String>| name(&needed(sub, "sub")?, Address::parse, "sub");
        let expires = |exp: Option<u64>| {
            second(needed(exp, "exp")?)
                .ok()
                .filter(|expires| *expires > issued)
                .ok_or(Why::Malformed(Syntax::Times))
        };
        let nested = |tokens: Option<Vec<String>>| match needed(tokens, "tokens")?.as_mut_slice() {
            [nested] => Ok(std::mem::take(nested)),
            _ => Err(Why::Malformed(Syntax::Tokens)),
        };
        let id = Uuid::try_parse(&self.jti)
            .ok()
            .filter(|id| id.get_version_num() == 7 && id.get_variant() == Variant::RFC4122)
            .filter(|id| id.to_string() == self.jti)
            .ok_or(Why::Malformed(Syntax::Id))?;
        let digest = Digest::parse(&self.digest).ok_or(Why::Malformed(Syntax::Digest))?;
        let statement = match kind {
            Kind::Channel => Statement::Channel {
                sender: subject(self.sub)?,
                recipients: recipients(&needed(self.rcpt, "rcpt")?, &audience)?,
                expires: expires(self.exp)?,
            },
            Kind::Notify => Statement::Notify {
                recipient: subject(self.sub)?,
                expires: expires(self.exp)?,
            },
            Kind::Fetch => Statement::Fetch {
                notify: nested(self.tokens)?,
                expires: expires(self.exp)?,
            },
            Kind::Receipt => Statement::Receipt {
                notify: nested(self.tokens)?,
            },
            Kind::ChannelReceipt => Statement::ChannelReceipt {
                channel: nested(self.tokens)?,
                results: results(&needed(self.results, "results")?)?,
            },
        };
        Ok(Claims {
            issuer,
            audience,
            issued,
            id,
            digest,
            statement,
        })
    }

    /// Refuses the claims that the kind does not have.
    fn check_members(&self, kind: Kind) -> Result<(), Why> {
        let members = [
            (
                "sub",
                self.sub.is_some(),
                matches!(kind, Kind::Channel | Kind::Notify),
            ),
            ("exp", self.exp.is_some(), kind.longest_life().is_some()),
            ("rcpt", self.rcpt.is_some(), kind == Kind::Channel),
            ("tokens", self.tokens.is_some(), kind.nested().is_some()),
            ("results", self.results.is_some(), kind == Kind::ChannelReceipt),
        ];
        match members.iter().find(|(_, stands, belongs)| *stands && !*belongs) {
            Some((claim, ..)) => Err(Why::Malformed(Syntax::Surplus(claim))),
            None => Ok(()),
        }
    }
}

fn second(seconds: u64) -> Result<Timestamp, Why> {
    if seconds > LAST_SECOND {
        return Err(Why::Malformed(Syntax::Times));
    }
    Ok(Timestamp::from_seconds(seconds))
}

fn recipients(rcpt: &[String], audience: &Domain) -> Result<Vec<Address>, Why> {
    let broken = Why::Malformed(Syntax::Recipients);
    if !(1..=limits::RECIPIENTS).contains(&rcpt.len()) {
        return Err(broken);
    }
    let mut addresses: Vec<Address> = Vec::with_capacity(rcpt.len());
    for text in rcpt {
        let address = name(text, Address::parse, "rcpt")?;
        if address.domain() != audience || addresses.contains(&address) {
            return Err(broken);
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn results(texts: &[String]) -> Result<Vec<Outcome>, Why> {
    let broken = Why::Malformed(Syntax::Results);
    if !(1..=limits::RECIPIENTS).contains(&texts.len()) {
        return Err(broken);
    }
    texts
        .iter()
        .map(|text| Outcome::parse(text).ok_or(broken))
        .collect()
}
