//! Step 6, notify, at the destination: takes a broker's notification, and tells the broker how far the retrieval is.
//!
//! A broker asks by HTTPS or over a stream of libp2p (`routes`), or is in the same process ([`Agent`]): the checks are the same.
//!
//! What always holds: the job is durable before the 202; a broker learns nothing of a job that it did not ask for.

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use cargomail_protocol::address::Locator;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::grip::{self, Digest, Expectation, KeyHash, Proved, VerifiedChain};
use cargomail_protocol::ledger::{Act, Event};
use cargomail_protocol::limits;
use cargomail_protocol::notification::{self, JobState, Notification, Taken};
use cargomail_protocol::queue::Tries;
use http::{HeaderMap, header};

use super::holdings::Kept;
use super::jobs::{self, Job};
use super::share::roots;
use super::{COMMITS, Mailbox, MailboxError};
use crate::agent::Agent;
use crate::grip::Uses;
use crate::https::{self, HttpsError};
use crate::store::typed::Stored;
use crate::store::{CommitError, Cond};

impl Mailbox {
    /// Answers `POST /grip/v1/notifications`.
    pub(super) async fn notified(
        &self,
        peer: Option<&Proved>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Taken, MailboxError> {
        let peer = peer.ok_or(MailboxError::NoToken)?;
        let token = token_of(headers)?;
        check_media_type(headers, notification::MEDIA_TYPE)?;
        let octets = body_of(body, limits::NOTIFICATION).await?;
        self.believe(peer, token, octets).await
    }

    /// Makes the job of a notification, when its token is believed.
    async fn believe(&self, peer: &Proved, token: &str, octets: Bytes) -> Result<Taken, MailboxError> {
        let expectation = Expectation::notify(self.audience(), peer.clone(), Digest::of(&octets));
        let (chain, uses) = self.needs.verifier.verify_unused(expectation, token).await?;
        let notification = Notification::parse(&octets)?;
        notification.check_recipient(chain.subject())?;
        self.take(&chain, uses, &notification, octets).await
    }

    /// Makes the job of a verified notification, or renews it.
    async fn take(
        &self,
        chain: &VerifiedChain,
        uses: Uses,
        notification: &Notification,
        octets: Bytes,
    ) -> Result<Taken, MailboxError> {
        // The token is used by the commit that makes the job, or before a job that is there already is renewed.
        let mut uses = Some(uses);
        let id = jobs::id(chain.digest(), chain.issuer());
        let shelter = self.needs.shelters.open();
        let mut stored = None;
        for _ in 0..COMMITS {
            if self.jobs.find(&id).await?.is_some()
                && let Some(uses) = uses.take()
            {
                self.needs.verifier.use_up(uses).await?;
            }
            if uses.is_none()
                && let Some(job) = self.renew(&id, chain).await?
            {
                self.agenda.put(&job, job.tries.due);
                return Ok(Taken { job: id });
            }
            // Who may have this job is asked before anything is written.
            let kept = self.admit(notification).await?;
            let stored = match &stored {
                Some(stored) => stored,
                None => stored.insert(Stored::keep(&*self.needs.blocks, &shelter, octets.clone()).await?),
            };
            let now = self.now();
            let expires = notification.expires.min(now.plus(limits::RETRIEVAL_LIFE));
            let job = Job {
                id: id.clone(),
                broker: chain.issuer().clone(),
                key: chain.token().key().hash().to_string(),
                notify: chain.token().text().to_owned(),
                notify_until: chain.token().claims().expires().unwrap_or(now),
                notification: stored.clone(),
                count: notification.resources.len(),
                size: notification.total_size(),
                origin: notification.origin.clone(),
                sender: notification.sender.clone(),
                recipient: notification.recipient.clone(),
                message_id: notification.message_id.clone(),
                expires,
                claimed: 0,
                state: JobState::Queued,
                tries: Tries::new(now, expires.since(now)),
                mishaps: 0,
                receipt: None,
                since: now,
            };
            if self.create(&job, kept, notification, uses.as_ref()).await? {
                self.agenda.put(&job, now);
                tracing::info!(
                    message_id = %notification.message_id,
                    step = "notify",
                    job = %id,
                    broker = %chain.issuer(),
                    origin = %notification.origin,
                    recipient = %notification.recipient,
                    resources = notification.resources.len(),
                    octets = notification.total_size(),
                    "a notification is taken"
                );
                return Ok(Taken { job: id });
            }
        }
        Err(MailboxError::Busy)
    }

    /// What of the recipient's quota is used, if this mailbox takes what the notification names for them.
    async fn admit(&self, notification: &Notification) -> Result<Kept, MailboxError> {
        let account = self.holdings.account(&notification.recipient).await?;
        if self.now() >= notification.expires {
            return Err(MailboxError::Expired);
        }
        let kept = self.holdings.usage(&notification.recipient).await?;
        let theirs = self.agenda.open(&notification.origin, &notification.recipient);
        if kept.usage.jobs >= limits::RETRIEVALS_PER_USER || theirs >= limits::RETRIEVALS_PER_USER_AND_ORIGIN
        {
            return Err(MailboxError::Crowded);
        }
        let missing = self.missing(notification).await?;
        kept.usage
            .check(&account, self.coming.to(&notification.recipient), missing)?;
        Ok(kept)
    }

    /// Writes the job; false when somebody else was faster.
    async fn create(
        &self,
        job: &Job,
        mut kept: Kept,
        notification: &Notification,
        uses: Option<&Uses>,
    ) -> Result<bool, MailboxError> {
        kept.usage.jobs += 1;
        let mut when = vec![Cond::Absent(jobs::key(&job.id)), kept.unchanged()];
        let mut then = vec![kept.put()];
        for (cond, op) in uses.into_iter().flat_map(Uses::once) {
            when.push(cond);
            then.push(op);
        }
        then.extend(jobs::create(job));
        let event = Event {
            act: Act::Notified,
            parties: vec![
                job.broker.to_string(),
                job.recipient.to_string(),
                job.sender.to_string(),
                job.origin.to_string(),
            ],
            message_id: job.message_id.clone(),
            resources: roots(&notification.resources),
            evidence: job.notify.clone(),
        };
        match self.needs.ledger.commit(when, then, vec![event]).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict(key)) => match uses.and_then(|uses| uses.replayed(&key)) {
                Some(replayed) => Err(replayed.into()),
                None => Ok(false),
            },
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// Gives a job that is there the fresh token, and makes it due at once; none when there is no such job.
    async fn renew(&self, id: &str, chain: &VerifiedChain) -> Result<Option<Job>, MailboxError> {
        let now = self.now();
        self.jobs
            .change(id, |job| {
                job.key = chain.token().key().hash().to_string();
                if !job.state.is_final() {
                    job.notify = chain.token().text().to_owned();
                    job.notify_until = chain.token().claims().expires().unwrap_or(now);
                    job.tries.due = now;
                }
                Vec::new()
            })
            .await
    }

    /// Answers `GET /grip/v1/notifications/{job}`: only to the broker that notified, with the same key.
    pub(super) async fn progress(&self, peer: Option<&Proved>, id: &str) -> Result<JobState, MailboxError> {
        self.told_to(peer.ok_or(MailboxError::NoToken)?, id).await
    }

    async fn told_to(&self, peer: &Proved, id: &str) -> Result<JobState, MailboxError> {
        let found = self.jobs.find(id).await?;
        let is_theirs =
            |job: &Job| KeyHash::parse(&job.key).as_ref() == peer.key() && peer.may_be(&job.broker);
        let job = found.map(|(_, job)| job).filter(is_theirs);
        Ok(self.jobs.state(&job.ok_or(MailboxError::Missing)?))
    }
}

#[async_trait]
impl Agent for Mailbox {
    fn locator(&self) -> &Locator {
        &self.options.locator
    }

