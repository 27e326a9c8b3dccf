//! Step 7 at the destination, retrieve: works off the jobs, some at a time, each until it has come to its end; then sends the
//! receipts.
//!
//! What always holds: a job comes to exactly one end; that everything is stored, who holds it, what the ledger tells of it
//! and the receipt are one commit, before the origin or the user hears of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cargomail_protocol::address::Address;
use cargomail_protocol::fault::Faulty;
use cargomail_protocol::ledger::{Act, Event};
use cargomail_protocol::limits;
use cargomail_protocol::notification::{JobState, Reason};
use cargomail_protocol::queue::{Next, Tries};
use cargomail_protocol::receipt;
use cargomail_protocol::share::SharedResource;
use cargomail_protocol::timestamp::Timestamp;
use cid::Cid;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::fetch::{Fetched, Trouble};
use super::holdings::{Kept, Resource, arrived, hold};
use super::jobs::{self, Job};
use super::reserve::release;
use super::share::roots;
use super::{COMMITS, Mailbox, MailboxError, who};
use crate::api::Retrieval;
use crate::store::{CommitError, Cond, Op};

/// How long to wait when a job could not even be read or written.
const STUCK: Duration = Duration::from_secs(60);

impl Mailbox {
    /// Works until cancelled.
    pub(super) async fn retrieve(self: Arc<Self>, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.options.concurrent.max(1)));
        let tasks = TaskTracker::new();
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await.ok()?;
                Some((place, self.agenda.next(&*self.needs.clock).await))
            };
            let (place, id) = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                next = next => match next {
                    Some(next) => next,
                    None => break,
                },
            };
            let (mailbox, shutdown) = (self.clone(), shutdown.clone());
            let stopping = self.agenda.stopping(&id);
            tasks.spawn(
                async move {
                    tokio::select! {
                        biased;
                        () = shutdown.cancelled() => {}
                        () = stopping.cancelled() => mailbox.agenda.done(&id, None),
                        next = mailbox.attempt(&id) => mailbox.agenda.done(&id, next),
                    }
                    drop(place);
                }
                .in_current_span(),
            );
        }
        tasks.close();
        tasks.wait().await;
    }

    /// One try; when the next is due, if there is one.
    async fn attempt(&self, id: &str) -> Option<Timestamp> {
        let advanced = async {
            match self.jobs.find(id).await? {
                None => Ok(None),
                Some((_, job)) => match &job.receipt {
                    Some(receipt) => self.send_receipt(&job, receipt).await,
                    None if job.state.is_final() => Ok(None),
                    None => self.advance(&job).await,
                },
            }
        };
        advanced.await.unwrap_or_else(|error: MailboxError| {
            tracing::error!(%error, job = id, step = "retrieve", "a job cannot be worked on");
            Some(self.now().plus(STUCK))
        })
    }

    async fn advance(&self, job: &Job) -> Result<Option<Timestamp>, MailboxError> {
        let now = self.now();
        if now >= job.expires {
            return self.end(job, JobState::Expired).await;
        }
        if now >= job.notify_until {
            let why = "the broker's token has expired, a fresh one is waited for".to_owned();
            return self.after(job, Trouble::Later { why, asked: None }).await;
        }
        let before = self.jobs.came(&job.id).await?.durable;
        match self.fetch(job).await {
            Ok(fetched) => self.stored(job, &fetched).await,
            Err(trouble) => {
                // A large resource over a line that breaks now and then comes nevertheless, and soon.
                if self.jobs.came(&job.id).await?.durable > before {
                    self.jobs
                        .change(&job.id, |fresh| {
                            fresh.tries.came_further();
                            Vec::new()
                        })
                        .await?;
                }
                self.after(job, trouble).await
            }
        }
    }

    /// What follows a try that came to nothing.
    async fn after(&self, job: &Job, trouble: Trouble) -> Result<Option<Timestamp>, MailboxError> {
        let is_last = |mishaps: u32| job.mishaps.saturating_add(mishaps) >= limits::MISHAPS;
        let (why, asked, mishaps) = match trouble {
            Trouble::Refused => {
                let reason = Reason::OriginRefused;
                return self.end(job, JobState::Refused { reason }).await;
            }
            Trouble::Violated(why) => {
                tracing::warn!(
                    message_id = %job.message_id,
                    step = "retrieve",
                    origin = %job.origin,
                    %why,
                    "the origin cannot be believed"
                );
                if is_last(limits::MISHAPS_VIOLATED) {
                    let reason = Reason::Unverifiable;
                    return self.end(job, JobState::Failed { reason }).await;
                }
                (why, None, limits::MISHAPS_VIOLATED)
            }
            Trouble::Unusable(why) => {
                if is_last(limits::MISHAPS_UNUSABLE) {
                    tracing::warn!(
                        message_id = %job.message_id,
                        step = "retrieve",
                        origin = %job.origin,
                        %why,
                        "the origin leads to nobody"
                    );
                    let reason = Reason::OriginUnreachable;
                    return self.end(job, JobState::Failed { reason }).await;
                }
                (why, None, limits::MISHAPS_UNUSABLE)
            }
            Trouble::Unreachable(why) => {
                self.agenda.failed(&job.origin, self.now(), self.random());
                (why, None, 0)
            }
            Trouble::Later { why, asked } => (why, asked, 0),
            Trouble::Own(error) => {
                if let Some(refused) = refusal(&error) {
                    return self.end(job, refused).await;
                }
                tracing::error!(message_id = %job.message_id, step = "retrieve", %error, "this node failed");
                (error.to_string(), None, 0)
            }
        };
        let due = self.postpone(job, asked, mishaps).await?;
        if let Err(error) = self.keep_what_came(job).await {
            tracing::warn!(%error, job = %job.id, step = "retrieve", "what has come has no room of its own yet");
        }
        match due {
            Some(due) => {
                tracing::warn!(
                    message_id = %job.message_id,
                    step = "retrieve",
                    job = %job.id,
                    origin = %job.origin,
                    %why,
                    %due,
                    "not yet"
                );
                Ok(Some(due))
            }
            None => self.end(job, JobState::Expired).await,
        }
    }

    /// Counts a failed try; when the next is due, if there is one.
    async fn postpone(
        &self,
        job: &Job,
        asked: Option<Duration>,
        mishaps: u32,
    ) -> Result<Option<Timestamp>, MailboxError> {
        let (now, random) = (self.now(), self.random());
        let mut next = Next::GiveUp;
        let renewed = |fresh: &Job| fresh.notify != job.notify;
        self.jobs
            .change(&job.id, |fresh| {
                fresh.mishaps += mishaps;
                let renewed = renewed(fresh);
                next = fresh.tries.failed(now, asked, random);
                // A token that came meanwhile is worth a try at once.
                if let (Next::At(due), true) = (&mut next, renewed) {
                    fresh.tries.due = now;
                    *due = now;
                }
                Vec::new()
            })
            .await?;
        Ok(match next {
            Next::At(due) => Some(due),
            Next::GiveUp => None,
        })
    }

    /// Everything is here: says so, and to whom it belongs.
    async fn stored(&self, job: &Job, fetched: &Fetched<'_>) -> Result<Option<Timestamp>, MailboxError> {
        let resources = &fetched.notification.resources;
        for _ in 0..COMMITS {
            let now = self.now();
            let Some((version, mut fresh)) = self.jobs.find(&job.id).await? else {
                return Ok(None);
            };
            if fresh.state.is_final() {
                return Ok(Some(now));
            }
            let belongings = self.belongings(&fresh, resources, &fetched.brought).await;
            let (kept, mut then) = match belongings {
                Ok(belongings) => belongings,
                Err(error) => match refusal(&error) {
                    Some(refused) => return self.end(job, refused).await,
                    None => return Err(error),
                },
            };
            let token = receipt::token(
                self.needs.signer.key(),
                &self.options.service,
                &fresh.origin,
                fetched.digest,
                &fresh.notify,
                self.needs.signer.stamp(),
            )?;
            fresh.state = JobState::Stored;
            fresh.tries = Tries::new(now, limits::NOTIFY_TOKEN_LIFE);
            fresh.receipt = Some(token.clone());
            then.extend([kept.put(), jobs::put(&fresh), jobs::forget_place(&job.id)]);
            let when = vec![Cond::Is(jobs::key(&job.id), version), kept.unchanged()];
            let events = vec![
                told(Act::Retrieved, &fresh, resources, &fetched.evidence),
                told(Act::Receipt, &fresh, resources, &token),
            ];
            match self.needs.ledger.commit(when, then, events).await {
                Ok(_) => {
                    tracing::info!(
                        message_id = %fresh.message_id,
                        step = "retrieve",
                        job = %fresh.id,
                        origin = %fresh.origin,
                        recipient = %fresh.recipient,
                        resources = resources.len(),
                        octets = fetched.notification.total_size(),
                        "everything is stored"
                    );
                    return Ok(Some(now));
                }
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(MailboxError::Busy)
    }

    /// What is recorded of resources that have arrived: that they are here, and whose they are.
    async fn belongings(
        &self,
        job: &Job,
        resources: &[SharedResource],
        brought: &HashSet<Cid>,
    ) -> Result<(Kept, Vec<Op>), MailboxError> {
        let mut kept = self.holdings.usage(&job.recipient).await?;
        let held = self.holdings.held(&job.recipient, resources).await?;
        let whole = self.holdings.whole(resources).await?;
        let (mut then, mut more) = (Vec::new(), 0);
        for ((resource, held), whole) in resources.iter().zip(held).zip(whole) {
            let (cid, size) = (resource.cid(), resource.size());
            // Written anew also where it is here already: who takes it for unused at this moment is told of a conflict.
            let mut whole = whole.unwrap_or(Resource {
                size,
                sha256: None,
                from: Vec::new(),
            });
            if brought.contains(cid) {
                whole.came_from(&job.origin);
            }
            then.push(arrived(cid, &whole));
            if !held {
                more += size;
                then.push(hold(&job.recipient, cid, size, self.now()));
            }
        }
        kept.usage.held += more;
        release(&mut kept.usage, job);
        let quota = self.holdings.account(&job.recipient).await?.quota;
        if let Some(quota) = quota.filter(|quota| more > 0 && kept.usage.held > *quota) {
            return Err(MailboxError::OverQuota(quota));
        }
        Ok((kept, then))
    }

    /// A job comes to an end without its resources.
    async fn end(&self, job: &Job, state: JobState) -> Result<Option<Timestamp>, MailboxError> {
        for _ in 0..COMMITS {
            let Some((version, mut fresh)) = self.jobs.find(&job.id).await? else {
                return Ok(None);
            };
            if fresh.state.is_final() {
                return Ok(None);
            }
            let mut kept = self.holdings.usage(&fresh.recipient).await?;
            release(&mut kept.usage, &fresh);
            fresh.state = state;
            // When it ended.
            fresh.tries.due = self.now();
            let when = vec![Cond::Is(jobs::key(&job.id), version), kept.unchanged()];
            let then = vec![
                kept.put(),
                jobs::put(&fresh),
                jobs::forget_place(&job.id),
                jobs::close(&job.id),
            ];
            let mut events = Vec::new();
            if state == JobState::Expired {
                let (notification, _) = jobs::notification(&*self.needs.blocks, &fresh).await?;
                let resources = &notification.resources;
                events.push(told(Act::Expired, &fresh, resources, &fresh.notify));
            }
            match self.needs.ledger.commit(when, then, events).await {
                Ok(_) => {
                    tracing::warn!(
                        message_id = %fresh.message_id,
                        step = "retrieve",
                        job = %fresh.id,
                        ?state,
                        "a retrieval has ended without its resources"
                    );
                    return Ok(None);
                }
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(MailboxError::Busy)
    }

    /// Tells the origin that everything is stored, until it has noted it or there is no use in it.
    async fn send_receipt(&self, job: &Job, token: &str) -> Result<Option<Timestamp>, MailboxError> {
        let (message_id, origin) = (&job.message_id, &job.origin);
        let (why, asked) = match self.acknowledge(job, token).await {
            Ok(()) => {
                tracing::info!(%message_id, step = "receipt", %origin, "the origin has noted the receipt");
                return self.finished(job).await;
            }
            Err(Trouble::Refused) => {
                tracing::warn!(%message_id, step = "receipt", %origin, "the origin refuses the receipt");
                return self.finished(job).await;
            }
            Err(Trouble::Later { why, asked }) => (why, asked),
            Err(Trouble::Unreachable(why)) => {
                self.agenda.failed(origin, self.now(), self.random());
                (why, None)
            }
            Err(Trouble::Unusable(why) | Trouble::Violated(why)) => (why, None),
            Err(Trouble::Own(error)) => (error.to_string(), error.fault().retry_after()),
        };
        let due = self.postpone(job, asked, 0).await?;
        match due {
            Some(due) => {
                tracing::warn!(%message_id, step = "receipt", %origin, %why, %due, "not yet");
                Ok(Some(due))
            }
            None => {
                tracing::warn!(%message_id, step = "receipt", %origin, %why, "given up");
                self.finished(job).await
            }
        }
    }

    /// Nothing is left to be done.
    async fn finished(&self, job: &Job) -> Result<Option<Timestamp>, MailboxError> {
        self.jobs
            .change(&job.id, |fresh| {
                fresh.receipt = None;
                vec![jobs::close(&fresh.id)]
            })
            .await?;
        Ok(None)
    }

    /// Answers `GET /api/v1/retrievals`: what is on its way to the caller, or has arrived: the newest, or those of one message.
    pub(super) async fn retrievals(
        &self,
        caller: &Address,
        message_id: Option<&str>,
    ) -> Result<Vec<Retrieval>, MailboxError> {
        let jobs = self.jobs.of(caller, message_id).await?;
        Ok(jobs.into_iter().map(|job| self.shown(job)).collect())
    }

    /// Answers `DELETE /api/v1/retrievals/{job}`: what has not come yet is not fetched any more, nor by another destination. One that has
    /// ended stays as it is.
    pub(super) async fn cancel(&self, caller: &Address, id: &str) -> Result<Retrieval, MailboxError> {
        let theirs = async || {
            let found = self.jobs.find(id).await?.map(|(_, job)| job);
            let job = found.filter(|job| who(&job.recipient) == who(caller));
            job.ok_or(MailboxError::Missing)
        };
        self.end(&theirs().await?, JobState::Expired).await?;
        let job = theirs().await?;
        // One that came to its end by itself may have a receipt to be sent.
        if job.receipt.is_none() {
            self.agenda.stop(id);
        }
        Ok(self.shown(job))
    }

    fn shown(&self, job: Job) -> Retrieval {
        Retrieval {
            progress: self.jobs.state(&job),
            job: job.id,
            origin: job.origin,
            sender: job.sender,
            message_id: job.message_id,
            count: job.count,
            size: job.size,
            since: job.since,
        }
    }
}

/// The end of a job that this mailbox took and cannot take any more: its user has filled the room since, or is gone.
fn refusal(error: &MailboxError) -> Option<JobState> {
    let reason = match error {
        MailboxError::OverQuota(_) => Reason::OverQuota,
        MailboxError::NoSuchUser => Reason::NoSuchUser,
        _ => return None,
    };
    Some(JobState::Refused { reason })
}

/// What the ledger is told of a job.
fn told(act: Act, job: &Job, resources: &[SharedResource], evidence: &str) -> Event {
    Event {
        act,
        parties: vec![
            job.origin.to_string(),
            job.recipient.to_string(),
            job.sender.to_string(),
        ],
        message_id: job.message_id.clone(),
        resources: roots(resources),
        evidence: evidence.to_owned(),
    }
}
