//! GRIP performed: drives the protocol's verification with real DNS answers and a durable replay memory.
//!
//! Not here: any decision about a token, which is [`cargomail_protocol::grip`]'s. What always holds: an identifier is
//! remembered durably before the token that bears it is believed, and of two equal ones at the same time one is fresh.

use std::sync::Arc;

use bytes::Bytes;
use cargomail_protocol::address::ClientId;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::grip::{
    Expectation, GripError, KeyError, NoRecords, NodeKey, Stamp, Step, Verification, VerifiedChain,
};
use cargomail_protocol::timestamp::Timestamp;
use uuid::Uuid;

use crate::clock::{self, Clock, Randomness};
use crate::dns::{Dns, DnsError};
use crate::identity::Identity;
use crate::store::{CommitError, Cond, Op, RecordStore, StoreError, typed};

/// Where used identifiers are remembered: `replay/<issuer>/<jti>` → until when.
const REPLAY: &str = "replay/";

/// Why a token was not believed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A check failed.
    #[error(transparent)]
    Grip(#[from] GripError),
    /// The replay memory failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Faulty for VerifyError {
    fn fault(&self) -> Fault {
        match self {
            VerifyError::Grip(error) => error.fault(),
            VerifyError::Store(error) => error.fault(),
        }
    }
}

/// Verifies tokens. Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    dns: Arc<dyn Dns>,
    records: Arc<dyn RecordStore>,
    clock: Arc<dyn Clock>,
}

impl Verifier {
    /// A verifier with the replay memory in these records.
    #[must_use]
    pub fn new(dns: Arc<dyn Dns>, records: Arc<dyn RecordStore>, clock: Arc<dyn Clock>) -> Self {
        Self { dns, records, clock }
    }

    /// Makes every check of the specification, in its order.
    ///
    /// # Errors
    /// [`VerifyError::Grip`] names the first check that failed.
    pub async fn verify(&self, expectation: Expectation, token: &str) -> Result<VerifiedChain, VerifyError> {
        let mut verification = Verification::new(expectation, token, self.clock.now());
        loop {
            match verification.poll()? {
                Step::Done(chain) => return Ok(*chain),
                Step::LookUp(name) => match self.dns.txt(&name).await {
                    Ok(answer) => verification.records(Ok(&answer.records)),
                    Err(DnsError::Unavailable { .. }) => verification.records(Err(NoRecords::Unavailable)),
                    Err(_) => verification.records(Err(NoRecords::NoSuchName)),
                },
                Step::Remember { issuer, id, until } => {
                    verification.fresh(self.remember(&issuer, id, until).await?);
                }
            }
            for skipped in verification.skipped() {
                tracing::debug!(?skipped, "a TXT record bound nothing");
            }
        }
    }

    /// Remembers an identifier; whether it was not known.
    async fn remember(&self, issuer: &ClientId, id: Uuid, until: Timestamp) -> Result<bool, StoreError> {
        let key = format!("{REPLAY}{issuer}/{id}");
        let value: Bytes = typed::encode(&until);
        match self
            .records
            .commit(vec![Cond::Absent(key.clone())], vec![Op::Put(key, value)])
            .await
        {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict(_)) => Ok(false),
            Err(CommitError::Store(error)) => Err(error),
        }
    }

    /// Forgets the identifiers of tokens that would be refused as expired anyway; how many they were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_expired(&self) -> Result<usize, StoreError> {
        const PAGE: usize = 1000;
        let now = self.clock.now();
        let mut after: Option<String> = None;
        let mut forgotten = 0;
        loop {
            let page = self.records.list(REPLAY, after.as_deref(), PAGE).await?;
            let mut expired = Vec::new();
            for record in &page {
                if typed::decode::<Timestamp>(record)? < now {
                    expired.push(Op::Delete(record.key.clone()));
                }
            }
            forgotten += expired.len();
            if !expired.is_empty() {
                match self.records.commit(Vec::new(), expired).await {
                    Ok(_) => {}
                    Err(CommitError::Conflict(key)) => unreachable!("{key}: no condition was made"),
                    Err(CommitError::Store(error)) => return Err(error),
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(forgotten),
            }
        }
    }
}

/// Signs this node's tokens, each with an identifier of its own. Cheap to clone.
#[derive(Clone)]
pub struct Signer {
    key: Arc<NodeKey>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
}

impl Signer {
    /// A signer with the node's key.
    ///
    /// # Errors
    /// [`KeyError`] when the key cannot be used.
    pub fn new(
        identity: &Identity,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
    ) -> Result<Self, KeyError> {
        let key = Arc::new(NodeKey::from_seed(identity.seed())?);
        Ok(Self {
            key,
            clock,
            randomness,
        })
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &NodeKey {
        &self.key
    }

    /// A fresh identifier and the present moment, for one token.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp {
            id: clock::uuid(&*self.clock, &*self.randomness),
            now: self.clock.now(),
        }
    }
}
