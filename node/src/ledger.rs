//! The ledger performed: entries are committed together with the records that they tell of, or not at all.
//!
//! Not here: the form of entries, which is [`cargomail_protocol::ledger`]'s. What always holds: one commit holds the
//! service's own records, the entries and the new head; so nothing happens without its entry, and no entry without its
//! act.

use std::sync::Arc;

use cargomail_protocol::ledger::{Checker, Entry, Event, Head, LedgerError};
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::store::{CommitError, Cond, Op, RecordStore, StoreError, Version, typed};

/// `ledger/<index, 20 digits>` → the entry's octets.
const ENTRIES: &str = "ledger/";
/// The head, apart from the entries.
const HEAD: &str = "ledger-head";
/// Entries read at a time.
const PAGE: usize = 256;

/// Why a ledger cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It was changed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The ledger of this node. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    records: Arc<dyn RecordStore>,
    clock: Arc<dyn Clock>,
    /// The head with its record's version; whoever holds the lock writes the next entry.
    head: Arc<Mutex<(Head, Option<Version>)>>,
}

impl Ledger {
    /// The ledger in these records.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(records: Arc<dyn RecordStore>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let head = read_head(&*records).await?;
        Ok(Self {
            records,
            clock,
            head: Arc::new(Mutex::new(head)),
        })
    }

    /// Makes the changes and writes the entries that tell of them, all or none.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit(
        &self,
        mut when: Vec<Cond>,
        mut then: Vec<Op>,
        events: Vec<Event>,
    ) -> Result<Version, CommitError> {
        let mut head = self.head.lock().await;
        let (mut next, version) = *head;
        for event in events {
            let key = format!("{ENTRIES}{:020}", next.entries);
            let (octets, after) = next.next(self.clock.now(), event);
            then.push(Op::Put(key, octets.into()));
            next = after;
        }
        when.push(match version {
            Some(version) => Cond::Is(HEAD.to_owned(), version),
            None => Cond::Absent(HEAD.to_owned()),
        });
        then.push(Op::Put(HEAD.to_owned(), typed::encode(&next)));
        let outcome = self.records.commit(when, then).await;
        match &outcome {
            Ok(version) => *head = (next, Some(*version)),
            // Another process of the same deployment wrote: begin from what is there.
            Err(CommitError::Conflict(key)) if key == HEAD => *head = read_head(&*self.records).await?,
            Err(_) => {}
        }
        outcome
    }

    /// The octets of entries from `first` on, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn entries(&self, first: u64, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let after = first.checked_sub(1).map(|index| format!("{ENTRIES}{index:020}"));
        let page = self.records.list(ENTRIES, after.as_deref(), limit).await?;
        Ok(page.into_iter().map(|record| record.value.to_vec()).collect())
    }

    /// The head.
    pub async fn head(&self) -> Head {
        self.head.lock().await.0
    }

    /// Reads and checks every entry, and gives each to `each`.
    ///
    /// # Errors
    /// [`VerifyError::Ledger`] names the first entry that is not what was written.
    pub async fn verify(&self, mut each: impl FnMut(&Entry)) -> Result<Head, VerifyError> {
        let head = self.head().await;
        let mut checker = Checker::new();
        let mut next = 0;
        while next < head.entries {
            let page = self.entries(next, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for octets in page
                .iter()
                .take(usize::try_from(head.entries - next).unwrap_or(PAGE))
            {
                each(&checker.push(octets)?);
                next += 1;
            }
        }
        checker.finish(&head)?;
        Ok(head)
    }
}

async fn read_head(records: &dyn RecordStore) -> Result<(Head, Option<Version>), StoreError> {
    Ok(match typed::read::<Head>(records, HEAD).await? {
        Some((version, head)) => (head, Some(version)),
        None => (Head::default(), None),
    })
}
