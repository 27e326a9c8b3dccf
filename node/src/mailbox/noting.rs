//! Notes up to where a job has come while its octets arrive: a few commits at a time, so that what is verified is in the journal at
//! once, whatever becomes of the process; what comes in between, the next one tells.
//!
//! What always holds: a place is noted only behind blocks that this job brought and that were verified. It may be noted
//! before they are durable: whoever goes on from it asks the store.

use cargomail_protocol::fault::{Fault, Faulty};
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use tokio::time::Instant;

use super::MailboxError;
use super::intake::{AGAIN, PATIENCE};
use super::jobs::{Came, Jobs, Place};

/// Commits of one job that are under way.
const COMMITS: usize = 16;

/// What is noted of one job.
pub(super) struct Noting<'a> {
    jobs: &'a Jobs,
    id: &'a str,
    came: Came,
    /// What the last commit tells, also one that is under way; none when there was no room for it.
    noted: Option<Came>,
    commits: FuturesOrdered<BoxFuture<'a, Result<(), MailboxError>>>,
    full: Option<Full>,
}

/// The disk has no room for a commit.
#[derive(Clone, Copy)]
struct Full {
    /// It is not waited for longer.
    until: Instant,
    /// When it is tried again.
    again: Instant,
}

impl<'a> Noting<'a> {
    /// `came` is where the job is now.
    pub(super) fn new(jobs: &'a Jobs, id: &'a str, came: Came) -> Self {
        Self {
            jobs,
            id,
            came,
            noted: Some(came),
            commits: FuturesOrdered::new(),
            full: None,
        }
    }

    /// Up to here the blocks were verified.
    pub(super) fn verified(&mut self, place: Option<Place>) {
        self.came.verified = place.unwrap_or(self.came.verified);
        self.begin(COMMITS);
    }

    /// Up to here the blocks are durable. Nobody waits to be told: the store knows it too.
    pub(super) fn durable(&mut self, place: Option<Place>) {
        self.came.durable = place.unwrap_or(self.came.durable);
        self.begin(1);
    }

    /// Begins a commit if there is something to note, unless so many are under way or the disk is full.
    fn begin(&mut self, most: usize) {
        if self.full.is_none() && self.commits.len() < most && self.noted != Some(self.came) {
            self.noted = Some(self.came);
            self.commits
                .push_back(Box::pin(self.jobs.note(self.id, self.came)));
        }
    }

    /// Whether what came is noted, or on its way to be without being held up: what is not would come twice if the node died.
    pub(super) fn keeps_up(&self) -> bool {
        let is_told = self
            .noted
            .is_some_and(|noted| noted.verified == self.came.verified);
        let is_quick = self.commits.is_empty() || !self.jobs.is_held_up();
        is_told && self.full.is_none() && is_quick
    }

    /// Whether a commit is under way, or waits for room.
    pub(super) fn is_busy(&self) -> bool {
        !self.commits.is_empty() || self.full.is_some()
    }

    /// Waits until the first commit under way is made, and begins the next one if there is more to note. One that there was no room
    /// for is not repeated as it was: the next one tells of everything.
    pub(super) async fn next(&mut self) -> Result<(), MailboxError> {
        match self.commits.next().await {
            Some(Err(error)) if error.fault() == Fault::Full => {
                let now = Instant::now();
                let until = self.full.map_or(now + PATIENCE, |full| full.until);
                if now >= until {
                    return Err(error);
                }
                let again = now + AGAIN;
                self.noted = None;
                self.full = Some(Full { until, again });
            }
            Some(made) => {
                made?;
                if self.commits.is_empty() {
                    self.full = None;
                }
                self.begin(1);
            }
            None => {
                if let Some(full) = self.full {
                    tokio::time::sleep_until(full.again).await;
                    let commit = self.jobs.note(self.id, self.came);
                    self.noted = Some(self.came);
                    self.commits.push_back(Box::pin(commit));
                }
            }
        }
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
