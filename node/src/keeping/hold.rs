//! Legal holds: what the administrator keeps of an account, or one resource, until further notice.
//!
//! Records: `legal-hold/<id>` → [`LegalHold`], which stays when it is released; `legal-holds`, which every change writes, so that
//! whoever deletes can make it a condition that no hold was placed meanwhile.
//!
//! What always holds: while a hold stands, what its user deletes is hidden from them and stays; what was there when the hold
//! was placed is there until it is released, also when its share expires. A user is not told of a hold.

use std::collections::HashSet;
use std::sync::Arc;

use cargomail_protocol::address::Address;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::ledger::{Act, Event};
use cargomail_protocol::limits;
use cargomail_protocol::share::parse_root;
use cargomail_protocol::timestamp::Timestamp;
use cid::Cid;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use super::references::{Claim, Holder, Root};
use super::stays;
use crate::accounts::Accounts;
use crate::clock::{self, Clock, Randomness};
use crate::ledger::Ledger;
use crate::mailbox;
use crate::store::{BlockStore, CommitError, Cond, Op, Record, RecordStore, StoreError, Version, typed};

/// Written with every change.
const CHANGED: &str = "legal-holds";
/// How often a commit is tried again when somebody else changed the same records.
const COMMITS: usize = 8;
/// Records read at a time.
const PAGE: usize = 200;

/// Why a hold was not placed or released.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// Nobody of that address has an account here.
    #[error("{0} has no account here")]
    NoSuchUser(Address),
    /// No resource of that name is here, or not all of it.
    #[error("no resource {0} is here whole, so there is nothing to hold; a resource is named by its root")]
    NoSuchResource(Cid),
    /// No hold of that name stands.
    #[error("no legal hold {0} stands; `cargomail hold list` shows them")]
    NoSuchHold(Uuid),
    /// What is to be held is neither an account nor a resource.
    #[error(transparent)]
    Subject(#[from] BadSubject),
    /// The reason is missing or too long.
    #[error("a legal hold needs a reason, of at most {} octets", limits::REASON)]
    Reason,
    /// Too many stand.
    #[error(
        "{} legal holds stand, which is the most there may be; release one first",
        limits::LEGAL_HOLDS
    )]
    TooMany,
    /// Others changed the same records again and again.
    #[error("too much happens at once: try again")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Faulty for HoldError {
    fn fault(&self) -> Fault {
        match self {
            HoldError::NoSuchUser(_) | HoldError::NoSuchResource(_) | HoldError::NoSuchHold(_) => {
                Fault::NotFound
            }
            HoldError::Subject(_) | HoldError::Reason => Fault::Malformed,
            HoldError::TooMany => Fault::Refused,
            HoldError::Busy => Fault::TryLater(std::time::Duration::from_secs(1)),
            HoldError::Store(error) => error.fault(),
        }
    }
}

/// What is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// What this account holds and shares.
    Account(Address),
    /// This resource, by the CID of its root in text form.
    Resource(String),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Account(address) => address.fmt(f),
            Subject::Resource(cid) => f.write_str(cid),
        }
    }
}

/// Neither an address nor the CID of a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor the CID of a resource")]
pub struct BadSubject(String);

impl std::str::FromStr for Subject {
    type Err = BadSubject;
    fn from_str(text: &str) -> Result<Self, BadSubject> {
        match (Address::parse(text), parse_root(text)) {
            (Ok(address), _) => Ok(Subject::Account(address)),
            (_, Ok(cid)) => Ok(Subject::Resource(cid.to_string())),
            _ => Err(BadSubject(text.to_owned())),
        }
    }
}

/// A legal hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegalHold {
    /// Names it.
    pub id: Uuid,
    /// What is held.
    pub subject: Subject,
    /// Octets of the resource, if it is one.
    pub size: Option<u64>,
    /// Why, in the administrator's words.
    pub reason: String,
    /// Since when.
    pub placed: Timestamp,
    /// Until when, if it stands no longer.
    pub released: Option<Timestamp>,
}

/// What stands at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    version: Option<Version>,
    accounts: HashSet<String>,
    resources: HashSet<String>,
}

