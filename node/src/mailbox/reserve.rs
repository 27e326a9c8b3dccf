//! How much of a recipient's quota is kept free for what is on its way to them (row Q09).
//!
//! What always holds: a promise alone keeps nothing free. All that a job names has room while its origin serves it, which only this process
//! knows; what has come of a job that waits has room by its record. What is held at last is within the quota in any case.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cargomail_protocol::address::Address;
use cargomail_protocol::limits;
use cargomail_protocol::notification::Notification;
use cargomail_protocol::share::SharedResource;

use super::holdings::Usage;
use super::jobs::{self, Job, Place};
use super::{COMMITS, Mailbox, MailboxError, who};
use crate::store::{CommitError, Cond, Op, StoreError};

/// Octets that are coming at this moment, for each recipient.
#[derive(Default)]
pub(super) struct Coming(Mutex<HashMap<String, u64>>);

impl Coming {
    pub(super) fn to(&self, recipient: &Address) -> u64 {
        self.all().get(&who(recipient)).copied().unwrap_or(0)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        // No critical section panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for what is coming; it is free again when this is dropped.
pub(super) struct Room<'a> {
    coming: &'a Coming,
    recipient: String,
    octets: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut all = self.coming.all();
        if let Some(octets) = all.get_mut(&self.recipient) {
            *octets = octets.saturating_sub(self.octets);
        }
        all.retain(|_, octets| *octets > 0);
    }
}

impl Mailbox {
    /// Octets of a notification that the recipient does not hold yet.
    pub(super) async fn missing(&self, notification: &Notification) -> Result<u64, StoreError> {
        let resources = &notification.resources;
        let held = self.holdings.held(&notification.recipient, resources).await?;
        Ok(missing(resources, &held))
    }

    /// Room for all that is missing, while its origin serves it.
    ///
    /// # Errors
    /// [`MailboxError::OverQuota`], and [`MailboxError::Crowded`] where only what is on its way stands in the way. If that is what has come of
    /// other jobs that wait, this one gives up what has come of it: of several that wait for each other's room, one comes through.
    pub(super) async fn room(&self, job: &Job, missing: u64) -> Result<Room<'_>, MailboxError> {
        let account = self.holdings.account(&job.recipient).await?;
        let mut usage = self.holdings.usage(&job.recipient).await?.usage;
        usage.claimed = usage.claimed.saturating_sub(job.claimed);
        let fits = usage.check(&account, 0, missing);
        if let (Err(MailboxError::Crowded), true) = (&fits, job.claimed > 0) {
            self.claim(&job.id, 0, vec![jobs::forget_place(&job.id)]).await?;
        }
        fits?;
        // What has come of this job has its room already.
        let (recipient, octets) = (who(&job.recipient), missing.saturating_sub(job.claimed));
        let mut all = self.coming.all();
        let coming = all.get(&recipient).copied().unwrap_or(0);
        usage.check(&account, coming, missing)?;
        all.insert(recipient.clone(), coming.saturating_add(octets));
        drop(all);
        Ok(Room {
            coming: &self.coming,
            recipient,
            octets,
        })
    }

    /// A try has come to nothing: what has come so far keeps its room.
    pub(super) async fn keep_what_came(&self, job: &Job) -> Result<(), MailboxError> {
        let came = self.jobs.came(&job.id).await?;
        let place = came.verified.max(came.durable);
        if place == Place::default() && job.claimed == 0 {
            return Ok(());
        }
        let (notification, _) = jobs::notification(&*self.needs.blocks, job).await?;
        let resources = &notification.resources;
        let held = self.holdings.held(&job.recipient, resources).await?;
        let octets = before(resources, &held, place);
        self.claim(&job.id, octets, Vec::new()).await
    }

    /// Has a job's record keep so much free, in one commit with something else.
    async fn claim(&self, job: &str, octets: u64, then: Vec<Op>) -> Result<(), MailboxError> {
        for _ in 0..COMMITS {
            let Some((version, mut job)) = self.jobs.find(job).await? else {
                return Ok(());
            };
            if job.state.is_final() || job.claimed == octets {
                return Ok(());
            }
            let mut kept = self.holdings.usage(&job.recipient).await?;
            kept.usage.claimed = kept
                .usage
                .claimed
                .saturating_sub(job.claimed)
                .saturating_add(octets);
            job.claimed = octets;
            let when = vec![Cond::Is(jobs::key(&job.id), version), kept.unchanged()];
            let then = [kept.put(), jobs::put(&job)].into_iter().chain(then.clone());
            match self.needs.records.commit(when, then.collect()).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(MailboxError::Busy)
    }
}

/// Octets of the resources that are not held.
pub(super) fn missing(resources: &[SharedResource], held: &[bool]) -> u64 {
    let missing = resources.iter().zip(held).filter(|(_, held)| !**held);
    missing.map(|(resource, _)| resource.size()).sum()
}

/// Octets of the resources up to a place in them, without those that are held.
fn before(resources: &[SharedResource], held: &[bool], place: Place) -> u64 {
    let octets =
        |(index, (resource, held)): (usize, (&SharedResource, &bool))| match index.cmp(&place.resource) {
            _ if *held => 0,
            std::cmp::Ordering::Less => resource.size(),
            std::cmp::Ordering::Equal => resource
                .size()
                .min(place.leaves.saturating_mul(limits::LEAF as u64)),
            std::cmp::Ordering::Greater => 0,
        };
    resources.iter().zip(held).enumerate().map(octets).sum()
}

/// Gives back what is kept free for a job, which has come to its end.
pub(super) fn release(usage: &mut Usage, job: &Job) {
    usage.claimed = usage.claimed.saturating_sub(job.claimed);
    usage.jobs = usage.jobs.saturating_sub(1);
}
