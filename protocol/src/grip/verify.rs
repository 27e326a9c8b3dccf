//! Verification: the ten checks, in their order; the first that fails decides.
//!
//! A state machine without I/O. It asks for TXT texts and for the replay memory by [`Step`]s; whoever drives it answers
//! with [`Verification::records`] and [`Verification::fresh`]. What always holds: only this machine makes a
//! [`VerifiedToken`] or a [`VerifiedChain`], and only when every check has passed; no DNS question is asked for a token
//! whose signature, channel, audience or time is wrong, and nothing is remembered for a key that is not bound.
//!
//! ```text
//! poll → LookUp(iss) → records(…) → poll → Remember → fresh(…) → poll → LookUp(nested iss) → records(…) → poll → Done
//! ```

use std::fmt;

use uuid::Uuid;

use super::claims::{Claims, Kind, Statement};
use super::digest::Digest;
use super::error::{GripError, Position, Why};
use super::key::{KeyHash, PublicKey};
use super::record::{Bindings, Skipped};
use super::token::{Parsed, lives_too_long};
use crate::address::{Address, ClientId, Domain};
use crate::limits;
use crate::timestamp::Timestamp;

/// What the connection proved about whoever gave us the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proved {
    /// HTTPS with mutual TLS: the certificate's key, and its one common name as written.
    Certificate {
        /// Hash of the key that the handshake proved.
        key: KeyHash,
        /// The common name, which must be the issuer.
        name: String,
    },
    /// A stream of libp2p: the key of the peer id. It claims no name.
    Peer {
        /// Hash of the key that the handshake proved.
        key: KeyHash,
    },
    /// Nothing: the token came in the answer of a server that proved itself in its own way. Only the receipts of the
    /// web channel are taken so.
    Nothing,
}

impl Proved {
    /// The hash of the key that was proved; none where nothing was.
    #[must_use]
    pub fn key(&self) -> Option<&KeyHash> {
        match self {
            Proved::Certificate { key, .. } | Proved::Peer { key } => Some(key),
            Proved::Nothing => None,
        }
    }

    /// Whether the channel's own name, where it has one, is this service's. A peer has none: the key has to be enough.
    #[must_use]
    pub fn may_be(&self, service: &ClientId) -> bool {
        match self {
            Proved::Certificate { name, .. } => *name == service.to_string(),
            Proved::Peer { .. } | Proved::Nothing => true,
        }
    }
}

impl fmt::Display for Proved {
    /// For the log: a name is a stranger's claim and is escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proved::Certificate { name, .. } => write!(f, "{}", name.escape_debug()),
            Proved::Peer { key } => write!(f, "the key {key}"),
            Proved::Nothing => f.write_str("nobody"),
        }
    }
}

/// What a token has to be to be accepted here.
#[derive(Debug, Clone)]
pub struct Expectation {
    kind: Kind,
    audience: Vec<Domain>,
    proved: Proved,
    digest: Digest,
    answered: Option<Answered>,
}

/// What a receipt of the web channel has to answer.
#[derive(Debug, Clone)]
struct Answered {
    issuer: ClientId,
    token: String,
}

impl Expectation {
    /// A token 0 at a broker. `audience`: the domains that it serves; `message`: the digest of the message as it came.
    #[must_use]
    pub fn channel(audience: Vec<Domain>, proved: Proved, message: Digest) -> Self {
        Self::of(Kind::Channel, audience, proved, message)
    }

    /// A token 1 at an agent. `audience`: the names of its Resource Mailbox; `notification`: the digest of the body.
    #[must_use]
    pub fn notify(audience: Vec<Domain>, proved: Proved, notification: Digest) -> Self {
        Self::of(Kind::Notify, audience, proved, notification)
    }

    /// A token 2 at an origin. `audience`: the names of this Resource Mailbox; `notification`: the digest of the
    /// notification that came with it.
    #[must_use]
    pub fn fetch(audience: Vec<Domain>, proved: Proved, notification: Digest) -> Self {
        Self::of(Kind::Fetch, audience, proved, notification)
    }

