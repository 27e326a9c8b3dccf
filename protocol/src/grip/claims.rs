//! What tokens say: the four types, and the claims of each.

use std::time::Duration;

use uuid::Uuid;

use super::digest::Digest;
use crate::address::{Address, ClientId, Domain};
use crate::channel::Outcome;
use crate::limits;
use crate::timestamp::Timestamp;

/// What a token is for. Two kinds share the type `grip-receipt+jwt`; the claim `results` tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Token 0: a broker gives a message to another broker.
    Channel,
    /// Token 1: a broker tells an agent of resources for one of its domain's users.
    Notify,
    /// Token 2: an agent fetches resources, by the authority of the token 1 in it.
    Fetch,
    /// Token 3: an agent acknowledges that it has stored what a token 1 spoke of.
    Receipt,
    /// Token 3 of the web channel: a broker acknowledges the message of a token 0, with a result per recipient.
    ChannelReceipt,
}

impl Kind {
    /// The `typ` of the header.
    #[must_use]
    pub const fn typ(self) -> &'static str {
        match self {
            Kind::Channel => "grip-channel+jwt",
            Kind::Notify => "grip-notify+jwt",
            Kind::Fetch => "grip-fetch+jwt",
            Kind::Receipt | Kind::ChannelReceipt => "grip-receipt+jwt",
        }
    }

    /// The kind of the token that stands inside, if one does.
    #[must_use]
    pub const fn nested(self) -> Option<Kind> {
        match self {
            Kind::Channel | Kind::Notify => None,
            Kind::Fetch | Kind::Receipt => Some(Kind::Notify),
            Kind::ChannelReceipt => Some(Kind::Channel),
        }
    }

    /// The longest time from `iat` to `exp`; none for receipts, which do not expire.
    #[must_use]
    pub const fn longest_life(self) -> Option<Duration> {
        match self {
            Kind::Channel | Kind::Fetch => Some(limits::SHORT_TOKEN_LIFE),
            Kind::Notify => Some(limits::NOTIFY_TOKEN_LIFE),
            Kind::Receipt | Kind::ChannelReceipt => None,
        }
    }
}

/// The claims of a token, apart from `jwk`, which is always the signer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `iss`: the service that speaks.
    pub issuer: ClientId,
    /// `aud`: the name of the service that it speaks to, a domain or a locator.
    pub audience: Domain,
    /// `iat`, in whole seconds: what is below a second is cut off when the token is issued.
    pub issued: Timestamp,
    /// `jti`: a UUID of version 7, never used twice.
    pub id: Uuid,
    /// `digest`: which octets the token speaks of.
    pub digest: Digest,
    /// What is said.
    pub statement: Statement,
}

/// The claims that differ by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Token 0. The digest is that of the message.
    Channel {
        /// `sub`: the message's sender, an address of the issuer's service domain.
        sender: Address,
        /// `rcpt`: the envelope's recipients, 1 to [`limits::RECIPIENTS`] addresses of the audience's domain. A hidden
        /// recipient has a message and a token of their own.
        recipients: Vec<Address>,
        /// `exp`, in whole seconds.
        expires: Timestamp,
    },
    /// Token 1. The digest is that of the notification.
    Notify {
        /// `sub`: the recipient of the mail, an address of the issuer's service domain.
        recipient: Address,
        /// `exp`, in whole seconds.
        expires: Timestamp,
    },
    /// Token 2. The digest is that of the notification.
    Fetch {
        /// `tokens`: the token 1 that gives the authority, as it came.
        notify: String,
        /// `exp`, in whole seconds.
        expires: Timestamp,
    },
    /// Token 3. The digest is that of the notification.
    Receipt {
        /// `tokens`: the token 1 that was acted on, as it came.
        notify: String,
    },
    /// Token 3 of the web channel. The digest is that of the message.
    ChannelReceipt {
        /// `tokens`: the token 0 that is answered, as it came.
        channel: String,
        /// `results`: one for each recipient of the token 0, in its order.
        results: Vec<Outcome>,
    },
}

impl Claims {
    /// What the token is for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.statement {
            Statement::Channel { .. } => Kind::Channel,
            Statement::Notify { .. } => Kind::Notify,
            Statement::Fetch { .. } => Kind::Fetch,
            Statement::Receipt { .. } => Kind::Receipt,
            Statement::ChannelReceipt { .. } => Kind::ChannelReceipt,
        }
    }

    /// `exp`; none for receipts.
    #[must_use]
    pub const fn expires(&self) -> Option<Timestamp> {
        match self.statement {
            Statement::Channel { expires, .. }
            | Statement::Notify { expires, .. }
            | Statement::Fetch { expires, .. } => Some(expires),
            Statement::Receipt { .. } | Statement::ChannelReceipt { .. } => None,
        }
    }

    /// `sub`: the person for whom the issuer speaks; only tokens 0 and 1 have one.
    #[must_use]
    pub const fn subject(&self) -> Option<&Address> {
        match &self.statement {
            Statement::Channel { sender, .. } => Some(sender),
            Statement::Notify { recipient, .. } => Some(recipient),
            _ => None,
        }
    }

    /// `rcpt`; empty for all but token 0.
    #[must_use]
    pub fn recipients(&self) -> &[Address] {
        match &self.statement {
            Statement::Channel { recipients, .. } => recipients,
            _ => &[],
        }
    }

    /// The token inside, as text.
    #[must_use]
    pub fn nested(&self) -> Option<&str> {
        match &self.statement {
            Statement::Fetch { notify, .. } | Statement::Receipt { notify } => Some(notify),
            Statement::ChannelReceipt { channel, .. } => Some(channel),
            Statement::Channel { .. } | Statement::Notify { .. } => None,
        }
    }
}

/// What makes one token differ from the next of the same words: given by whoever has a clock and randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The `jti`: a fresh UUID of version 7.
    pub id: Uuid,
    /// The `iat`.
    pub now: Timestamp,
}
