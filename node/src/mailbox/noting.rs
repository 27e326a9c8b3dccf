//! Notes up to where a job has come while its octets arrive: a few commits at a time, so that what is verified is in the journal at
//! once, whatever becomes of the process; what comes in between, the next one tells.
//!
//! What always holds: a place is noted only behind blocks that this job brought and that were verified. It may be noted
//! before they are durable: whoever goes on from it asks the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cargomail_protocol::fault::{Fault, Faulty};
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};

use super::MailboxError;
use super::intake::while_full;
use super::jobs::{Came, Jobs, Place};

/// Commits of one job that are under way.
const COMMITS: usize = 8;

/// What is noted of one job.
pub(super) struct Noting<'a> {
    jobs: &'a Jobs,
    id: &'a str,
    came: Came,
    /// The same for the commits: one that is tried again, because there was no room, tells what is newest then.
    newest: Arc<Mutex<Came>>,
    /// There was no room for the last commit that ended.
    full: Arc<AtomicBool>,
    /// What the last commit tells, also one that is under way.
    noted: Came,
    commits: FuturesOrdered<BoxFuture<'a, Result<(), MailboxError>>>,
}

impl<'a> Noting<'a> {
    /// `came` is where the job is now.
    pub(super) fn new(jobs: &'a Jobs, id: &'a str, came: Came) -> Self {
        Self {
            jobs,
            id,
            came,
            newest: Arc::new(Mutex::new(came)),
            full: Arc::default(),
            noted: came,
            commits: FuturesOrdered::new(),
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

    /// Begins a commit if there is something to note, unless so many are under way.
    fn begin(&mut self, most: usize) {
        if self.commits.len() < most && self.noted != self.came {
            self.noted = self.came;
            *lock(&self.newest) = self.came;
            let (jobs, id) = (self.jobs, self.id);
            let (newest, full) = (self.newest.clone(), self.full.clone());
            self.commits.push_back(Box::pin(while_full(move || {
                let (came, full) = (*lock(&newest), full.clone());
                async move {
                    let made = jobs.note(id, came).await;
                    let is_full = made.as_ref().is_err_and(|error| error.fault() == Fault::Full);
                    full.store(is_full, Ordering::Relaxed);
                    made
                }
            })));
        }
    }

    /// Whether nothing more can be noted for the moment: what came meanwhile would come twice if the node died.
    pub(super) fn waits_for_room(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether a commit is under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.commits.is_empty()
    }

    /// Waits until the first commit under way is made, and begins the next one if there is more to note.
    pub(super) async fn next(&mut self) -> Result<(), MailboxError> {
        if let Some(made) = self.commits.next().await {
            made?;
        }
        self.begin(1);
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

fn lock(newest: &Mutex<Came>) -> MutexGuard<'_, Came> {
    newest.lock().unwrap_or_else(PoisonError::into_inner)
}