impl Standing {
    /// Whether what this account has is held; `who` in lower case.
    pub(crate) fn holds_account(&self, who: &str) -> bool {
        self.accounts.contains(who)
    }

    /// Whether this resource of this account is held; `who` in lower case.
    pub(crate) fn holds(&self, who: &str, cid: &Cid) -> bool {
        self.holds_account(who) || (!self.resources.is_empty() && self.resources.contains(&cid.to_string()))
    }

    /// That none was placed or released since.
    pub(crate) fn unchanged(&self) -> Cond {
        match self.version {
            Some(version) => Cond::Is(CHANGED.to_owned(), version),
            None => Cond::Absent(CHANGED.to_owned()),
        }
    }

    /// What stands.
    pub(crate) async fn read(records: &dyn RecordStore) -> Result<Self, StoreError> {
        // The version first: what comes meanwhile then fails the condition.
        let version = version(records).await?;
        let mut standing = Self {
            version,
            ..Self::default()
        };
        if version.is_none() {
            return Ok(standing);
        }
        for hold in list(records).await? {
            match hold.subject {
                _ if hold.released.is_some() => {}
                Subject::Account(address) => {
                    standing.accounts.insert(address.to_string().to_lowercase());
                }
                Subject::Resource(cid) => {
                    standing.resources.insert(cid);
                }
            }
        }
        Ok(standing)
    }
}

async fn version(records: &dyn RecordStore) -> Result<Option<Version>, StoreError> {
    let found = records.get(&[CHANGED.to_owned()]).await?.pop().flatten();
    Ok(found.map(|record| record.version))
}

async fn list(records: &dyn RecordStore) -> Result<Vec<LegalHold>, StoreError> {
    let mut holds = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let prefix = Holder::LegalHold.prefix();
        let page = records.list(prefix, after.as_deref(), PAGE).await?;
        for record in &page {
            holds.push(typed::decode(record)?);
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
            _ => return Ok(holds),
        }
    }
}

/// What a hold refers to: a resource; an account's matter is referred to by what is hidden instead of deleted.
pub(super) fn claim(record: &Record) -> Result<Option<Claim>, StoreError> {
    let hold: LegalHold = typed::decode(record)?;
    let (Subject::Resource(text), Some(size), None) = (&hold.subject, hold.size, hold.released) else {
        return Ok(None);
    };
    let cid = parse_root(text).map_err(|error| StoreError::Damaged {
        what: format!("record {}", record.key),
        why: error.to_string(),
    })?;
    Ok(Some(Claim {
        holder: Holder::LegalHold,
        key: record.key.clone(),
        whose: "administrator".to_owned(),
        message_id: String::new(),
        until: None,
        roots: vec![Root {
            cid,
            size,
            whole: true,
        }],
    }))
}

/// The legal holds of a node. Cheap to clone.
#[derive(Clone)]
pub struct LegalHolds {
    blocks: Arc<dyn BlockStore>,
    records: Arc<dyn RecordStore>,
    ledger: Ledger,
    accounts: Accounts,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    changing: Arc<Mutex<()>>,
}

impl LegalHolds {
    /// The holds in these records, on what is in these blocks.
    #[must_use]
    pub fn new(
        blocks: Arc<dyn BlockStore>,
        records: Arc<dyn RecordStore>,
        ledger: Ledger,
        accounts: Accounts,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
    ) -> Self {
        Self {
            blocks,
            records,
            ledger,
            accounts,
            clock,
            randomness,
            changing: Arc::default(),
        }
    }

