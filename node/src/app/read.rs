//! Reading: the placeholder as a template, the resources from their destination (step 9 of the walk).
//!
//! What always holds: what is shown on a terminal has no control characters of a stranger's; what is written as the author's
//! message was checked octet by octet, or the writing fails.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cargomail_protocol::address::Locator;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::notification::{JobState, Reason};
use cargomail_protocol::placeholder::{Broken, Disposition, Part, Piece, Placeholder};
use cid::Cid;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;
use mail_parser::{MessageParser, MimeHeaders};
use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::stream::pour;
use super::{App, AppError, Session, Watch};
use crate::https;

/// Octets of a body that are shown; the rest can be saved.
const SHOWN: u64 = 1024 * 1024;
/// How often the mailbox is asked how far a retrieval is.
const ASK: Duration = Duration::from_millis(400);

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A node could not do its part.
    #[error(transparent)]
    App(#[from] AppError),
    /// It claims to be a placeholder and is none.
    #[error("the placeholder cannot be read")]
    Placeholder(#[from] Broken),
    /// No destination took the resources.
    #[error(
        "no Resource Mailbox of yours took what came with this message; `cargomail preferences show` tells where mail \
         should go, and the sender can send it again"
    )]
    NoDestination,
    /// The destination will not get the resources.
    #[error("{at} did not get the resources from {origin}: {why}; ask the sender to send them again")]
    NotComing {
        /// The destination.
        at: Locator,
        /// The origin.
        origin: Locator,
        /// Why not.
        why: String,
    },
    /// The resources are still on their way.
    #[error(
        "the resources are still on their way: {bytes} of {of} octets are here; try again later, or wait longer with --wait"
    )]
    OnTheirWay {
        /// Octets that are here.
        bytes: u64,
        /// Octets of all.
        of: u64,
    },
    /// A resource broke off.
    #[error("{cid} broke off: {why}; try again")]
    Broken {
        /// Which.
        cid: Cid,
        /// What happened.
        why: String,
    },
    /// A resource is another than the placeholder names.
    #[error("{0} is not what the sender announced: its size or its hash is another; it was not kept")]
    Unverifiable(Cid),
    /// What was read could not be written.
    #[error("writing: {0}")]
    Write(std::io::Error),
    /// A file that is there already.
    #[error("{0} is there already; --force replaces it")]
    Exists(std::path::PathBuf),
    /// The message has no such part.
    #[error("the message has {parts} parts, and no part {wanted}")]
    NoPart {
        /// The part that was asked for, counted from 1.
        wanted: usize,
        /// How many there are.
        parts: usize,
    },
}

impl Faulty for ReadError {
    fn fault(&self) -> Fault {
        match self {
            ReadError::App(error) => error.fault(),
            ReadError::Placeholder(error) => error.fault(),
            ReadError::NoDestination | ReadError::NoPart { .. } => Fault::NotFound,
            ReadError::NotComing { .. } | ReadError::Exists(_) => Fault::Refused,
            ReadError::OnTheirWay { .. } | ReadError::Broken { .. } => {
                Fault::TryLater(Duration::from_secs(10))
            }
            ReadError::Unverifiable(_) => Fault::Malformed,
            ReadError::Write(_) => Fault::Local,
        }
    }
}

/// A message as it was taken from the User Mailbox.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Its name there.
    pub id: String,
    /// Its octets.
    pub message: Bytes,
    /// What it says, if it is a placeholder; none is an ordinary message.
    pub placeholder: Option<Placeholder>,
}