    /// A token 3 at an origin. `audience`: the names of this Resource Mailbox; `notification`: the digest of the
    /// notification that was granted.
    #[must_use]
    pub fn receipt(audience: Vec<Domain>, proved: Proved, notification: Digest) -> Self {
        Self::of(Kind::Receipt, audience, proved, notification)
    }

    /// The receipt for a token 0 that this broker sent. `audience`: the sender's domain; `from`: the domain to which
    /// it was sent, whose broker must have signed; `sent`: the token 0, exactly as sent.
    #[must_use]
    pub fn channel_receipt(audience: Domain, from: &Domain, sent: &str, message: Digest) -> Self {
        Self {
            answered: Some(Answered {
                issuer: ClientId::broker(from),
                token: sent.to_owned(),
            }),
            ..Self::of(Kind::ChannelReceipt, vec![audience], Proved::Nothing, message)
        }
    }

    fn of(kind: Kind, audience: Vec<Domain>, proved: Proved, digest: Digest) -> Self {
        Self {
            kind,
            audience,
            proved,
            digest,
            answered: None,
        }
    }

    /// Check 3.
    fn check_channel(&self, key: &KeyHash, issuer: &ClientId) -> Result<(), Why> {
        match self.proved.key() {
            Some(proved) if proved == key => {}
            None if self.kind == Kind::ChannelReceipt => {}
            _ => return Err(Why::NotTheChannelKey),
        }
        let asked = self
            .answered
            .as_ref()
            .is_none_or(|answered| answered.issuer == *issuer);
        if self.proved.may_be(issuer) && asked {
            Ok(())
        } else {
            Err(Why::NotTheIssuer)
        }
    }
}

/// What the driver does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Look up the TXT texts at this name, and answer with [`Verification::records`].
    LookUp(String),
    /// Remember that this issuer used this identifier, durably and until this moment, and answer with
    /// [`Verification::fresh`] whether it was not known before. The two happen as one: of two tokens with the same
    /// identifier at the same time, one is fresh.
    Remember {
        /// The issuer; identifiers of different issuers do not collide.
        issuer: ClientId,
        /// The `jti`.
        id: Uuid,
        /// From when on the token would be refused as expired, so that the memory may forget it.
        until: Timestamp,
    },
    /// Every check has passed.
    Done(Box<VerifiedChain>),
}

/// Why there are no TXT texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRecords {
    /// The name does not exist, has no TXT record, or its answer is not validated where that is required: a refusal.
    NoSuchName,
    /// SERVFAIL, a timeout: temporary.
    Unavailable,
}

/// A token that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    text: String,
    claims: Claims,
    key: PublicKey,
}

impl VerifiedToken {
    /// The token as it came: what the ledger keeps, and what an agent puts into its own token.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its claims.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The service that signed it.
    #[must_use]
    pub fn issuer(&self) -> &ClientId {
        &self.claims.issuer
    }

    /// The key that signed it.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

/// A token and the one inside it, both verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedChain {
    token: VerifiedToken,
    nested: Option<VerifiedToken>,
}

impl VerifiedChain {
    /// The token that came with the request.
    #[must_use]
    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// The token inside it: there is one in token 2 and token 3.
    #[must_use]
    pub fn nested(&self) -> Option<&VerifiedToken> {
        self.nested.as_ref()
    }

    /// The service that made the request.
    #[must_use]
    pub fn issuer(&self) -> &ClientId {
        self.token.issuer()
    }

    /// The person for whom a broker speaks in this chain: the sender of a token 0, the recipient of a token 1, be it
    /// the token itself or the one inside it.
    #[must_use]
    pub fn subject(&self) -> &Address {
        let nested = || self.nested.as_ref().and_then(|nested| nested.claims.subject());
        self.token
            .claims
            .subject()
            .or_else(nested)
            .expect("every kind has a subject or requires a nested token that has one")
    }

    /// The octets that the chain speaks of.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.token.claims.digest
    }
}

#[derive(Debug, Clone)]
enum State {
    Begin,
    Bind(Position),
    Replay,
    Nested,
    Finish,
    Over(Result<Box<VerifiedChain>, GripError>),
}