    /// All that stand, and those that were released, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self) -> Result<Vec<LegalHold>, StoreError> {
        list(&*self.records).await
    }

    /// Places a hold. What is there from now on stays until it is released.
    ///
    /// # Errors
    /// [`HoldError`].
    pub async fn place(&self, subject: Subject, reason: &str) -> Result<LegalHold, HoldError> {
        let reason = reason.trim();
        if reason.is_empty() || reason.len() > limits::REASON {
            return Err(HoldError::Reason);
        }
        let _changing = self.changing.lock().await;
        for _ in 0..COMMITS {
            let version = version(&*self.records).await?;
            let standing = self.list().await?;
            let standing = standing.iter().filter(|hold| hold.released.is_none()).count();
            if standing >= limits::LEGAL_HOLDS {
                return Err(HoldError::TooMany);
            }
            let mut hold = LegalHold {
                id: clock::uuid(&*self.clock, &*self.randomness),
                subject: subject.clone(),
                size: None,
                reason: reason.to_owned(),
                placed: self.clock.now(),
                released: None,
            };
            let mut when = Vec::new();
            let mut then = Vec::new();
            match &subject {
                Subject::Account(address) => {
                    let account = self.accounts.find(address).await?;
                    account.ok_or_else(|| HoldError::NoSuchUser(address.clone()))?;
                }
                Subject::Resource(text) => {
                    let cid = parse_root(text).map_err(|_| BadSubject(text.clone()))?;
                    let here = mailbox::resource(&*self.records, &cid).await?;
                    let here = here.ok_or(HoldError::NoSuchResource(cid))?;
                    // The record goes with the root, and what is below it may have gone before. Nothing is swept meanwhile.
                    if !stays(&*self.blocks, &cid, here.size).await? {
                        return Err(HoldError::NoSuchResource(cid));
                    }
                    hold.size = Some(here.size);
                    when.push(here.unchanged);
                    then.push(here.put);
                }
            }
            match self.change(&hold, version, when, then).await {
                Ok(()) => return Ok(hold),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(HoldError::Busy)
    }

    /// Releases a hold. What its user deleted meanwhile goes with the next collection.
    ///
    /// # Errors
    /// [`HoldError`].
    pub async fn release(&self, id: Uuid) -> Result<LegalHold, HoldError> {
        let _changing = self.changing.lock().await;
        for _ in 0..COMMITS {
            let version = version(&*self.records).await?;
            let found = typed::read::<LegalHold>(&*self.records, &key(id)).await?;
            let Some((_, mut hold)) = found.filter(|(_, hold)| hold.released.is_none()) else {
                return Err(HoldError::NoSuchHold(id));
            };
            hold.released = Some(self.clock.now());
            match self.change(&hold, version, Vec::new(), Vec::new()).await {
                Ok(()) => return Ok(hold),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(HoldError::Busy)
    }

    async fn change(
        &self,
        hold: &LegalHold,
        version: Option<Version>,
        mut when: Vec<Cond>,
        mut then: Vec<Op>,
    ) -> Result<(), CommitError> {
        let standing = Standing {
            version,
            ..Standing::default()
        };
        when.push(standing.unchanged());
        then.extend([
            Op::Put(key(hold.id), typed::encode(hold)),
            Op::Put(CHANGED.to_owned(), typed::encode(&())),
        ]);
        let mut parties = vec!["administrator".to_owned()];
        let mut resources = Vec::new();
        match &hold.subject {
            Subject::Account(address) => parties.push(address.to_string()),
            Subject::Resource(text) => resources.extend(parse_root(text)),
        }
        let event = Event {
            act: Act::Access,
            parties,
            message_id: String::new(),
            resources,
            evidence: String::new(),
        };
        self.ledger.commit(when, then, vec![event]).await?;
        let change = if hold.released.is_some() {
            "released"
        } else {
            "placed"
        };
        tracing::info!(id = %hold.id, subject = %hold.subject, change, "a legal hold");
        Ok(())
    }

    /// Returns once every change is made that was asked for before, also by somebody who does not wait for it any more.
    pub(super) async fn settled(&self) -> Result<(), StoreError> {
        match self.ledger.commit(Vec::new(), Vec::new(), Vec::new()).await {
            // A conflict is answered behind them as well.
            Ok(_) | Err(CommitError::Conflict(_)) => Ok(()),
            Err(CommitError::Store(error)) => Err(error),
        }
    }

    /// While this is kept, no hold is placed or released; whether what stands is what was read before.
    pub(super) async fn still(&self, standing: &Standing) -> Result<Option<MutexGuard<'_, ()>>, StoreError> {
        let guard = self.changing.lock().await;
        let same = version(&*self.records).await? == standing.version;
        Ok(same.then_some(guard))
    }
}

fn key(id: Uuid) -> String {
    format!("{}{id}", Holder::LegalHold.prefix())
}