/// A message as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The author.
    pub from: String,
    /// The recipients.
    pub to: String,
    /// Recipients of a copy.
    pub cc: String,
    /// The subject.
    pub subject: String,
    /// When it was written, in the form of RFC 3339.
    pub date: Option<String>,
    /// The Message-ID.
    pub message_id: String,
    /// The category, for a placeholder.
    pub category: Option<String>,
    /// Where the resources come from, for a placeholder.
    pub origin: Option<Locator>,
    /// Where they are, for a placeholder.
    pub destination: Option<Locator>,
    /// The body as text.
    pub text: String,
    /// Everything that it consists of.
    pub parts: Vec<ShownPart>,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownPart {
    /// Its number, counted from 1.
    pub part: usize,
    /// Its file name, if it has one.
    pub name: Option<String>,
    /// What it is.
    pub media_type: String,
    /// Its octets.
    pub size: u64,
    /// Its root, for a placeholder.
    pub cid: Option<String>,
}

impl App {
    /// Takes a message from the User Mailbox.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn open(&self, id: &str) -> Result<Opened, ReadError> {
        let message = self.broker()?.message(id).await?;
        Ok(Opened {
            id: id.to_owned(),
            placeholder: Placeholder::parse(&message)?,
            message,
        })
    }

    /// The mailbox where a placeholder's resources are: its destination, or for what one sent oneself the origin. Waits for
    /// those that are still on their way, at most `patience`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn source(
        &self,
        placeholder: &Placeholder,
        patience: Duration,
        watch: &Arc<dyn Watch>,
    ) -> Result<Session, ReadError> {
        let origin = &placeholder.origin().locator;
        match placeholder.destination() {
            Some(destination) => {
                let session = self.mailbox(destination)?;
                arrival(&session, destination, placeholder, patience, watch).await?;
                Ok(session)
            }
            None => self.mailbox(origin).map_err(|_| ReadError::NoDestination),
        }
    }

    /// A message as a person reads it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn show(
        &self,
        opened: &Opened,
        patience: Duration,
        watch: &Arc<dyn Watch>,
    ) -> Result<Shown, ReadError> {
        let Some(placeholder) = &opened.placeholder else {
            return Ok(ordinary(&opened.message));
        };
        let text = match body(placeholder.parts()) {
            Some(part) => {
                let source = self.source(placeholder, patience, watch).await?;
                text_of(&source, part).await?
            }
            None => String::new(),
        };
        Ok(shown(placeholder, text))
    }

    /// Writes the author's message, as it was before it was taken apart; an ordinary message as it is.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn write_message(
        &self,
        opened: &Opened,
        out: &mut (impl AsyncWrite + Unpin + ?Sized),
        patience: Duration,
        watch: &Arc<dyn Watch>,
    ) -> Result<(), ReadError> {
        let Some(placeholder) = &opened.placeholder else {
            out.write_all(&opened.message).await.map_err(ReadError::Write)?;
            return out.flush().await.map_err(ReadError::Write);
        };
        let source = self.source(placeholder, patience, watch).await?;
        write_out(placeholder, &source, out, watch).await?;
        out.flush().await.map_err(ReadError::Write)
    }
}

/// Writes the author's message with what a placeholder names, which must be at the source.
pub(super) async fn write_out(
    placeholder: &Placeholder,
    source: &Session,
    out: &mut (impl AsyncWrite + Unpin + ?Sized),
    watch: &Arc<dyn Watch>,
) -> Result<(), ReadError> {
    for piece in placeholder.reconstruct() {
        match piece {
            Piece::Bytes(octets) => out.write_all(&octets).await.map_err(ReadError::Write)?,
            Piece::Resource { index, encoding } => {
                let Some(part) = placeholder.parts().get(index) else {
                    continue;
                };
                watch.begin(&label(index, part), part.resource.size);
                let poured = pour(source, &part.resource, Some(encoding), out, watch).await;
                watch.end();
                poured?;
            }
        }
    }
    Ok(())
}