/// The verification of one token, from its text to a [`VerifiedChain`].
#[derive(Debug, Clone)]
pub struct Verification {
    expectation: Expectation,
    now: Timestamp,
    text: String,
    state: State,
    token: Option<(Parsed, PublicKey)>,
    nested: Option<(Parsed, PublicKey)>,
    skipped: Vec<Skipped>,
}

impl Verification {
    /// Begins. `token` is the text as it came, without the scheme of the `Authorization` field; `now` is the moment at
    /// which the request came.
    #[must_use]
    pub fn new(expectation: Expectation, token: &str, now: Timestamp) -> Self {
        let too_large = token.len() > limits::TOKEN_CHAIN;
        Self {
            expectation,
            now,
            text: if too_large {
                String::new()
            } else {
                token.to_owned()
            },
            state: if too_large {
                State::Over(Err(Why::TooLarge.outermost()))
            } else {
                State::Begin
            },
            token: None,
            nested: None,
            skipped: Vec::new(),
        }
    }

    /// Goes on until something is needed or everything is decided. Polled again without an answer it says the same.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn poll(&mut self) -> Result<Step, GripError> {
        loop {
            match self.state {
                State::Begin => self.advance(Self::outermost),
                State::Nested => self.advance(Self::inner),
                State::Finish => self.advance(Self::finish),
                State::Bind(position) => {
                    return Ok(Step::LookUp(self.parsed(position).claims.issuer.to_string()));
                }
                State::Replay => return Ok(self.remember()),
                State::Over(ref outcome) => return outcome.clone().map(Step::Done),
            }
        }
    }

    /// The answer to [`Step::LookUp`]: the TXT texts at the name, each with its character-strings joined. Ignored when
    /// nothing was asked.
    pub fn records(&mut self, answer: Result<&[String], NoRecords>) {
        let State::Bind(position) = self.state else { return };
        let bound = match answer {
            Err(NoRecords::Unavailable) => Err(Why::DnsUnavailable),
            Err(NoRecords::NoSuchName) => Err(Why::NotBound),
            Ok(texts) => {
                let mut bindings = Bindings::read(texts);
                self.skipped.append(&mut bindings.skipped);
                let key = self.key(position).hash();
                if bindings.bind(&key) {
                    Ok(())
                } else {
                    Err(Why::NotBound)
                }
            }
        };
        self.state = match (bound, position) {
            (Err(why), position) => State::Over(Err(GripError { position, why })),
            // A receipt does not expire and is evidence, not authority: given again, it is the same receipt.
            (Ok(()), Position::Outermost) if self.expectation.kind.longest_life().is_none() => State::Nested,
            (Ok(()), Position::Outermost) => State::Replay,
            (Ok(()), Position::Nested) => State::Finish,
        };
    }

    /// The answer to [`Step::Remember`]: whether the identifier was not known. Ignored when nothing was asked.
    pub fn fresh(&mut self, fresh: bool) {
        if matches!(self.state, State::Replay) {
            self.state = if fresh {
                State::Nested
            } else {
                State::Over(Err(Why::Replayed.outermost()))
            };
        }
    }

    /// The TXT texts that bound nothing so far, for the log.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    fn advance(&mut self, checks: fn(&mut Self) -> Result<State, GripError>) {
        self.state = checks(self).unwrap_or_else(|error| State::Over(Err(error)));
    }

    /// Checks 1 to 5 of the token that came with the request.
    fn outermost(&mut self) -> Result<State, GripError> {
        let checked = || -> Result<(Parsed, PublicKey), Why> {
            let parsed = Parsed::read(&self.text, self.expectation.kind)?;
            let key = parsed.check_signature()?;
            self.expectation
                .check_channel(&key.hash(), &parsed.claims.issuer)?;
            if !self.expectation.audience.contains(&parsed.claims.audience) {
                return Err(Why::WrongAudience);
            }
            check_times(&parsed.claims, self.now)?;
            Ok((parsed, key))
        };
        self.token = Some(checked().map_err(Why::outermost)?);
        Ok(State::Bind(Position::Outermost))
    }

    /// Checks 1, 2 and 5 of the token inside, whose own check 6 follows; then, in [`Self::finish`], that it belongs to
    /// the outer one.
    fn inner(&mut self) -> Result<State, GripError> {
        let outer = &self.parsed(Position::Outermost).claims;
        let (Some(text), Some(kind)) = (outer.nested(), outer.kind().nested()) else {
            return Ok(State::Finish);
        };
        // In a receipt the nested token is evidence of what was allowed when the receipt was made.
        let judged_at = match outer.expires() {
            Some(_) => self.now,
            None => outer.issued,
        };
        let checked = || -> Result<(Parsed, PublicKey), Why> {
            let parsed = Parsed::read(text, kind)?;
            let key = parsed.check_signature()?;
            check_times(&parsed.claims, judged_at)?;
            Ok((parsed, key))
        };
        self.nested = Some(checked().map_err(Why::nested)?);
        Ok(State::Bind(Position::Nested))
    }

    /// Checks 8 (the part that compares the two tokens), 9 and 10.
    fn finish(&mut self) -> Result<State, GripError> {
        let outer = &self.parsed(Position::Outermost).claims;
        let inner = self.nested.as_ref().map(|(parsed, _)| &parsed.claims);
        if let Some(inner) = inner {
            check_chain(outer, inner).map_err(Why::outermost)?;
        }
        if let Some(answered) = &self.expectation.answered
            && outer.nested() != Some(&answered.token)
        {
            return Err(Why::BrokenChain.outermost());
        }
        for (position, claims) in [(Position::Outermost, Some(outer)), (Position::Nested, inner)] {
            let foreign = claims.is_some_and(|claims| {
                claims
                    .subject()
                    .is_some_and(|subject| subject.domain() != claims.issuer.service_domain())
            });
            if foreign {
                let why = Why::ForeignSubject;
                return Err(GripError { position, why });
            }
        }
        for (position, claims) in [(Position::Outermost, Some(outer)), (Position::Nested, inner)] {
            if claims.is_some_and(|claims| claims.digest != self.expectation.digest) {
                let why = Why::DigestMismatch;
                return Err(GripError { position, why });
            }
        }
        let verified = |(parsed, key): &(Parsed, PublicKey)| VerifiedToken {
            text: parsed.text.clone(),
            claims: parsed.claims.clone(),
            key: *key,
        };
        let token = self.token.as_ref().map(verified);
        Ok(State::Over(Ok(Box::new(VerifiedChain {
            token: token.expect("this state follows the outermost token's checks"),
            nested: self.nested.as_ref().map(verified),
        }))))
    }

    fn remember(&self) -> Step {
        let claims = &self.parsed(Position::Outermost).claims;
        Step::Remember {
            issuer: claims.issuer.clone(),
            id: claims.id,
            until: claims.expires().unwrap_or(claims.issued).plus(limits::SKEW),
        }
    }

    fn at(&self, position: Position) -> &(Parsed, PublicKey) {
        match position {
            Position::Outermost => &self.token,
            Position::Nested => &self.nested,
        }
        .as_ref()
        .expect("a token is asked about only after it was read")
    }

    fn parsed(&self, position: Position) -> &Parsed {
        &self.at(position).0
    }

    fn key(&self, position: Position) -> &PublicKey {
        &self.at(position).1
    }
}

/// Check 5. A token is valid from `iat` − skew until just before `exp` + skew.
fn check_times(claims: &Claims, now: Timestamp) -> Result<(), Why> {
    if claims
        .expires()
        .is_some_and(|expires| now >= expires.plus(limits::SKEW))
    {
        return Err(Why::Expired);
    }
    if claims.issued > now.plus(limits::SKEW) {
        return Err(Why::NotYetValid);
    }
    if lives_too_long(claims) {
        return Err(Why::LifetimeTooLong);
    }
    Ok(())
}

/// Check 8: the nested token was given to the service that uses it, and a receipt answers each of its recipients.
fn check_chain(outer: &Claims, inner: &Claims) -> Result<(), Why> {
    let service = outer.issuer.service_domain();
    if service.is_public_suffix() || !inner.audience.is_or_is_below(service) {
        return Err(Why::BrokenChain);
    }
    match &outer.statement {
        Statement::ChannelReceipt { results, .. } if results.len() != inner.recipients().len() => {
            Err(Why::BrokenChain)
        }
        _ => Ok(()),
    }
}
