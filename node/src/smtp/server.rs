//! The server: accepts, and drives one [`Session`] a connection.
//!
//! What always holds: connections in all and of each caller, the memory of the messages that are coming in, silence and
//! the length of a session are bounded (row S07); a message is read and handed on before the next one begins.

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

use super::{Mail, Receiver};
use crate::network::{ByteStream, Caller, Callers, Listener};

/// Octets read at once.
const PIECE: usize = 16 * 1024;
/// The grain in which memory is counted.
const GRAIN: usize = 1024;
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
    /// Memory that the messages which are coming in take together, in octets.
    pub memory: usize,
    /// How long a client may be silent.
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
        room: Arc::new(Semaphore::new(options.memory / GRAIN)),
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
    room: Arc<Semaphore>,
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
    _caller: Caller,
) {
    let conversation = Conversation {
        session: Session::new(Offer {
            hostname: face.options.hostname.clone(),
            size: face.options.size,
            starttls: face.acceptor.is_some(),
        }),
        end: Instant::now() + face.options.session,
        face,
        from,
        tls: false,
        room: None,
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
    /// The share of the memory that the message takes.
    room: Option<OwnedSemaphorePermit>,
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
        let until = self.end.min(Instant::now() + self.face.options.silence);
        let read = tokio::select! {
            biased;
            () = self.face.shutdown.cancelled() => {
                self.session.handle(Event::Shutdown);
                return Ok(());
            }
            read = tokio::time::timeout_at(until, stream.read(piece)) => read,
        };
        match read {
            Err(_) => self.session.handle(Event::Silence),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(count)) => {
                self.session
                    .handle(Event::Octets(piece.get(..count).unwrap_or_default()));
                self.account();
            }
        }
        Ok(())
    }

    /// Takes so much of the common memory as the message needs, or gives the message up.
    fn account(&mut self) {
        let needs = self.session.holds().div_ceil(GRAIN);
        if needs == 0 {
            self.room = None;
        }
        let has = self.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Some(more) = needs.checked_sub(has).filter(|more| *more > 0) else {
            return;
        };
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        match (
            self.face.room.clone().try_acquire_many_owned(more),
            &mut self.room,
        ) {
            (Ok(more), Some(room)) => room.merge(more),
            (Ok(more), None) => self.room = Some(more),
            (Err(_), _) => {
                tracing::warn!(from = %self.from, "no memory for a message that is coming");
                self.session.handle(Event::NoRoom);
            }
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
        self.room = None;
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
