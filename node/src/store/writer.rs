//! Group commit: one thread writes for everybody, and a second one syncs what it wrote and gives the answers. So what comes during a
//! sync is in the file already when the process is killed, and rides the next sync.
//!
//! What always holds: who is told that something was done is told so after the sync of it, and of everything before; what a failed sync
//! left behind is cut off, and nothing more is written; the queue is bounded, and so is what is written and not synced.

mod settler;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::home::Home;
use super::log::{Appender, Failure};
use settler::{Group, Settler};

/// Requests that wait; who comes later waits for a place.
const QUEUE: usize = 256;
/// Octets of one group.
const GROUP: u64 = 8 * 1024 * 1024;

/// What a thread does with requests.
pub(super) trait Write: Sized + Send + 'static {
    type Request: Send + 'static;
    type Answer: Send + 'static;
    type Written: Written;

    /// Octets of a request.
    fn weight(request: &Self::Request) -> u64;

    /// Whether a request asks for the next file.
    fn asks_for_next(request: &Self::Request) -> bool;

    /// What it appends to.
    fn appender(&self) -> &Appender;

    /// Begins the next file; everything in this one is durable.
    fn begin_next(&mut self) -> Result<(), Failure>;

    /// Does the requests in their order, or none of them. What that changes is durable once it is settled; nothing when it changes
    /// nothing.
    fn write(&mut self, group: &[Self::Request]) -> Result<Done<Self>, Failure>;

    /// Forgets what a failed `write` appended.
    fn undo(&mut self) -> Result<(), StoreError>;

    /// Notes in the checkpoint how far it came.
    fn stop(self);
}

/// The answers to a group, and what it has changed.
pub(super) type Done<W> = (Vec<<W as Write>::Answer>, Option<<W as Write>::Written>);

/// What a group has changed.
pub(super) trait Written: Send + 'static {
    /// Makes it durable, and everything before it in the same file.
    fn sync(&self) -> Result<(), StoreError>;

    /// Cuts off what is not durable, after a sync that failed: nobody may take it for durable because it can be read.
    fn cut_off(&self) -> Result<(), StoreError>;

    /// Shows it to everybody, once it is durable.
    fn show(self) -> Result<(), StoreError>;
}

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

struct Job<W: Write> {
    request: W::Request,
    asker: Asker<W::Answer>,
}

/// Who waits for a request.
struct Asker<T> {
    /// Told when it is written, if anybody asked for that.
    written: Option<oneshot::Sender<()>>,
    answer: Answer<T>,
}

/// A request that is written, and outlives the process.
pub(super) struct Asked<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Asked<T> {
    /// The answer, once it is durable.
    pub(super) async fn answer(self) -> Result<T, StoreError> {
        self.0.await.map_err(|_| StoreError::Closed)?
    }
}

enum Message<W: Write> {
    Job(Job<W>),
    Stop(oneshot::Sender<()>),
}

/// The way to the threads.
pub(super) struct Writer<W: Write> {
    queue: mpsc::Sender<Message<W>>,
}

