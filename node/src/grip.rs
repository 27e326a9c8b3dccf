//! GRIP performed: drives the protocol's verification with real DNS answers and a durable replay memory.
//!
//! Not here: any decision about a token, which is [`cargomail_protocol::grip`]'s. What always holds: an identifier is
//! remembered durably before anything is done or said on the word of the token that bears it, or in the one commit that does it;
//! and of two equal ones at the same time one is fresh.

use std::sync::Arc;

use bytes::Bytes;
use cargomail_protocol::address::ClientId;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::grip::{
    Expectation, GripError, KeyError, NoRecords, NodeKey, Stamp, Step, Verification, VerifiedChain, Why,
};
use cargomail_protocol::timestamp::Timestamp;
use uuid::Uuid;

use crate::clock::{self, Clock, Randomness};
use crate::dns::{Dns, DnsError};
use crate::identity::Identity;
use crate::store::{CommitError, Cond, Key, Op, RecordStore, StoreError, typed};

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
        let (chain, uses) = self.verify_unused(expectation, token).await?;
        self.use_up(uses).await?;
        Ok(chain)
    }

    /// Makes the check that [`Verifier::verify_unused`] has left out, where no commit makes it.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn use_up(&self, uses: Uses) -> Result<(), VerifyError> {
        for one in uses.0 {
            if !self.remember(one).await? {
                return Err(replayed());
            }
        }
        Ok(())
    }

    /// That a token was not used before, as far as is known now: for whoever wants to know it before much is written.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn check_unused(&self, uses: &Uses) -> Result<(), VerifyError> {
        let keys: Vec<Key> = uses.0.iter().map(|(key, _)| key.clone()).collect();
        match self.records.get(&keys).await?.iter().any(Option::is_some) {
            true => Err(replayed()),
            false => Ok(()),
        }
    }

    /// Makes every check but one: that the token was not used before. That one is part of the commit that does what the token
    /// asks for, so that the two are made durable at once: nothing that the token asks for is done without [`Uses`] in the commit.
    ///
    /// # Errors
    /// [`VerifyError::Grip`] names the first check that failed.
    pub async fn verify_unused(
        &self,
        expectation: Expectation,
        token: &str,
    ) -> Result<(VerifiedChain, Uses), VerifyError> {
        let mut verification = Verification::new(expectation, token, self.clock.now());
        let mut uses = Vec::new();
        loop {
            match verification.poll()? {
                Step::Done(chain) => return Ok((*chain, Uses(uses))),
                Step::LookUp(name) => match self.dns.txt(&name).await {
                    Ok(answer) => verification.records(Ok(&answer.records)),
                    Err(DnsError::Unavailable { .. }) => verification.records(Err(NoRecords::Unavailable)),
                    Err(_) => verification.records(Err(NoRecords::NoSuchName)),
                },
                Step::Remember { issuer, id, until } => {
                    uses.push((key(&issuer, id), typed::encode(&until)));
                    verification.fresh(true);
                }
            }
            for skipped in verification.skipped() {
                tracing::debug!(?skipped, "a TXT record bound nothing");
            }
        }
    }

    /// Remembers an identifier; whether it was not known.
    async fn remember(&self, (key, value): (Key, Bytes)) -> Result<bool, StoreError> {
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

/// The identifiers that a token uses up: it is believed once they are remembered.
#[derive(Debug, Clone)]
#[must_use = "a token whose use is not remembered can be used again"]
pub struct Uses(Vec<(Key, Bytes)>);

impl Uses {
    /// What a commit has to hold, and what it writes, so that the token is used by it and by nothing else.
    pub fn once(&self) -> impl Iterator<Item = (Cond, Op)> {
        self.0
            .iter()
            .map(|(key, until)| (Cond::Absent(key.clone()), Op::Put(key.clone(), until.clone())))
    }

    /// Why a commit with this condition was not made; none when the reason is another condition.
    #[must_use]
    pub fn replayed(&self, conflict: &str) -> Option<VerifyError> {
        self.0.iter().any(|(key, _)| key == conflict).then(replayed)
    }
}

fn key(issuer: &ClientId, id: Uuid) -> Key {
    format!("{REPLAY}{issuer}/{id}")
}

fn replayed() -> VerifyError {
    VerifyError::Grip(Why::Replayed.outermost())
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
