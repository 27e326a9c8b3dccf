//! Notes up to where a job has come while its octets arrive: one commit at a time, so that what is verified is in the journal at
//! once, whatever becomes of the process; what comes in between, the next one tells.
//!
//! What always holds: a place is noted only behind blocks that this job brought and that were verified. It may be noted
//! before they are durable: whoever goes on from it asks the store.

use cargomail_protocol::fault::{Fault, Faulty};
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::MailboxError;
use super::intake::{AGAIN, PATIENCE};
use super::jobs::{Came, Jobs, Place};
use crate::store::{CommitError, Settling};

/// What is noted of one job.
pub(super) struct Noting<'a> {
    jobs: &'a Jobs,
    id: &'a str,
    came: Came,
    /// Octets of the job's blocks that were verified.
    verified: u64,
    /// Octets of them that the journal tells of, now and once the commit under way is written.
    told: (u64, u64),
    /// What the last commit tells, also one that is under way; none when there was no room for it.
    noted: Option<Came>,
    writing: Option<BoxFuture<'a, Result<Settling<CommitError>, CommitError>>>,
    /// The last commit that was written, and with it all before.
    settling: Option<Settling<CommitError>>,
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
            verified: 0,
            told: (0, 0),
            noted: Some(came),
            writing: None,
            settling: None,
            full: None,
        }
    }

    /// Up to here the blocks were verified, so many octets more.
    pub(super) fn verified(&mut self, place: Option<Place>, octets: usize) {
        self.came.verified = place.unwrap_or(self.came.verified);
        self.verified += octets as u64;
        self.go_on();
    }

    /// Up to here the blocks are durable. No commit is made for that alone: the store knows it too.
    pub(super) fn durable(&mut self, place: Option<Place>) {
        self.came.durable = place.unwrap_or(self.came.durable);
    }

    /// Octets of blocks that the journal tells of: what it does not tell of would come twice if the node died.
    pub(super) fn told(&self) -> u64 {
        self.told.0
    }

    /// Whether a commit is being written, or waits for room.
    pub(super) fn is_busy(&self) -> bool {
        self.writing.is_some() || self.full.is_some()
    }

    /// Begins a commit if more was verified than is noted, unless one is under way or waits for room.
    fn go_on(&mut self) {
        if self.is_busy() {
            return;
        }
        match self.noted {
            Some(noted) if noted.verified == self.came.verified => self.told.0 = self.verified,
            _ => self.begin(),
        }
    }

    fn begin(&mut self) {
        self.noted = Some(self.came);
        self.told.1 = self.verified;
        self.writing = Some(Box::pin(self.jobs.note(self.id, self.came)));
    }

    /// Waits until the commit under way is written, and begins the next one if there is more to note. One that there was no room
    /// for is not repeated as it was: the next one tells of everything. What came of it is kept when the caller stops waiting.
    pub(super) async fn next(&mut self) -> Result<(), MailboxError> {
        if let Some(writing) = &mut self.writing {
            let written = writing.await;
            self.writing = None;
            match written {
                Ok(settling) => {
                    self.settling = Some(settling);
                    self.full = None;
                    self.told.0 = self.told.1;
                    self.go_on();
                }
                Err(error) => self.refused(error.into())?,
            }
        } else if let Some(full) = self.full {
            tokio::time::sleep_until(full.again).await;
            self.begin();
        }
        Ok(())
    }

    /// Waits for room, but not for ever.
    fn refused(&mut self, error: MailboxError) -> Result<(), MailboxError> {
        let now = Instant::now();
        let until = self.full.map_or(now + PATIENCE, |full| full.until);
        if error.fault() != Fault::Full || now >= until {
            return Err(error);
        }
        let again = now + AGAIN;
        self.noted = None;
        self.full = Some(Full { until, again });
        Ok(())
    }

    /// Waits until everything is noted, and durable.
    pub(super) async fn finish(mut self) -> Result<(), MailboxError> {
        loop {
            if self.is_busy() {
                self.next().await?;
            } else if self.noted != Some(self.came) {
                self.begin();
            } else {
                break;
            }
        }
        if let Some(settling) = self.settling {
            settling.await?;
        }
        Ok(())
    }
}