impl<W: Write> Writer<W> {
    /// Starts the threads. They end when this is dropped, or with [`Writer::stop`].
    pub(super) fn start(name: &str, home: Arc<Home>, work: W) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let settler = Settler::start(&format!("{name}-sync"), home.clone())?;
        spawn(name, move || run(&home, work, jobs, &settler))?;
        Ok(Self { queue })
    }

    /// Has a request done; durable on return.
    pub(super) async fn ask(&self, request: W::Request) -> Result<W::Answer, StoreError> {
        self.send(request, None).await?.answer().await
    }

    /// The same in two steps: written on return.
    pub(super) async fn ask_to_write(&self, request: W::Request) -> Result<Asked<W::Answer>, StoreError> {
        let (written, when) = oneshot::channel();
        let asked = self.send(request, Some(written)).await?;
        match when.await {
            Ok(()) => Ok(asked),
            Err(_) => Err(asked.answer().await.err().unwrap_or(StoreError::Closed)),
        }
    }

    async fn send(
        &self,
        request: W::Request,
        written: Option<oneshot::Sender<()>>,
    ) -> Result<Asked<W::Answer>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let asker = Asker { written, answer };
        let sent = self.queue.send(Message::Job(Job { request, asker })).await;
        sent.map_err(|_| StoreError::Closed)?;
        Ok(Asked(answered))
    }

    /// The same for a thread that may wait.
    pub(super) fn ask_and_wait(&self, request: W::Request) -> Result<W::Answer, StoreError> {
        let (answer, answered) = oneshot::channel();
        let written = None;
        let asker = Asker { written, answer };
        self.queue
            .blocking_send(Message::Job(Job { request, asker }))
            .map_err(|_| StoreError::Closed)?;
        answered.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    /// Ends the threads when everything before is done.
    pub(super) async fn stop(&self) {
        let (stopped, when) = oneshot::channel();
        if self.queue.send(Message::Stop(stopped)).await.is_ok() {
            // An error says that the thread is gone, which is what was asked for.
            let _ = when.await;
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(drop).map_err(|source| StoreError::Io {
        path: format!("thread {name}"),
        source,
    })
}

fn run<W: Write>(home: &Home, mut work: W, mut jobs: mpsc::Receiver<Message<W>>, settler: &Settler<W>) {
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
            write(home, &mut work, group, settler);
        }
        if let Some(stopped) = stop {
            settler.rest();
            if home.failure().is_none() {
                work.stop();
            }
            drop(jobs);
            let _ = stopped.send(());
            return;
        }
    }
}

fn write<W: Write>(home: &Home, work: &mut W, group: Vec<Job<W>>, settler: &Settler<W>) {
    let (requests, mut askers): (Vec<_>, Vec<_>) =
        group.into_iter().map(|job| (job.request, job.asker)).unzip();
    let appender = work.appender();
    let is_asked = requests.iter().any(W::asks_for_next);
    let begins_next = appender.is_full() || is_asked && appender.position().offset > 0;
    if begins_next || appender.is_stretched() {
        settler.rest();
    }
    if let Some(why) = home.failure() {
        refuse(askers, || StoreError::ReadOnly(why.clone()));
        return;
    }
    let done = attempt(home, work, |work| {
        if begins_next {
            work.begin_next()?;
        }
        work.write(&requests)
    });
    match done {
        Ok((told, written)) => {
            askers.iter_mut().for_each(Asker::tell);
            let answers = askers.into_iter().zip(told).collect();
            settler.take(Group { written, answers });
        }
        Err(Failure::Broken(_)) => {
            let why = home.failure().unwrap_or_default();
            refuse(askers, || StoreError::ReadOnly(why.clone()));
        }
        // There may be room for the smaller ones.
        Err(Failure::Refused(_)) if requests.len() > 1 => {
            for (request, asker) in requests.into_iter().zip(askers) {
                write(home, work, vec![Job { request, asker }], settler);
            }
        }
        Err(Failure::Refused(error @ StoreError::Full { .. })) => {
            home.reserve().complain(&error);
            refuse(askers, || error.again());
        }
        Err(Failure::Refused(error)) => {
            tracing::error!(%error, "a write is refused");
            refuse(askers, || error.again());
        }
    }
}

/// Writes; what failed is taken back, and what cannot be taken back ends all writing.
fn attempt<W: Write>(
    home: &Home,
    work: &mut W,
    write: impl FnOnce(&mut W) -> Result<Done<W>, Failure>,
) -> Result<Done<W>, Failure> {
    let failure = match write(work) {
        Ok(done) => return Ok(done),
        Err(failure) => failure,
    };
    let undone = work.undo();
    match (failure, undone) {
        (Failure::Refused(error), Ok(())) => Err(Failure::Refused(error)),
        (Failure::Refused(_), Err(error)) | (Failure::Broken(error), _) => {
            home.fail(&error);
            Err(Failure::Broken(error))
        }
    }
}

impl<T> Asker<T> {
    /// Says that it is written.
    fn tell(&mut self) {
        if let Some(written) = self.written.take() {
            // Who does not wait any more has no use for it.
            let _ = written.send(());
        }
    }

    /// Gives the answer.
    fn answer(self, answer: Result<T, StoreError>) {
        let _ = self.answer.send(answer);
    }
}

fn refuse<T>(askers: impl IntoIterator<Item = Asker<T>>, mut error: impl FnMut() -> StoreError) {
    for asker in askers {
        asker.answer(Err(error()));
    }
}
