//! Why a token was refused: one name for each check of the specification, for the log and the metrics.

use std::time::Duration;

use crate::fault::{Fault, Faulty};

/// How long a peer waits before it asks again after a DNS failure: as long as a negative answer is kept.
const DNS_WAIT: Duration = crate::limits::DNS_NEGATIVE;

/// Which token of a chain was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Position {
    /// The token that came with the request.
    Outermost,
    /// The token inside it.
    Nested,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Position::Outermost => "token",
            Position::Nested => "nested token",
        })
    }
}

/// A refused token. To a stranger it is only what [`Faulty::fault`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{position}: {why}")]
pub struct GripError {
    /// Which token.
    pub position: Position,
    /// Which check failed first.
    pub why: Why,
}

/// The checks, in the order in which they are made; the first that fails decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Why {
    /// 1: above [`crate::limits::TOKEN`], or with what is nested above [`crate::limits::TOKEN_CHAIN`].
    #[error("TooLarge")]
    TooLarge,
    /// 1: a token in a token in a token.
    #[error("TooDeep")]
    TooDeep,
    /// 1: breaks the grammar.
    #[error("Malformed: {0}")]
    Malformed(Syntax),
    /// 1: another kind of token than this place takes.
    #[error("WrongType")]
    WrongType,
    /// 2: the algorithm is not allowed or not the one of the key's type, or the key is not a usable one.
    #[error("Algorithm")]
    Algorithm,
    /// 2: the key did not sign this.
    #[error("BadSignature")]
    BadSignature,
    /// 3: another key than the one that the connection proved.
    #[error("NotTheChannelKey")]
    NotTheChannelKey,
    /// 3: the certificate's name is not the issuer, or the issuer is not the one that was asked.
    #[error("NotTheIssuer")]
    NotTheIssuer,
    /// 4: for somebody else.
    #[error("WrongAudience")]
    WrongAudience,
    /// 5: its time has passed.
    #[error("Expired")]
    Expired,
    /// 5: issued in the future.
    #[error("NotYetValid")]
    NotYetValid,
    /// 5: lives longer than its kind may.
    #[error("LifetimeTooLong")]
    LifetimeTooLong,
    /// 6: no record at the issuer's name holds the key's hash.
    #[error("NotBound")]
    NotBound,
    /// 6: the DNS does not answer now. Temporary.
    #[error("DnsUnavailable")]
    DnsUnavailable,
    /// 7: seen before.
    #[error("Replayed")]
    Replayed,
    /// 8: the nested token was not given to the outer one's issuer, or a receipt does not answer the token 0 that was
    /// sent, or not each of its recipients.
    #[error("BrokenChain")]
    BrokenChain,
    /// 9: the issuer speaks for somebody of another domain.
    #[error("ForeignSubject")]
    ForeignSubject,
    /// 10: the token speaks of other octets than those that came with it.
    #[error("DigestMismatch")]
    DigestMismatch,
}

impl Why {
    /// Of the token that came with the request.
    #[must_use]
    pub const fn outermost(self) -> GripError {
        GripError {
            position: Position::Outermost,
            why: self,
        }
    }

    /// Of the token inside it.
    #[must_use]
    pub const fn nested(self) -> GripError {
        GripError {
            position: Position::Nested,
            why: self,
        }
    }

    /// The bare name, for metrics: `Malformed`, without what was malformed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Why::TooLarge => "TooLarge",
            Why::TooDeep => "TooDeep",
            Why::Malformed(_) => "Malformed",
            Why::WrongType => "WrongType",
            Why::Algorithm => "Algorithm",
            Why::BadSignature => "BadSignature",
            Why::NotTheChannelKey => "NotTheChannelKey",
            Why::NotTheIssuer => "NotTheIssuer",
            Why::WrongAudience => "WrongAudience",
            Why::Expired => "Expired",
            Why::NotYetValid => "NotYetValid",
            Why::LifetimeTooLong => "LifetimeTooLong",
            Why::NotBound => "NotBound",
            Why::DnsUnavailable => "DnsUnavailable",
            Why::Replayed => "Replayed",
            Why::BrokenChain => "BrokenChain",
            Why::ForeignSubject => "ForeignSubject",
            Why::DigestMismatch => "DigestMismatch",
        }
    }
}

/// What was malformed. Holds nothing that the peer wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Syntax {
    /// Not three segments between two dots, or an empty one.
    #[error("not three segments")]
    Segments,
    /// A segment is not base64url without padding, or has bits left over.
    #[error("not strict base64url")]
    Base64,
    /// The header is not an object of exactly `alg` and `typ`.
    #[error("header, at octet {0}")]
    Header(usize),
    /// The claims are not an object of known members, each once and of its type.
    #[error("claims, at octet {0}")]
    Claims(usize),
    /// A claim that this kind of token has is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A claim that this kind of token does not have.
    #[error("{0} does not belong here")]
    Surplus(&'static str),
    /// A name is not in the one form in which tokens write it: A-labels, lower case, no trailing dot.
    #[error("{0} is not a name in canonical form")]
    Name(&'static str),
    /// A time is later than the year 9999, or `exp` is not after `iat`.
    #[error("iat or exp is out of range")]
    Times,
    /// `jti` is not a UUID of version 7 and of RFC 9562's variant in its one text form (RFC 9562 §4).
    #[error("jti is not a UUIDv7")]
    Id,
    /// `digest` is not a CIDv1 (raw, sha2-256) in base32.
    #[error("digest is not a raw CID")]
    Digest,
    /// `rcpt` is empty, too long, names someone twice, or someone outside the audience's domain.
    #[error("rcpt")]
    Recipients,
    /// `tokens` does not hold exactly one token.
    #[error("tokens")]
    Tokens,
    /// `results` is empty, too long, or holds something else than results.
    #[error("results")]
    Results,
}

impl Faulty for GripError {
    /// Up to check 7 the peer has not proved who it is; after that it has, and is not allowed. A clock that is wrong is put right, and a key
    /// that was just bound is heard of: with a fresh token it goes better then.
    fn fault(&self) -> Fault {
        match (self.position, self.why) {
            (_, Why::DnsUnavailable) => Fault::TryLater(DNS_WAIT),
            (_, Why::Expired | Why::NotYetValid | Why::NotBound) => Fault::NotYetProved,
            (Position::Nested, _) | (_, Why::BrokenChain | Why::ForeignSubject | Why::DigestMismatch) => {
                Fault::Refused
            }
            (Position::Outermost, _) => Fault::Unauthenticated,
        }
    }
}
