//! Notes up to where a job has come while its octets arrive: one commit at a time, and the next one tells of everything
//! since.
//!
//! What always holds: a place is noted only behind blocks that this job brought and that were verified. It may be noted
//! before they are durable: whoever goes on from it asks the store.

use futures::future::BoxFuture;

use super::MailboxError;
use super::intake::while_full;
use super::jobs::{Came, Jobs, Place};

/// What is noted of one job.
pub(super) struct Noting<'a> {
    jobs: &'a Jobs,
    id: &'a str,
    came: Came,
    /// What the last commit tells, also one that is under way.
    noted: Came,
    commit: Option<BoxFuture<'a, Result<(), MailboxError>>>,
}

impl<'a> Noting<'a> {
    /// `came` is where the job is now.
    pub(super) fn new(jobs: &'a Jobs, id: &'a str, came: Came) -> Self {
        Self {
            jobs,
            id,
            came,
            noted: came,
            commit: None,
        }
    }

    /// Up to here the blocks were verified.
    pub(super) fn verified(&mut self, place: Option<Place>) {
        self.came.verified = place.unwrap_or(self.came.verified);
        self.begin();
    }

    /// Up to here the blocks are durable.
    pub(super) fn durable(&mut self, place: Option<Place>) {
        self.came.durable = place.unwrap_or(self.came.durable);
        self.begin();
    }

    fn begin(&mut self) {
        if self.commit.is_none() && self.noted != self.came {
            self.noted = self.came;
            let (jobs, id, came) = (self.jobs, self.id, self.came);
            self.commit = Some(Box::pin(while_full(move || jobs.note(id, came))));
        }
    }

    /// Whether a commit is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.commit.is_some()
    }

    /// Waits until the commit under way is made, and begins the next one if there is more to note.
    pub(super) async fn next(&mut self) -> Result<(), MailboxError> {
        if let Some(commit) = &mut self.commit {
            let made = commit.await;
            self.commit = None;
            made?;
        }
        self.begin();
        Ok(())
    }

    /// Waits until everything is noted.
    pub(super) async fn finish(mut self) -> Result<(), MailboxError> {
        while self.is_busy() {
            self.next().await?;
        }
        Ok(())
    }
}
