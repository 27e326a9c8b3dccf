//! Retrievals as they are kept: one job for each notification of one broker.
//!
//! What always holds: a job is there before its broker is told of it, and stays for a time after it has ended, so that the same
//! notification gives the same job; `job-open/<id>` stands exactly as long as something is left to be done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cargomail_protocol::address::{Address, ClientId, Locator};
use cargomail_protocol::grip::Digest;
use cargomail_protocol::notification::{JobState, Notification};
use cargomail_protocol::queue::Tries;
use cargomail_protocol::timestamp::Timestamp;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{COMMITS, LISTED, MailboxError, hashed, named, newest, who};
use crate::store::typed::Stored;
use crate::store::{BlockStore, CommitError, Cond, Op, RecordStore, Settling, StoreError, Version, typed};

/// Jobs that something is left to be done for.
const OPEN: &str = "job-open/";
/// How much of a job is durable.
const PLACES: &str = "job-place/";
/// Records read at a time.
const PAGE: usize = 500;

/// A retrieval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    /// Names it: by the notification and its broker.
    pub(super) id: String,
    /// Who notified.
    pub(super) broker: ClientId,
    /// The hash of the key that the broker proved when it did, in hex.
    pub(super) key: String,
    /// The freshest token 1.
    pub(super) notify: String,
    /// Until when it is good.
    pub(super) notify_until: Timestamp,
    /// The notification's octets.
    pub(super) notification: Stored,
    /// How many resources it names.
    #[serde(default)]
    pub(super) count: usize,
    /// Their octets.
    #[serde(default)]
    pub(super) size: u64,
    /// From where.
    pub(super) origin: Locator,
    /// From whom.
    pub(super) sender: Address,
    /// For whom.
    pub(super) recipient: Address,
    /// By which mail.
    pub(super) message_id: String,
    /// When it ends whatever has come: with the share, or earlier.
    pub(super) expires: Timestamp,
    /// Octets of the recipient's quota that are kept free for what has come of it.
    pub(super) claimed: u64,
    /// How far it is: `Queued`, or its end.
    pub(super) state: JobState,
    /// The tries of fetching; once everything is stored, those of sending the receipt.
    pub(super) tries: Tries,
    /// What weighs against the origin: that it could not be believed, or led to nobody.
    pub(super) mishaps: u32,
    /// The receipt that the origin has not noted yet.
    pub(super) receipt: Option<String>,
    /// When the notification came.
    pub(super) since: Timestamp,
}

/// The name of the job for a notification by a broker.
pub(super) fn id(digest: &Digest, broker: &ClientId) -> String {
    let mut hash = Sha256::new();
    hash.update(digest.sha256());
    hash.update(broker.to_string());
    let hash: [u8; 32] = hash.finalize().into();
    HEXLOWER.encode(&hash).chars().take(32).collect()
}

pub(super) fn key(id: &str) -> String {
    format!("job/{id}")
}

pub(super) fn put(job: &Job) -> Op {
    Op::Put(key(&job.id), typed::encode(job))
}

/// The records of a new job.
pub(super) fn create(job: &Job) -> Vec<Op> {
    let open = format!("{OPEN}{}", job.id);
    let marks = entries(job).into_iter().chain([open]);
    let marks = marks.map(|key| Op::Put(key, typed::encode(&())));
    std::iter::once(put(job)).chain(marks).collect()
}

/// All records of a job that has ended.
pub(super) fn forget(job: &Job) -> Vec<Op> {
    let gone = entries(job).into_iter().chain([key(&job.id)]).map(Op::Delete);
    gone.chain([forget_place(&job.id)]).collect()
}

/// Where a job is listed.
fn entries(job: &Job) -> [String; 2] {
    let name = newest(job.since, &job.id);
    [None, Some(job.message_id.as_str())].map(|of| format!("{}{name}", listed(&job.recipient, of)))
}

/// Where somebody's jobs are listed, or those of one message.
fn listed(recipient: &Address, message_id: Option<&str>) -> String {
    let whose = who(recipient);
    match message_id {
        Some(message_id) => format!("job-message/{whose}/{}/", hashed(message_id)),
        None => format!("job-of/{whose}/"),
    }
}

/// Nothing is left to be done.
pub(super) fn close(id: &str) -> Op {
    Op::Delete(format!("{OPEN}{id}"))
}

/// A place in the resources of a job, in the order of its notification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// The resources before this one are before it.
    pub(super) resource: usize,
    /// Of this one, the first so many leaves.
    pub(super) leaves: u64,
}

/// Up to where the resources of a job have come from its origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Came {
    /// Up to here they are durable.
    pub(super) durable: Place,
    /// Up to here they came and were verified. Which of them the disk held when a node died, the store knows.
    pub(super) verified: Place,
}

