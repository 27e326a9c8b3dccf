//! Accounts: who may use this node, and the sessions of the application.
//!
//! A password is kept as argon2id (RFC 9106), a session as the SHA-256 of its token. Not here: HTTP, and what an account
//! may reach. What always holds: a wrong password and an unknown address cost the same time and look the same (row
//! H07); checks of passwords run a few at a time, so that guessing cannot take the machine's memory.

mod checkers;
pub mod door;
mod password;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cargomail_protocol::address::Address;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::timestamp::Timestamp;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::{Clock, Randomness};
use crate::store::{CommitError, Op, RecordStore, StoreError, typed};

use checkers::Checkers;
pub use password::PasswordCost;

/// `account/<address>` → [`Account`].
const ACCOUNTS: &str = "account/";
/// `session/<SHA-256 of the token>` → [`Kept`].
const SESSIONS: &str = "session/";
/// How long a session lasts.
const SESSION: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long it is believed that an account is there.
const MOMENT: Duration = Duration::from_secs(5);
/// Accounts of which that is remembered.
const KNOWN: usize = 4096;
/// The longest password: more is an attack on the hash.
const PASSWORD: usize = 1024;

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// No such session, or its time is over; no such account, or another password.
    #[error("who you are was not proved: log in again")]
    Unauthenticated,
    /// The password is empty or too long.
    #[error("a password has 1 to {PASSWORD} octets")]
    Password,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hash could not be computed.
    #[error("passwords cannot be hashed: {0}")]
    Hash(String),
}

impl Faulty for AccountError {
    fn fault(&self) -> Fault {
        match self {
            AccountError::Unauthenticated => Fault::Unauthenticated,
            AccountError::Password => Fault::Malformed,
            AccountError::Store(error) => error.fault(),
            AccountError::Hash(_) => Fault::Local,
        }
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Whose.
    pub address: Address,
    /// Since when.
    pub created: Timestamp,
    /// Octets of resources that it may hold; none is no bound.
    pub quota: Option<u64>,
    /// argon2id, in PHC form.
    password: String,
}

/// A session as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    address: Address,
    expires: Timestamp,
}

/// Who makes a request to the user-facing face; in the extensions of every request that came through its door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(pub Address);

/// The accounts of this node. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    records: Arc<dyn RecordStore>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    checkers: Arc<Checkers>,
    cost: PasswordCost,
    /// Accounts that were there a moment ago, and until when that is believed.
    known: Arc<Mutex<HashMap<String, Timestamp>>>,
}

impl Accounts {
    /// The accounts in these records.
    #[must_use]
    pub fn new(
        records: Arc<dyn RecordStore>,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
    ) -> Self {
        Self {
            records,
            clock,
            randomness,
            checkers: Arc::default(),
            cost: PasswordCost::default(),
            known: Arc::default(),
        }
    }

    /// The same accounts, whose passwords will cost so much to try.
    #[must_use]
    pub fn with_password_cost(mut self, cost: PasswordCost) -> Self {
        self.cost = cost;
        self
    }

    /// Makes an account, or gives an existing one another password and quota.
    ///
    /// # Errors
    /// [`AccountError::Password`], [`AccountError::Store`].
    pub async fn set(
        &self,
        address: &Address,
        password: &str,
        quota: Option<u64>,
    ) -> Result<Account, AccountError> {
        if password.is_empty() || password.len() > PASSWORD {
            return Err(AccountError::Password);
        }
        let created = self
            .find(address)
            .await?
            .map_or_else(|| self.clock.now(), |old| old.created);
        let mut salt = [0_u8; 16];
        self.randomness.fill(&mut salt);
        let (text, cost) = (password.to_owned(), self.cost);
        let password = self
            .checkers
            .work(move || password::hash(&text, &salt, cost))
            .await??;
        let account = Account {
            address: address.clone(),
            created,
            quota,
            password,
        };
        let put = Op::Put(key(address), typed::encode(&account));
        store(self.records.commit(Vec::new(), vec![put]).await)?;
        Ok(account)
    }

    /// The account of an address; none when there is none. Local parts that differ only in case are one account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, address: &Address) -> Result<Option<Account>, StoreError> {
        let found = typed::read(&*self.records, &key(address)).await?;
        Ok(found.map(|(_, account)| account))
    }

    /// Whether an address has an account, as it was a moment ago: accounts are not asked for at every message.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_known(&self, address: &Address) -> Result<bool, StoreError> {
        let key = key(address);
        let now = self.clock.now();
        let kept = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if kept().get(&key).is_some_and(|until| now < *until) {
            return Ok(true);
        }
        if self.find(address).await?.is_none() {
            return Ok(false);
        }
        let mut known = kept();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(key, now.plus(MOMENT));
        Ok(true)
    }

    /// All accounts, by address.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self) -> Result<Vec<Account>, StoreError> {
        const PAGE: usize = 500;
        let mut accounts: Vec<Account> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.records.list(ACCOUNTS, after.as_deref(), PAGE).await?;
            for record in &page {
                accounts.push(typed::decode(record)?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(accounts),
            }
        }
    }

    /// Begins a session: the token and until when it is good.
    ///
    /// # Errors
    /// [`AccountError::Unauthenticated`].
    pub async fn log_in(
        &self,
        address: &Address,
        password: &str,
    ) -> Result<(String, Timestamp), AccountError> {
        if password.len() > PASSWORD {
            return Err(AccountError::Unauthenticated);
        }
        let kept = self.find(address).await?.map(|account| account.password);
        let (text, cost) = (password.to_owned(), self.cost);
        let fits = self.checkers.work(move || match kept {
            Some(kept) => password::fits(&text, &kept),
            None => password::fits_nobody(&text, &[0; 16], cost),
        });
        if !fits.await? {
            return Err(AccountError::Unauthenticated);
        }
        let mut secret = [0_u8; 32];
        self.randomness.fill(&mut secret);
        let token = BASE64URL_NOPAD.encode(&secret);
        let expires = self.clock.now().plus(SESSION);
        let session = Kept {
            address: address.clone(),
            expires,
        };
        let put = Op::Put(session_key(&token), typed::encode(&session));
        store(self.records.commit(Vec::new(), vec![put]).await)?;
        Ok((token, expires))
    }

    /// Whose session this is.
    ///
    /// # Errors
    /// [`AccountError::Unauthenticated`].
    pub async fn caller(&self, token: &str) -> Result<Address, AccountError> {
        // Looked up by its hash, so that the time of the look-up tells nothing of the tokens that exist (row T15).
        let session: Option<(_, Kept)> = typed::read(&*self.records, &session_key(token)).await?;
        match session {
            Some((_, session)) if self.clock.now() < session.expires => Ok(session.address),
            _ => Err(AccountError::Unauthenticated),
        }
    }
}

fn key(address: &Address) -> String {
    format!("{ACCOUNTS}{}", address.to_string().to_lowercase())
}

fn session_key(token: &str) -> String {
    format!("{SESSIONS}{}", HEXLOWER.encode(&Sha256::digest(token)))
}

fn store(outcome: Result<u64, CommitError>) -> Result<(), StoreError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(CommitError::Conflict(key)) => unreachable!("{key}: no condition was made"),
        Err(CommitError::Store(error)) => Err(error),
    }
}