/// Waits until everything that a placeholder names has arrived.
async fn arrival(
    session: &Session,
    at: &Locator,
    placeholder: &Placeholder,
    patience: Duration,
    watch: &Arc<dyn Watch>,
) -> Result<(), ReadError> {
    // A patience that no clock can tell the end of has none.
    let until = Instant::now().checked_add(patience);
    let of = placeholder.parts().iter().map(|part| part.resource.size).sum();
    let mut seen: Option<u64> = None;
    let outcome = loop {
        let retrievals = session.retrievals_of(placeholder.message_id()).await?;
        let origin = &placeholder.origin().locator;
        let ours = retrievals.iter().find(|retrieval| retrieval.origin == *origin);
        // Where origin and destination are one, nothing was ever on its way; what came long ago is forgotten.
        let Some(retrieval) = ours else { break Ok(()) };
        let not_coming = |why: &str| ReadError::NotComing {
            at: at.clone(),
            origin: retrieval.origin.clone(),
            why: why.to_owned(),
        };
        let bytes = match &retrieval.progress {
            JobState::Stored => break Ok(()),
            JobState::Expired => break Err(not_coming("the share ended before they came")),
            JobState::Refused { reason } | JobState::Failed { reason } => {
                break Err(not_coming(because(*reason)));
            }
            JobState::Queued => 0,
            JobState::Retrieving { bytes, .. } => *bytes,
        };
        if seen.is_none() {
            watch.begin("on their way", of);
        }
        watch.moved(bytes.saturating_sub(seen.unwrap_or(0)));
        seen = Some(seen.unwrap_or(0).max(bytes));
        if until.is_some_and(|until| Instant::now() >= until) {
            break Err(ReadError::OnTheirWay { bytes, of });
        }
        tokio::time::sleep(ASK).await;
    };
    if seen.is_some() {
        watch.end();
    }
    outcome
}

fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::NoSuchUser => "you have no account there",
        Reason::OverQuota => "your quota there does not allow it",
        Reason::Policy => "its rules or your wishes forbid it",
        Reason::OriginRefused => "the origin does not give them to you: they may have been taken back",
        Reason::OriginUnreachable => "the origin could not be reached",
        Reason::Unverifiable => "what came was not what the sender announced",
        Reason::Local => "its own machine failed",
    }
}

/// The part that a person reads: the text, else the HTML.
fn body(parts: &[Part]) -> Option<&Part> {
    let of_type = |wanted: &str| {
        parts.iter().find(|part| {
            let description = &part.description;
            description.disposition() != Some(Disposition::Attachment) && description.media_type() == wanted
        })
    };
    of_type("text/plain").or_else(|| of_type("text/html"))
}

async fn text_of(source: &Session, part: &Part) -> Result<String, ReadError> {
    let size = part.resource.size;
    let mut octets = Vec::new();
    if size <= SHOWN {
        let unwatched: Arc<dyn Watch> = Arc::new(super::Unwatched);
        pour(source, &part.resource, None, &mut octets, &unwatched).await?;
    } else {
        let beginning = source.resource(&part.resource.cid, Some(SHOWN)).await?;
        let limit = usize::try_from(SHOWN).unwrap_or(usize::MAX);
        let read = https::read(beginning, limit).await;
        octets.extend_from_slice(&read.map_err(|why| ReadError::Broken {
            cid: part.resource.cid,
            why: why.to_string(),
        })?);
    }
    let text = decoded(part.description.charset().as_deref(), &octets);
    let text = match part.description.media_type().as_str() {
        "text/html" => html_to_text(&text),
        _ => text,
    };
    let mut text = for_terminal(&text);
    if size > SHOWN {
        text.push_str("\n… (`cargomail save` gives all of it)\n");
    }
    Ok(text)
}

fn decoded(charset: Option<&str>, octets: &[u8]) -> String {
    match (std::str::from_utf8(octets), charset) {
        (Ok(text), _) => text.to_owned(),
        (Err(_), Some(charset)) if charset != "utf-8" => charset_decoder(charset.as_bytes()).map_or_else(
            || String::from_utf8_lossy(octets).into_owned(),
            |decode| decode(octets),
        ),
        _ => String::from_utf8_lossy(octets).into_owned(),
    }
}