/// No resources are on their way any more.
pub(super) fn forget_place(id: &str) -> Op {
    Op::Delete(format!("{PLACES}{id}"))
}

type Progress = HashMap<String, (u64, u64)>;

/// The jobs, and how far those are that are under way.
pub(super) struct Jobs {
    records: Arc<dyn RecordStore>,
    progress: Mutex<Progress>,
}

impl Jobs {
    pub(super) fn new(records: Arc<dyn RecordStore>) -> Self {
        Self {
            records,
            progress: Mutex::default(),
        }
    }

    pub(super) async fn find(&self, id: &str) -> Result<Option<(Version, Job)>, StoreError> {
        typed::read(&*self.records, &key(id)).await
    }

    /// Shows every job that something is left to be done for. They are read some at a time: each may bring its notification.
    pub(super) async fn each_open(&self, mut show: impl FnMut(Job)) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let page = self.records.list(OPEN, after.as_deref(), PAGE).await?;
            let keys: Vec<String> = page
                .iter()
                .filter_map(|record| record.key.strip_prefix(OPEN))
                .map(key)
                .collect();
            for record in self.records.get(&keys).await?.iter().flatten() {
                show(typed::decode(record)?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Somebody's newest jobs, or those of one message. With its notification and tokens each takes 48 KiB at most.
    pub(super) async fn of(
        &self,
        recipient: &Address,
        message_id: Option<&str>,
    ) -> Result<Vec<Job>, StoreError> {
        let prefix = listed(recipient, message_id);
        let entries = self.records.list(&prefix, None, LISTED).await?;
        let keys: Vec<String> = entries
            .iter()
            .filter_map(|entry| named(&entry.key))
            .map(key)
            .collect();
        self.records
            .get(&keys)
            .await?
            .iter()
            .flatten()
            .map(typed::decode)
            .collect()
    }

    /// Changes a job, and what `change` adds to it, in one commit; none when there is no such job.
    pub(super) async fn change(
        &self,
        id: &str,
        mut change: impl FnMut(&mut Job) -> Vec<Op>,
    ) -> Result<Option<Job>, MailboxError> {
        for _ in 0..COMMITS {
            let Some((version, mut job)) = self.find(id).await? else {
                return Ok(None);
            };
            let mut then = change(&mut job);
            then.push(put(&job));
            match self.records.commit(vec![Cond::Is(key(id), version)], then).await {
                Ok(_) => return Ok(Some(job)),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(MailboxError::Busy)
    }

    /// Up to where a job has come.
    pub(super) async fn came(&self, id: &str) -> Result<Came, StoreError> {
        let found = typed::read(&*self.records, &format!("{PLACES}{id}")).await?;
        Ok(found.map(|(_, came)| came).unwrap_or_default())
    }

    /// Notes up to where a job has come; only who works on it does so. Written on return.
    pub(super) async fn note(&self, id: &str, came: Came) -> Result<Settling<CommitError>, CommitError> {
        let put = Op::Put(format!("{PLACES}{id}"), typed::encode(&came));
        self.records.write(Vec::new(), vec![put]).await
    }

    /// How far a job is at this moment.
    pub(super) fn state(&self, job: &Job) -> JobState {
        match self.progress().get(&job.id) {
            Some((bytes, of)) if !job.state.is_final() => JobState::Retrieving {
                bytes: *bytes,
                of: *of,
            },
            _ => job.state,
        }
    }

    /// Begins to tell how far a job is; ends when what is returned is dropped.
    pub(super) fn under_way(&self, id: &str) -> UnderWay<'_> {
        UnderWay {
            jobs: self,
            id: id.to_owned(),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Every critical section is one map operation, so a poisoned map is still whole.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job whose octets are arriving.
pub(super) struct UnderWay<'a> {
    jobs: &'a Jobs,
    id: String,
}

impl UnderWay<'_> {
    pub(super) fn at(&self, bytes: u64, of: u64) {
        self.jobs.progress().insert(self.id.clone(), (bytes.min(of), of));
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.jobs.progress().remove(&self.id);
    }
}

/// The notification of a job, and its octets as they came.
pub(super) async fn notification(
    blocks: &dyn BlockStore,
    job: &Job,
) -> Result<(Notification, Bytes), StoreError> {
    let lost = |why: String| StoreError::Damaged {
        what: format!("the notification of job {}", job.id),
        why,
    };
    let octets = job.notification.read(blocks).await?;
    let octets = octets.ok_or_else(|| lost("a block is not here".to_owned()))?;
    let notification = Notification::parse(&octets).map_err(|error| lost(error.to_string()))?;
    Ok((notification, octets))
}
