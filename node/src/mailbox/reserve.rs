//! How much of a recipient's quota is kept free for what is on its way to them (row Q09).
//!
//! What always holds: a promise alone keeps nothing free for long. A job has room for all that it names until its first try has come to
//! nothing; from then on it has room for all only while its origin serves, and between tries for what has come of it.

use cargomail_protocol::limits;
use cargomail_protocol::notification::Notification;
use cargomail_protocol::share::SharedResource;

use super::holdings::Usage;
use super::jobs::{self, Job, Place};
use super::{COMMITS, Mailbox, MailboxError};
use crate::store::{CommitError, Cond, StoreError};

impl Mailbox {
    /// Octets that the recipient does not hold yet.
    pub(super) async fn missing(&self, notification: &Notification) -> Result<u64, StoreError> {
        let resources = &notification.resources;
        let held = self.holdings.held(&notification.recipient, resources).await?;
        Ok(missing(resources, &held))
    }

    /// Keeps so much free for a job, no more and no less; more only where there is room for it.
    pub(super) async fn reserve(&self, job: &str, octets: u64) -> Result<(), MailboxError> {
        for _ in 0..COMMITS {
            let Some((version, mut job)) = self.jobs.find(job).await? else {
                return Ok(());
            };
            if job.state.is_final() || job.claimed == octets {
                return Ok(());
            }
            let mut kept = self.holdings.usage(&job.recipient).await?;
            kept.usage.claimed = kept.usage.claimed.saturating_sub(job.claimed);
            if octets > job.claimed {
                let account = self.holdings.account(&job.recipient).await?;
                kept.usage.check(&account, octets)?;
            }
            kept.usage.claimed += octets;
            job.claimed = octets;
            let when = vec![Cond::Is(jobs::key(&job.id), version), kept.unchanged()];
            match self
                .needs
                .records
                .commit(when, vec![kept.put(), jobs::put(&job)])
                .await
            {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(MailboxError::Busy)
    }

    /// A try has come to nothing: only what has come so far keeps its room.
    pub(super) async fn put_back(&self, job: &Job) -> Result<(), MailboxError> {
        let place = self.jobs.came(&job.id).await?.verified;
        let came = match place == Place::default() {
            true => 0,
            false => {
                let (notification, _) = jobs::notification(&*self.needs.blocks, job).await?;
                // What the recipient holds came for another job, and is counted there.
                before(&notification.resources, place).min(self.missing(&notification).await?)
            }
        };
        self.reserve(&job.id, came).await
    }
}

/// Octets of the resources that are not held.
pub(super) fn missing(resources: &[SharedResource], held: &[bool]) -> u64 {
    let missing = resources.iter().zip(held).filter(|(_, held)| !**held);
    missing.map(|(resource, _)| resource.size()).sum()
}

/// Octets of the resources up to a place in them.
fn before(resources: &[SharedResource], place: Place) -> u64 {
    let whole = resources.iter().take(place.resource).map(SharedResource::size);
    let begun = resources.get(place.resource).map_or(0, |resource| {
        let leaves = place.leaves.saturating_mul(limits::LEAF as u64);
        leaves.min(resource.size())
    });
    whole.sum::<u64>() + begun
}

/// Gives back what was kept free for a job, which has come to its end.
pub(super) fn release(usage: &mut Usage, job: &Job) {
    usage.claimed = usage.claimed.saturating_sub(job.claimed);
    usage.jobs = usage.jobs.saturating_sub(1);
}
