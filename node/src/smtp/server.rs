//! The server: accepts, and drives one [`Session`] a connection.
//!
//! What always holds: connections and the memory of the messages that are coming in, in all and of each caller, silence,
//! slowness and the length of a session are bounded (row S07); a message is read and handed on before the next one begins.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

use cargomail_protocol::limits;
use cargomail_protocol::smtp::{Action, Envelope, Event, Offer, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::room::{Memory, Room};
use super::{Mail, Receiver};
use crate::network::{ByteStream, Caller, Callers, Listener};

/// Octets read at once.
const PIECE: usize = 16 * 1024;
/// How long a client that was told to go is waited for, so that it can read why.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the server offers, and its bounds.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// What the server calls itself.
    pub hostname: String,
    /// The largest message, in octets.
    pub size: usize,
    /// For STARTTLS; none means that it is not offered.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Connections at once, in all.
    pub connections: usize,
    /// Connections at once from one IPv4 address or one IPv6 /48.
    pub per_address: usize,
    /// Memory that the messages which are coming in take together, in octets; one caller gets a part of it.
    pub memory: usize,
    /// How long a client may be silent, and a message slower than [`limits::SMTP_SLOWEST`].
    pub silence: Duration,
    /// How long a session may last.
    pub session: Duration,
}

impl ServerOptions {
    /// The bounds of [`limits`], without TLS.
    #[must_use]
    pub fn new(hostname: String) -> Self {
        Self {
            hostname,
            size: limits::MESSAGE,
            tls: None,
            connections: limits::SMTP_CONNECTIONS,
            per_address: limits::SMTP_CONNECTIONS_PER_ADDRESS,
            memory: limits::SMTP_MEMORY,
            silence: limits::SMTP_SILENCE,
            session: limits::SMTP_SESSION,
        }
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct SmtpServing {
    local: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl SmtpServing {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits until the last session is over, after the shutdown token was cancelled.
    pub async fn stopped(self) {
        let _ = self.task.await;
    }
}

/// Serves until `shutdown` is cancelled; then what the receiver has in hand is finished, and answered.
///
/// # Errors
/// When the listener does not know where it listens.
pub fn serve(
    listener: Box<dyn Listener>,
    receiver: Arc<dyn Receiver>,
    options: ServerOptions,
    shutdown: CancellationToken,
) -> io::Result<SmtpServing> {
    let local = listener.local_addr()?;
    let face = Face {
        receiver,
        acceptor: options.tls.clone().map(TlsAcceptor::from),
        places: Arc::new(Semaphore::new(options.connections)),
        callers: Callers::default(),
        memory: Memory::new(options.memory, options.size),
        options,
        shutdown,
    };
    let task = tokio::spawn(accept(listener, Arc::new(face)).in_current_span());
    Ok(SmtpServing { local, task })
}

struct Face {
    receiver: Arc<dyn Receiver>,
    acceptor: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
    callers: Callers,
    memory: Arc<Memory>,
    options: ServerOptions,
    shutdown: CancellationToken,
}

async fn accept(mut listener: Box<dyn Listener>, face: Arc<Face>) {
    let tasks = TaskTracker::new();
    loop {
        let (stream, from) = tokio::select! {
            biased;
            () = face.shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or a connection that was gone already: neither may spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let place = face.places.clone().try_acquire_owned().ok();
        let caller = face.callers.enter(from.ip(), face.options.per_address);
        let (Some(place), Some(caller)) = (place, caller) else {
            tracing::debug!(%from, "an SMTP connection over the cap was closed");
            continue;
        };
        tasks.spawn(connection(face.clone(), stream, from, place, caller).in_current_span());
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn connection(
    face: Arc<Face>,
    stream: Box<dyn ByteStream>,
    from: SocketAddr,
    _place: OwnedSemaphorePermit,
    caller: Caller,
) {
    let conversation = Conversation {
        session: Session::new(Offer {
            hostname: face.options.hostname.clone(),
            domain: face.receiver.domain(),
            size: face.options.size,
            starttls: face.acceptor.is_some(),
        }),
        end: Instant::now() + face.options.session,
        room: face.memory.room(caller.address()),
        face,
        from,
        tls: false,
        pace: None,
    };
    match conversation.run(stream).await {
        Ok(()) => tracing::debug!(%from, "SMTP session over"),
        Err(error) => tracing::debug!(%from, %error, "SMTP session broken off"),
    }
}

struct Conversation {
    face: Arc<Face>,
    from: SocketAddr,
    session: Session,
    end: Instant,
    tls: bool,
    /// The memory that the message takes.
    room: Room,
    /// How fast it comes.
    pace: Option<Pace>,
}

/// What has come of a message since it was looked at last, and when it is looked at next.
struct Pace {
    octets: usize,
    until: Instant,
}

impl Pace {
    fn new(silence: Duration) -> Self {
        Self {
            octets: 0,
            until: Instant::now() + silence,
        }
    }

    /// Whether so much has come as has to in such a time.
    fn is_kept(&self, silence: Duration) -> bool {
        let least = u128::from(limits::SMTP_SLOWEST) * silence.as_millis() / 1000;
        self.octets as u128 >= least
    }
}

impl Conversation {
    async fn run(mut self, mut stream: Box<dyn ByteStream>) -> io::Result<()> {
        let mut piece = vec![0_u8; PIECE];
        loop {
            let mut out = Vec::new();
            while let Some(action) = self.session.poll() {
                match action {
                    Action::Send(octets) => out.extend_from_slice(&octets),
                    Action::Recipient { sender, recipient } => {
                        let receiver = &self.face.receiver;
                        let answer = receiver.recipient(self.from, sender.as_ref(), &recipient).await;
                        self.session.handle(Event::Recipient(answer));
                    }
                    Action::Message(envelope) => self.message(envelope).await,
                    Action::StartTls => {
                        self.write(&mut stream, &out).await?;
                        out.clear();
                        stream = self.secure(stream).await?;
                        self.session.handle(Event::Secured);
                    }
                    Action::Close => {
                        self.write(&mut stream, &out).await?;
                        farewell(stream).await;
                        return Ok(());
                    }
                }
            }
            self.write(&mut stream, &out).await?;
            self.hear(&mut stream, &mut piece).await?;
        }
    }

    /// What the client says next, or that it says nothing.
    async fn hear(&mut self, stream: &mut Box<dyn ByteStream>, piece: &mut [u8]) -> io::Result<()> {
        let silence = self.face.options.silence;
        let silent = self.end.min(Instant::now() + silence);
        let read = loop {
            let slow = self.pace.as_ref().map_or(silent, |pace| pace.until);
            let read = tokio::select! {
                biased;
                () = self.face.shutdown.cancelled() => {
                    self.session.handle(Event::Shutdown);
                    return Ok(());
                }
                read = tokio::time::timeout_at(silent.min(slow), stream.read(piece)) => read,
            };
            match &mut self.pace {
                Some(pace) if read.is_err() && slow < silent && pace.is_kept(silence) => {
                    *pace = Pace::new(silence);
                }
                _ => break read,
            }
        };
        match read {
            Err(_) => self.session.handle(Event::Silence),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(count)) => {
                self.session
                    .handle(Event::Octets(piece.get(..count).unwrap_or_default()));
                self.account(count);
            }
        }
        Ok(())
    }

    /// Takes so much of the common memory as the message needs of which `count` octets more have come, or gives it up.
    fn account(&mut self, count: usize) {
        let needs = self.session.holds();
        if needs == 0 {
            self.pace = None;
            // A message that is handed on takes its memory until it is answered.
            if self.session.listens() {
                self.room.resize(0);
            }
            return;
        }
        let silence = self.face.options.silence;
        self.pace.get_or_insert_with(|| Pace::new(silence)).octets += count;
        if !self.room.resize(needs) {
            tracing::warn!(from = %self.from, "no memory for a message that is coming");
            self.session.handle(Event::NoRoom);
            self.room.resize(0);
            self.pace = None;
        }
    }

    async fn message(&mut self, envelope: Envelope) {
        let mail = Mail {
            client: self.from,
            helo: envelope.helo,
            tls: self.tls,
            sender: envelope.sender,
            recipients: envelope.recipients,
            message: envelope.message,
        };
        let answer = self.face.receiver.message(mail).await;
        self.room.resize(0);
        self.session.handle(Event::Message(answer));
    }

    async fn write(&self, stream: &mut Box<dyn ByteStream>, octets: &[u8]) -> io::Result<()> {
        if octets.is_empty() {
            return Ok(());
        }
        let write = async {
            stream.write_all(octets).await?;
            stream.flush().await
        };
        tokio::time::timeout(self.face.options.silence, write)
            .await
            .map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn secure(&mut self, stream: Box<dyn ByteStream>) -> io::Result<Box<dyn ByteStream>> {
        let acceptor = self.face.acceptor.as_ref();
        let acceptor = acceptor.ok_or(io::ErrorKind::Unsupported)?;
        let handshake = tokio::time::timeout(self.face.options.silence, acceptor.accept(stream));
        let stream = handshake.await.map_err(|_| io::ErrorKind::TimedOut)??;
        self.tls = true;
        Ok(Box::new(stream))
    }
}

/// Closes so that the client can read the last reply: what it still sends is read and forgotten for a moment.
async fn farewell(mut stream: Box<dyn ByteStream>) {
    let leave = async {
        stream.shutdown().await?;
        let mut sink = [0_u8; 4096];
        while stream.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(FAREWELL, leave).await;
}