/// A stranger's text without what could steer a terminal, lines ended by LF.
#[must_use]
pub fn for_terminal(text: &str) -> String {
    let direction = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.replace("\r\n", "\n")
        .chars()
        .filter(|c| *c == '\n' || *c == '\t' || !(c.is_control() || direction(*c)))
        .collect()
}

/// The same on one line.
#[must_use]
pub fn on_one_line(text: &str) -> String {
    for_terminal(text).replace(['\n', '\t'], " ")
}

fn listed(placeholder: &Placeholder, field: &str) -> String {
    let show = |mailbox: &cargomail_protocol::placeholder::Mailbox| match &mailbox.name {
        Some(name) => format!("{name} <{}>", mailbox.address),
        None => mailbox.address.to_string(),
    };
    let all: Vec<String> = placeholder.addresses(field).iter().map(show).collect();
    on_one_line(&all.join(", "))
}

fn shown(placeholder: &Placeholder, text: String) -> Shown {
    let part = |(index, part): (usize, &Part)| ShownPart {
        part: index + 1,
        name: part.description.file_name().map(|name| on_one_line(&name)),
        media_type: part.description.media_type(),
        size: part.resource.size,
        cid: Some(part.resource.cid.to_string()),
    };
    Shown {
        from: listed(placeholder, "From"),
        to: listed(placeholder, "To"),
        cc: listed(placeholder, "Cc"),
        subject: on_one_line(&placeholder.subject()),
        date: placeholder.date().map(|date| date.rfc3339()),
        message_id: placeholder.message_id().to_owned(),
        category: Some(placeholder.category().to_string()),
        origin: Some(placeholder.origin().locator.clone()),
        destination: placeholder.destination().cloned(),
        text,
        parts: placeholder.parts().iter().enumerate().map(part).collect(),
    }
}

/// The name of a part for whoever watches.
pub(super) fn label(index: usize, part: &Part) -> String {
    let name = part.description.file_name().map(|name| on_one_line(&name));
    name.unwrap_or_else(|| format!("part {} ({})", index + 1, part.description.media_type()))
}

/// A message that is no placeholder.
fn ordinary(message: &[u8]) -> Shown {
    let parsed = MessageParser::default().parse(message).unwrap_or_default();
    let addresses = |list: Option<&mail_parser::Address<'_>>| {
        let all = list.into_iter().flat_map(|list| list.clone().into_list());
        let show = |one: mail_parser::Addr<'_>| match (one.name(), one.address()) {
            (Some(name), Some(address)) => format!("{name} <{address}>"),
            (_, address) => address.unwrap_or_default().to_owned(),
        };
        on_one_line(&all.map(show).collect::<Vec<_>>().join(", "))
    };
    let part = |(index, part): (usize, &mail_parser::MessagePart<'_>)| ShownPart {
        part: index + 1,
        name: part.attachment_name().map(on_one_line),
        media_type: part.content_type().map_or_else(
            || "application/octet-stream".to_owned(),
            |kind| {
                let subtype = kind.subtype().unwrap_or("octet-stream");
                on_one_line(&format!("{}/{subtype}", kind.ctype()))
            },
        ),
        size: part.contents().len() as u64,
        cid: None,
    };
    Shown {
        from: addresses(parsed.from()),
        to: addresses(parsed.to()),
        cc: addresses(parsed.cc()),
        subject: on_one_line(parsed.subject().unwrap_or_default()),
        date: parsed.date().map(mail_parser::DateTime::to_rfc3339),
        message_id: parsed
            .message_id()
            .map(|id| on_one_line(&format!("<{id}>")))
            .unwrap_or_default(),
        category: None,
        origin: None,
        destination: None,
        text: for_terminal(&parsed.body_text(0).unwrap_or_default()),
        parts: parsed.attachments().enumerate().map(part).collect(),
    }
}

#[cfg(test)]
pub(super) mod tests;