    async fn notify(&self, broker: &Proved, token: &str, notification: Bytes) -> Result<Taken, Fault> {
        let taken = Box::pin(self.believe(broker, token, notification)).await;
        taken.map_err(|error| not_taken(Some(broker), &error))
    }

    async fn progress(&self, broker: &Proved, job: &str) -> Result<JobState, Fault> {
        self.told_to(broker, job).await.map_err(|error| not_told(&error))
    }
}

/// What a broker learns of why its notification is not taken. The named error goes to the log.
pub(super) fn not_taken(broker: Option<&Proved>, error: &MailboxError) -> Fault {
    let from = broker.map(tracing::field::display);
    let fault = error.fault();
    if fault.is_temporary() {
        tracing::warn!(from, %error, step = "notify", "a notification was put off");
    } else {
        tracing::info!(from, %error, step = "notify", "a notification was refused");
    }
    fault
}

/// What a broker learns of why it is not told of a job.
pub(super) fn not_told(error: &MailboxError) -> Fault {
    tracing::debug!(%error, step = "notify", "a question about a job was refused");
    error.fault()
}

/// The one token of a request.
fn token_of(headers: &HeaderMap) -> Result<&str, MailboxError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(MailboxError::NoToken);
    };
    let value = value.to_str().map_err(|_| MailboxError::NoToken)?;
    grip::token_in(value).ok_or(MailboxError::NoToken)
}

/// That the body is of this media type, with or without parameters.
pub(super) fn check_media_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), MailboxError> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .unwrap_or_default();
    if given.trim().eq_ignore_ascii_case(wanted) {
        Ok(())
    } else {
        Err(MailboxError::MediaType(wanted))
    }
}

/// The octets of a body, up to a bound.
pub(super) async fn body_of(body: Body, limit: usize) -> Result<Bytes, MailboxError> {
    https::read(body, limit).await.map_err(|error| match error {
        HttpsError::TooLarge { limit } => MailboxError::TooLarge(limit as u64),
        other => MailboxError::Body(other.to_string()),
    })
}
