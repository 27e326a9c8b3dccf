//! Group commit: one thread writes for everybody, and whoever arrives during a sync rides the next one.
//!
//! What always holds: an answer is given after the sync of what it tells of; after a failed write or sync the thread
//! writes nothing more; the queue is bounded.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::home::Home;
use super::log::Failure;

/// Requests that wait; who comes later waits for a place.
const QUEUE: usize = 256;
/// Octets of one group.
const GROUP: u64 = 8 * 1024 * 1024;

/// What a thread does with requests.
pub(super) trait Write: Send + 'static {
    type Request: Send + 'static;
    type Answer: Send + 'static;

    /// Octets of a request.
    fn weight(request: &Self::Request) -> u64;

    /// Does the requests in their order and makes them durable with one sync; on a failure none of them.
    fn write(&mut self, group: &[Self::Request]) -> Result<Vec<Self::Answer>, Failure>;

    /// Forgets what a failed `write` appended.
    fn undo(&mut self) -> Result<(), StoreError>;

    /// Notes in the checkpoint how far it came.
    fn stop(self);
}

struct Job<W: Write> {
    request: W::Request,
    answer: oneshot::Sender<Result<W::Answer, StoreError>>,
}

enum Message<W: Write> {
    Job(Job<W>),
    Stop(oneshot::Sender<()>),
}

/// The way to a thread.
pub(super) struct Writer<W: Write> {
    queue: mpsc::Sender<Message<W>>,
}

impl<W: Write> Writer<W> {
    /// Starts the thread. It ends when this is dropped, or with [`Writer::stop`].
    pub(super) fn start(name: &str, home: Arc<Home>, work: W) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&home, work, jobs))
            .map_err(|source| StoreError::Io {
                path: format!("thread {name}"),
                source,
            })?;
        Ok(Self { queue })
    }

    /// Has a request done; durable on return.
    pub(super) async fn ask(&self, request: W::Request) -> Result<W::Answer, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue
            .send(Message::Job(Job { request, answer }))
            .await
            .map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// The same for a thread that may wait.
    pub(super) fn ask_and_wait(&self, request: W::Request) -> Result<W::Answer, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue
            .blocking_send(Message::Job(Job { request, answer }))
            .map_err(|_| StoreError::Closed)?;
        answered.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    /// Ends the thread when everything before is done.
    pub(super) async fn stop(&self) {
        let (stopped, when) = oneshot::channel();
        if self.queue.send(Message::Stop(stopped)).await.is_ok() {
            // An error says that the thread is gone, which is what was asked for.
            let _ = when.await;
        }
    }
}

fn run<W: Write>(home: &Home, mut work: W, mut jobs: mpsc::Receiver<Message<W>>) {
    while let Some(message) = jobs.blocking_recv() {
        let mut stop = None;
        let mut group = Vec::new();
        let mut weight = 0;
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Job(job) => {
                    weight += W::weight(&job.request);
                    group.push(job);
                }
                Message::Stop(stopped) => {
                    stop = Some(stopped);
                    break;
                }
            }
            next = if weight < GROUP {
                jobs.try_recv().ok()
            } else {
                None
            };
        }
        if !group.is_empty() {
            answer(home, &mut work, group);
        }
        if let Some(stopped) = stop {
            work.stop();
            drop(jobs);
            let _ = stopped.send(());
            return;
        }
    }
}

fn answer<W: Write>(home: &Home, work: &mut W, group: Vec<Job<W>>) {
    let (requests, answers): (Vec<_>, Vec<_>) =
        group.into_iter().map(|job| (job.request, job.answer)).unzip();
    if let Some(why) = home.failure() {
        refuse(answers, || StoreError::ReadOnly(why.clone()));
        return;
    }
    match attempt(home, work, &requests) {
        Ok(done) => {
            for (answer, done) in answers.into_iter().zip(done) {
                // Who does not wait any more has no use for the answer.
                let _ = answer.send(Ok(done));
            }
        }
        Err(Failure::Broken(_)) => {
            let why = home.failure().unwrap_or_default();
            refuse(answers, || StoreError::ReadOnly(why.clone()));
        }
        // There may be room for the smaller ones.
        Err(Failure::Refused(_)) if requests.len() > 1 => {
            for (request, answer) in requests.into_iter().zip(answers) {
                self::answer(home, work, vec![Job { request, answer }]);
            }
        }
        Err(Failure::Refused(error @ StoreError::Full { .. })) => {
            home.reserve().complain(&error);
            refuse(answers, || error.again());
        }
        Err(Failure::Refused(error) | Failure::Unseen(error)) => {
            tracing::error!(%error, "a write is refused");
            refuse(answers, || error.again());
        }
    }
}

/// Writes; what failed is taken back, and what cannot be taken back ends all writing.
fn attempt<W: Write>(home: &Home, work: &mut W, requests: &[W::Request]) -> Result<Vec<W::Answer>, Failure> {
    let failure = match work.write(requests) {
        Ok(done) => return Ok(done),
        Err(failure) => failure,
    };
    let undone = work.undo();
    match (failure, undone) {
        (Failure::Unseen(error), _) => Err(Failure::Unseen(error)),
        (Failure::Refused(error), Ok(())) => Err(Failure::Refused(error)),
        (Failure::Refused(_), Err(error)) | (Failure::Broken(error), _) => {
            home.fail(&error);
            Err(Failure::Broken(error))
        }
    }
}

fn refuse<T>(answers: Vec<oneshot::Sender<Result<T, StoreError>>>, mut error: impl FnMut() -> StoreError) {
    for answer in answers {
        let _ = answer.send(Err(error()));
    }
}
