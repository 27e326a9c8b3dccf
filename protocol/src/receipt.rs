//! Receipts for resources: token 3, by which an agent acknowledges to the origin what it has stored and verified.
//!
//! The receipt names the notification by its digest and holds the token 1 as evidence of who asked for it; it does not
//! expire, and given twice it is one receipt, known by issuer and `jti`. Not here: where it is kept (see
//! [`crate::ledger`]). The receipts of the web channel are in [`crate::channel`].

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::address::{Address, ClientId, Domain, Locator};
use crate::grip::{self, Claims, Digest, IssueError, Kind, NodeKey, Stamp, Statement, VerifiedChain};
use crate::timestamp::Timestamp;

/// Issues a token 3: the agent `_rra.<service>` has stored and verified everything that the notification names.
///
/// # Errors
/// [`IssueError`].
pub fn token(
    key: &NodeKey,
    service: &Domain,
    origin: &Locator,
    notification: Digest,
    notify: &str,
    stamp: Stamp,
) -> Result<String, IssueError> {
    let claims = Claims {
        issuer: ClientId::agent(service),
        audience: origin.domain().clone(),
        issued: stamp.now,
        id: stamp.id,
        digest: notification,
        statement: Statement::Receipt {
            notify: notify.to_owned(),
        },
    };
    grip::issue(key, &claims)
}

/// A token 3 that was issued before, signed by the key of now: when the key has been changed, nobody believes the old one. It says the same,
/// `iat` and `jti` too; by the same key it is the same text.
///
/// # Errors
/// [`IssueError`]; [`IssueError::Unreadable`] when it is no token 3.
pub fn signed_by(key: &NodeKey, token: &str) -> Result<String, IssueError> {
    grip::issue_again(key, token, Kind::Receipt)
}

/// What a verified receipt attests, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Who attests: the destination's agent, or the receiving broker.
    pub issuer: ClientId,
    /// The `jti`: with the issuer it names the receipt.
    pub id: Uuid,
    /// When it was made.
    pub issued: Timestamp,
    /// For resources: their recipient. For a message: its sender.
    pub subject: Address,
    /// The notification or the message, as a raw CID.
    pub digest: String,
    /// The token 3 with the token inside: the evidence.
    pub token: String,
}

impl Receipt {
    /// What this chain attests; none when it is no receipt.
    #[must_use]
    pub fn of(chain: &VerifiedChain) -> Option<Self> {
        let token = chain.token();
        let claims = token.claims();
        matches!(
            claims.statement,
            Statement::Receipt { .. } | Statement::ChannelReceipt { .. }
        )
        .then(|| Self {
            issuer: claims.issuer.clone(),
            id: claims.id,
            issued: claims.issued,
            subject: chain.subject().clone(),
            digest: claims.digest.to_string(),
            token: token.text().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
