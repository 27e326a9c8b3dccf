//! Accounts: who may use this node, and the sessions of the application.
//!
//! A password is kept as argon2id (RFC 9106), a session as the SHA-256 of its token. Not here: HTTP, and what an account
//! may reach. What always holds: a wrong password and an unknown address cost the same time and look the same (row
//! H07); checks of passwords run a few at a time, so that guessing cannot take the machine's memory; a session ends with the password
//! that it was begun with.

mod checkers;
pub mod door;
mod password;
#[cfg(test)]
mod tests;

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
use crate::store::{CommitError, Cond, Op, RecordStore, StoreError, typed};

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
/// Records read at a time.
const PAGE: usize = 500;

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
    /// How many passwords there were before this one.
    #[serde(default, skip_serializing_if = "is_none")]
    passwords_before: u64,
}

/// What bounds the resources of an account: in JSON a number of octets, or `"none"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quota {
    /// Nothing.
    #[serde(rename = "none")]
    Unbounded,
    /// So many octets.
    #[serde(untagged)]
    Octets(u64),
}

impl Quota {
    fn octets(self) -> Option<u64> {
        match self {
            Quota::Unbounded => None,
            Quota::Octets(octets) => Some(octets),
        }
    }
}

/// A session as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    address: Address,
    expires: Timestamp,
    /// What the account said when it began: a session of an earlier password has ended.
    #[serde(default, skip_serializing_if = "is_none")]
    passwords_before: u64,
}

impl Kept {
    fn lasts(&self, account: Option<&Account>, now: Timestamp) -> bool {
        let same = account.is_some_and(|account| account.passwords_before == self.passwords_before);
        same && now < self.expires
    }
}

/// The session in which a request was made, for answers that go on for long: whether it has ended meanwhile. In the extensions beside [`Caller`].
#[derive(Clone)]
pub struct During {
    accounts: Accounts,
    token: String,
}

impl During {
    /// The session of this token.
    #[must_use]
    pub fn session(accounts: &Accounts, token: &str) -> Self {
        Self {
            accounts: accounts.clone(),
            token: token.to_owned(),
        }
    }

    /// Whether nothing more may be told.
    pub async fn is_over(&self) -> bool {
        self.accounts.caller(&self.token).await.is_err()
    }
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

    /// Makes an account, or gives an existing one another password, which ends all its sessions. Without a quota a new account is not
    /// bounded, and an existing one keeps its own.
    ///
    /// # Errors
    /// [`AccountError::Password`], [`AccountError::Hash`], [`AccountError::Store`].
    pub async fn set(
        &self,
        address: &Address,
        password: &str,
        quota: Option<Quota>,
    ) -> Result<Account, AccountError> {
        if password.is_empty() || password.len() > PASSWORD {
            return Err(AccountError::Password);
        }
        let mut salt = [0_u8; 16];
        self.randomness.fill(&mut salt);
        let (text, cost) = (password.to_owned(), self.cost);
        let password = self
            .checkers
            .work(move || password::hash(&text, &salt, cost))
            .await??;
        loop {
            let key = key(address);
            let old = typed::read::<Account>(&*self.records, &key).await?;
            let unchanged = match &old {
                Some((version, _)) => Cond::Is(key.clone(), *version),
                None => Cond::Absent(key.clone()),
            };
            let old = old.map(|(_, old)| old);
            let old = old.as_ref();
            let account = Account {
                address: address.clone(),
                created: old.map_or_else(|| self.clock.now(), |old| old.created),
                quota: quota.map_or_else(|| old?.quota, Quota::octets),
                password: password.clone(),
                passwords_before: old.map_or(0, |old| old.passwords_before + 1),
            };
            let put = Op::Put(key, typed::encode(&account));
            match self.records.commit(vec![unchanged], vec![put]).await {
                Ok(_) => return Ok(account),
                // Somebody else has set it meanwhile: the sessions of that password end, too.
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
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
        let account = self.find(address).await?;
        let passwords_before = account.as_ref().map_or(0, |account| account.passwords_before);
        let kept = account.map(|account| account.password);
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
            passwords_before,
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
        let (_, session) = session.ok_or(AccountError::Unauthenticated)?;
        let account = self.find(&session.address).await?;
        if !session.lasts(account.as_ref(), self.clock.now()) {
            return Err(AccountError::Unauthenticated);
        }
        Ok(session.address)
    }

    /// Ends a session; one that is not there has ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn log_out(&self, token: &str) -> Result<(), StoreError> {
        let gone = Op::Delete(session_key(token));
        store(self.records.commit(Vec::new(), vec![gone]).await)
    }

    /// Removes what is kept of sessions that have ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_ended(&self) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let page = self.records.list(SESSIONS, after.as_deref(), PAGE).await?;
            let sessions: Vec<Kept> = page.iter().map(typed::decode).collect::<Result<_, _>>()?;
            // Read behind the sessions: what an earlier password began does not come back.
            let keys: Vec<String> = sessions.iter().map(|session| key(&session.address)).collect();
            let accounts = self.records.get(&keys).await?;
            let now = self.clock.now();
            let mut gone = Vec::new();
            for ((record, session), account) in page.iter().zip(&sessions).zip(accounts) {
                let account: Option<Account> = account.as_ref().map(typed::decode).transpose()?;
                if !session.lasts(account.as_ref(), now) {
                    gone.push(Op::Delete(record.key.clone()));
                }
            }
            if !gone.is_empty() {
                store(self.records.commit(Vec::new(), gone).await)?;
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(()),
            }
        }
    }
}

/// Left out of a record, so that an earlier version of this program reads those that it can understand.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_none(count: &u64) -> bool {
    *count == 0
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
