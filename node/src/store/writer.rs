//! Group commit: one thread writes for everybody, and a second one syncs what it wrote and gives the answers. So what comes during a
//! sync is in the file already when the process is killed, and rides the next sync.
//!
//! What always holds: who is told that something was done is told so after the sync of it, and of everything before; what a failed sync
//! left behind is cut off, and nothing more is written; the queue is bounded, and so is what is written and not synced.

mod settler;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::home::Home;
use super::log::{Appender, Failure};
use settler::{Group, Settler};

/// Requests that wait; who comes later waits for a place.
const QUEUE: usize = 256;
/// Octets of one group.
const GROUP: u64 = 8 * 1024 * 1024;
/// A group is in the page cache long before this, unless the disk is kept busy by others.
const HELD_UP: Duration = Duration::from_millis(5);

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
    answer: Answer<W::Answer>,
}

enum Message<W: Write> {
    Job(Job<W>),
    Stop(oneshot::Sender<()>),
}

/// The way to the threads.
pub(super) struct Writer<W: Write> {
    queue: mpsc::Sender<Message<W>>,
    at: Arc<At>,
}

/// Since when the writing thread is at what it writes now: what waits meanwhile is lost if the process is killed.
struct At {
    epoch: Instant,
    /// Nanoseconds after the epoch; 0 when it is at nothing.
    since: AtomicU64,
}

/// A write that goes on as long as this lives.
struct Writing<'a>(&'a At);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.since.store(0, Ordering::Relaxed);
    }
}

impl At {
    fn new() -> Self {
        Self {
            epoch: Instant::now(),
            since: AtomicU64::new(0),
        }
    }

    /// Never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).map_or(u64::MAX, |nanos| nanos.max(1))
    }

    /// Begins a write, which ends with what is returned.
    fn begin(&self) -> Writing<'_> {
        self.since.store(self.now(), Ordering::Relaxed);
        Writing(self)
    }

    fn is_held_up(&self) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        since > 0 && self.now().saturating_sub(since) > HELD_UP.as_nanos() as u64
    }
}

impl<W: Write> Writer<W> {
    /// Starts the threads. They end when this is dropped, or with [`Writer::stop`].
    pub(super) fn start(name: &str, home: Arc<Home>, work: W) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let settler = Settler::start(&format!("{name}-sync"), home.clone())?;
        let at = Arc::new(At::new());
        let writes = at.clone();
        spawn(name, move || run(&home, work, jobs, &settler, &writes))?;
        Ok(Self { queue, at })
    }

    /// Whether the thread has been at one write for longer than it takes a disk that is not kept busy by others. What it is
    /// asked meanwhile waits in memory.
    pub(super) fn is_held_up(&self) -> bool {
        self.at.is_held_up()
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

fn run<W: Write>(
    home: &Home,
    mut work: W,
    mut jobs: mpsc::Receiver<Message<W>>,
    settler: &Settler<W>,
    at: &At,
) {
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
            let _writing = at.begin();
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
    let (requests, answers): (Vec<_>, Vec<_>) =
        group.into_iter().map(|job| (job.request, job.answer)).unzip();
    let appender = work.appender();
    let is_asked = requests.iter().any(W::asks_for_next);
    let begins_next = appender.is_full() || is_asked && appender.position().offset > 0;
    if begins_next || appender.is_stretched() {
        settler.rest();
    }
    if let Some(why) = home.failure() {
        refuse(answers, || StoreError::ReadOnly(why.clone()));
        return;
    }
    let done = attempt(home, work, |work| {
        if begins_next {
            work.begin_next()?;
        }
        work.write(&requests)
    });
    match done {
        Ok((told, written)) => settler.take(Group {
            written,
            answers: answers.into_iter().zip(told).collect(),
        }),
        Err(Failure::Broken(_)) => {
            let why = home.failure().unwrap_or_default();
            refuse(answers, || StoreError::ReadOnly(why.clone()));
        }
        // There may be room for the smaller ones.
        Err(Failure::Refused(_)) if requests.len() > 1 => {
            for (request, answer) in requests.into_iter().zip(answers) {
                write(home, work, vec![Job { request, answer }], settler);
            }
        }
        Err(Failure::Refused(error @ StoreError::Full { .. })) => {
            home.reserve().complain(&error);
            refuse(answers, || error.again());
        }
        Err(Failure::Refused(error)) => {
            tracing::error!(%error, "a write is refused");
            refuse(answers, || error.again());
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

fn refuse<T>(answers: Vec<Answer<T>>, mut error: impl FnMut() -> StoreError) {
    for answer in answers {
        let _ = answer.send(Err(error()));
    }
}
