//! The threads that check passwords. They are few and always the same: what one check took of memory, the next one takes again.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::AccountError;
use crate::compute;

/// Passwords that are checked at once; each takes 19 MiB.
const THREADS: usize = 2;

type Work = Box<dyn FnOnce() + Send>;

/// The threads, which start with the first check and end when this is dropped.
#[derive(Default)]
pub(super) struct Checkers(Mutex<Option<mpsc::Sender<Work>>>);

impl Checkers {
    /// Has one of the threads do something, as soon as one is free.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccountError> {
        if compute::is_done_at_once() {
            return Ok(work());
        }
        let (done, told) = oneshot::channel();
        let work = Box::new(move || {
            // Who has gone meanwhile is not told.
            let _ = done.send(work());
        });
        let gone = || AccountError::Hash("the check of a password did not end".to_owned());
        self.queue()?.send(work).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())
    }

    fn queue(&self) -> Result<mpsc::Sender<Work>, AccountError> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = &*queue {
            return Ok(queue.clone());
        }
        let (sender, works) = mpsc::channel(THREADS);
        let works = Arc::new(Mutex::new(works));
        for number in 0..THREADS {
            let works = works.clone();
            std::thread::Builder::new()
                .name(format!("passwords-{number}"))
                .spawn(move || run(&works))
                .map_err(|error| AccountError::Hash(error.to_string()))?;
        }
        Ok(queue.insert(sender).clone())
    }
}

fn run(works: &Mutex<mpsc::Receiver<Work>>) {
    loop {
        let next = works
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv();
        let Some(work) = next else { return };
        // Who asked is told by its silence; the thread is there for the others.
        if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!("a check of a password ended in a panic");
        }
    }
}
