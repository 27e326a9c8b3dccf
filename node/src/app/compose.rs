//! Composing: a letter's bodies and files become resources at the origin, its recipients get shares, and what is sent is
//! the placeholder (steps 1 to 4 of the walk).
//!
//! What always holds: who is hidden stands in no header and in no share with anybody else; nothing is sent before every resource
//! and every share is durable at the origin. Who has no Cargomail gets no share, but the content itself.

mod html;
mod ordinary;

use std::fs::File;
use std::io::{Cursor, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::dag::cid;
use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::limits;
use cargomail_protocol::placeholder::{
    Category, Description, Disposition, Draft, Header, HeaderError, Invalid, Mailbox, Origin, Part,
    ResourceRef,
};
use cargomail_protocol::share::{ShareError, SharedResource};
use cargomail_protocol::timestamp::Timestamp;
use data_encoding::{BASE64, HEXLOWER};
use futures::io::AllowStdIo;
use serde::Serialize;
use tokio::io::AsyncRead;
use tokio_util::compat::FuturesAsyncReadCompatExt;

use super::read::ReadError;
use super::submit::NotTaken;
use super::{App, AppError, Session, Watch};
use crate::api::{Channel, NewMessage, NewShare, OrdinaryMessage, Posted, Queued, ShareView};
use crate::clock;
use crate::compute;
pub use html::ReferenceError;
pub use ordinary::OrdinaryCopy;

/// After this time a broker that does not know what a domain is may know it.
const UNKNOWN: Duration = Duration::from_secs(60);

/// Why a letter was not sent.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A node could not do its part, or a file could not be read.
    #[error(transparent)]
    App(#[from] AppError),
    /// Nobody would get it.
    #[error("the letter has no recipient: name one with --to, --cc or --bcc")]
    NoRecipient,
    /// There is nothing in it.
    #[error("the letter is empty: give it --text, --html or a file")]
    Nothing,
    /// An image and the HTML do not fit.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The name of a file cannot be sent.
    #[error("{0}: the file's name is no text; rename it")]
    FileName(PathBuf),
    /// A value cannot stand in a header: a line break in the subject, for instance.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// There is no such placeholder.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The resources cannot be shared.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The broker cannot tell whether these domains have Cargomail.
    #[error(
        "{0}: whether they have Cargomail is not known, because the DNS gives your broker no answer that it believes; try again \
         later, or leave them out"
    )]
    Unknown(String),
    /// Nobody can tell whether these domains have Cargomail, and the author wants to know.
    #[error(
        "{0}: nobody can tell whether they have Cargomail, because the profile has no broker, or one that is too old for the question"
    )]
    NobodyToAsk(String),
    /// Some recipients could get the content only as ordinary mail, and the author does not want that.
    #[error(
        "{0}: no Cargomail there, and the letter may not go as ordinary mail; leave them out, or send it without --only-cargomail \
         and --channel web, and providers can read it"
    )]
    OnlyCargomail(String),
    /// The same, and the broker lets no ordinary mail leave.
    #[error("{0}: no Cargomail there, and your broker sends no ordinary mail; leave them out")]
    NoOrdinary(String),
    /// There is more in the letter than an ordinary message may have.
    #[error(
        "{recipients}: no Cargomail there, so the content goes in the message, and that would have more than {largest} octets. Send \
         them less, or leave them out"
    )]
    TooLarge {
        /// Who has no Cargomail.
        recipients: String,
        /// Octets that a message may have.
        largest: u64,
    },
    /// What was posted cannot be had back, to stand in an ordinary message.
    #[error("the ordinary message cannot be made")]
    Copy(#[from] ReadError),
    /// The SMTP server took the message for some recipients only, or for none.
    #[error("the SMTP server did not take it for {0}")]
    NotTaken(NotTaken),
}

impl Faulty for ComposeError {
    fn fault(&self) -> Fault {
        match self {
            ComposeError::App(error) => error.fault(),
            ComposeError::Header(error) => error.fault(),
            ComposeError::Invalid(error) => error.fault(),
            ComposeError::Share(error) => error.fault(),
            ComposeError::Unknown(_) => Fault::TryLater(UNKNOWN),
            ComposeError::NotTaken(_)
            | ComposeError::NobodyToAsk(_)
            | ComposeError::OnlyCargomail(_)
            | ComposeError::NoOrdinary(_) => Fault::Refused,
            ComposeError::TooLarge { .. } => Fault::TooLarge,
            ComposeError::Copy(error) => error.fault(),
            _ => Fault::Malformed,
        }
    }
}

/// A letter as its author writes it.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Recipients.
    pub to: Vec<Mailbox>,
    /// Recipients of a copy.
    pub cc: Vec<Mailbox>,
    /// Recipients whom nobody else sees.
    pub bcc: Vec<Mailbox>,
    /// The subject.
    pub subject: String,
    /// The body as plain text.
    pub text: Option<String>,
    /// The body as HTML; it refers to an inline image as `cid:<file name>`.
    pub html: Option<String>,
    /// What the HTML refers to.
    pub inline: Vec<PathBuf>,
    /// Files.
    pub files: Vec<PathBuf>,
    /// What kind of correspondence it is.
    pub category: Category,
    /// How long the resources are shared.
    pub life: Duration,
    /// The Message-ID that it answers, with angle brackets.
    pub in_reply_to: Option<String>,
    /// The Resource Mailbox that it is posted to; none is the first of the profile.
    pub origin: Option<Locator>,
    /// How it travels; none is the broker's default.
    pub channel: Option<Channel>,
    /// Whether it is refused when a recipient's domain has no Cargomail, rather than sent there as ordinary mail.
    pub only_cargomail: bool,
}

impl Letter {
    /// A letter with nothing in it, to nobody.
    #[must_use]
    pub fn new(category: Category) -> Self {
        Self {
            to: Vec::new(),
            cc: Vec::new(),
            bcc: Vec::new(),
            subject: String::new(),
            text: None,
            html: None,
            inline: Vec::new(),
            files: Vec::new(),
            category,
            life: limits::SHARE_LIFE,
            in_reply_to: None,
            origin: None,
            channel: None,
            only_cargomail: false,
        }
    }

    /// Who gets it, in groups: everybody who is named in it shares one copy, each hidden recipient has one.
    fn envelopes(&self) -> Vec<Vec<Address>> {
        let mut known: Vec<String> = Vec::new();
        let mut fresh = |mailbox: &Mailbox| {
            let key = mailbox.address.to_string().to_lowercase();
            let new = !known.contains(&key);
            known.push(key);
            new.then(|| mailbox.address.clone())
        };
        let visible: Vec<Address> = self.to.iter().chain(&self.cc).filter_map(&mut fresh).collect();
        let hidden: Vec<Address> = self.bcc.iter().filter_map(&mut fresh).collect();
        std::iter::once(visible)
            .filter(|group| !group.is_empty())
            .chain(hidden.into_iter().map(|address| vec![address]))
            .collect()
    }
}

/// A letter that was composed: stored and shared at the origin, and ready to be sent.
#[derive(Debug, Clone)]
pub struct Composed {
    /// Its Message-ID.
    pub message_id: String,
    /// Where its resources are.
    pub origin: Locator,
    /// Until when they are shared.
    pub expires: Timestamp,
    /// Who gets the placeholder, in groups.
    pub envelopes: Vec<Vec<Address>>,
    /// What the others get, whose domains have no Cargomail.
    pub ordinary: Option<OrdinaryCopy>,
    /// Its resources, in the order of the parts, with what they are.
    pub resources: Vec<PostedPart>,
    /// Its shares, one for each group.
    pub shares: Vec<ShareView>,
    /// The placeholder.
    pub message: Vec<u8>,
}

impl Composed {
    /// Each group with the message that it gets.
    pub(super) fn copies(&self) -> Vec<(&[Address], Bytes)> {
        let placeholder = (&self.envelopes, &self.message);
        let ordinary = self
            .ordinary
            .as_ref()
            .map(|copy| (&copy.envelopes, &copy.message));
        let mut copies = Vec::new();
        for (envelopes, message) in std::iter::once(placeholder).chain(ordinary) {
            let message = Bytes::copy_from_slice(message);
            copies.extend(envelopes.iter().map(|group| (group.as_slice(), message.clone())));
        }
        copies
    }
}

/// A resource of a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PostedPart {
    /// The file's name, or which body it is.
    pub name: String,
    /// Where its octets are.
    #[serde(flatten)]
    pub posted: Posted,
}

/// A letter that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Its Message-ID.
    pub message_id: String,
    /// Where its resources are.
    pub origin: Locator,
    /// Until when they are shared, in milliseconds since the epoch.
    pub expires: Timestamp,
    /// Its resources.
    pub resources: Vec<PostedPart>,
    /// Its shares.
    pub shares: Vec<ShareView>,
    /// Who gets the content as ordinary mail, because their domains have no Cargomail.
    pub ordinary: Vec<Address>,
    /// How the broker took it; empty when an SMTP server did.
    pub queued: Vec<Queued>,
}

impl App {
    /// Composes a letter and sends it by the broker, or by the profile's SMTP server.
    ///
    /// # Errors
    /// [`ComposeError`].
    pub async fn send(&self, letter: &Letter, watch: &Arc<dyn Watch>) -> Result<Sent, ComposeError> {
        let composed = self.compose(letter, watch).await?;
        let queued = match &self.profile.submission {
            Some(server) => {
                self.submit(server, &composed).await?;
                Vec::new()
            }
            None => self.hand_over(&composed, letter.channel).await?,
        };
        Ok(Sent {
            message_id: composed.message_id,
            origin: composed.origin,
            expires: composed.expires,
            resources: composed.resources,
            shares: composed.shares,
            ordinary: composed
                .ordinary
                .into_iter()
                .flat_map(|copy| copy.envelopes)
                .flatten()
                .collect(),
            queued,
        })
    }

    /// Stores and shares everything of a letter, and writes its placeholder.
    ///
    /// # Errors
    /// [`ComposeError`].
    pub async fn compose(&self, letter: &Letter, watch: &Arc<dyn Watch>) -> Result<Composed, ComposeError> {
        let groups = letter.envelopes();
        if groups.is_empty() {
            return Err(ComposeError::NoRecipient);
        }
        if letter.text.is_none() && letter.html.is_none() && letter.files.is_empty() {
            return Err(ComposeError::Nothing);
        }
        html::check(letter.html.as_deref(), &letter.inline)?;
        self.check_header(letter)?;
        for path in letter.inline.iter().chain(&letter.files) {
            described(path)?.disposed(Disposition::Attachment, Some(file_name(path)?))?;
            opened(path)?;
        }
        let divided = self.divide(groups, letter.channel).await?;
        divided.check(letter)?;
        let now = self.world.clock.now();
        let id = clock::uuid(&*self.world.clock, &*self.world.randomness);
        let message_id = format!("<{id}@{}>", self.profile.address.domain());
        let expires = Timestamp::from_seconds(now.plus(letter.life).seconds());
        let (locator, session) = self.origin(letter.origin.as_ref())?;
        let mut posting = Posting {
            session,
            watch,
            posted: Vec::new(),
        };
        let draft = self.draft(letter, &mut posting, now, &message_id).await?;
        let origin = Origin {
            locator: locator.clone(),
            expires: Some(expires),
        };
        let placeholder = draft.into_placeholder(origin, letter.category.clone())?;
        let message = placeholder.encode()?;
        let ordinary = divided.copy(&placeholder, &posting.session, watch).await?;
        let resources = shared(&posting.posted)?;
        let mut shares = Vec::new();
        for recipients in &divided.envelopes {
            let share = NewShare {
                recipients: recipients.clone(),
                resources: resources.clone(),
                category: letter.category.clone(),
                message_id: message_id.clone(),
                expires,
            };
            shares.push(posting.session.share(&share).await?);
        }
        tracing::info!(message_id = %message_id, step = "share", shares = shares.len(), "composed and shared");
        Ok(Composed {
            message_id,
            origin: locator,
            expires,
            envelopes: divided.envelopes,
            ordinary,
            resources: posting.posted,
            shares,
            message,
        })
    }

    /// Whether what the author wrote can stand in a header.
    fn check_header(&self, letter: &Letter) -> Result<(), ComposeError> {
        let from = Mailbox {
            name: self.profile.name.clone(),
            address: self.profile.address.clone(),
        };
        Mailbox::header("From", &[from])?;
        Mailbox::header("To", &letter.to)?;
        Mailbox::header("Cc", &letter.cc)?;
        Header::new("Subject", &letter.subject)?;
        Header::folded("In-Reply-To", letter.in_reply_to.as_deref().unwrap_or_default())?;
        Ok(())
    }

    async fn draft(
        &self,
        letter: &Letter,
        posting: &mut Posting<'_>,
        date: Timestamp,
        message_id: &str,
    ) -> Result<Draft, ComposeError> {
        let text = match &letter.text {
            Some(text) => Some(posting.body("text", "text/plain; charset=utf-8", text).await?),
            None => None,
        };
        let mut inline = Vec::new();
        for path in &letter.inline {
            inline.push(posting.file(path, Disposition::Inline).await?);
        }
        let html = match &letter.html {
            Some(html) => {
                let html = html::referring(html, &letter.inline, &inline)?;
                Some(posting.body("html", "text/html; charset=utf-8", &html).await?)
            }
            None => None,
        };
        let mut attachments = Vec::new();
        for path in &letter.files {
            attachments.push(posting.file(path, Disposition::Attachment).await?);
        }
        let profile = &self.profile;
        Ok(Draft {
            from: Mailbox {
                name: profile.name.clone(),
                address: profile.address.clone(),
            },
            sender: None,
            reply_to: Vec::new(),
            to: letter.to.clone(),
            cc: letter.cc.clone(),
            subject: letter.subject.clone(),
            date,
            message_id: message_id.to_owned(),
            in_reply_to: letter.in_reply_to.clone(),
            references: letter.in_reply_to.iter().cloned().collect(),
            text,
            html,
            inline,
            attachments,
        })
    }

    /// Gives a composed letter to the broker. Given again, it is the same message.
    ///
    /// # Errors
    /// [`ComposeError`].
    pub async fn hand_over(
        &self,
        composed: &Composed,
        channel: Option<Channel>,
    ) -> Result<Vec<Queued>, ComposeError> {
        let ordinary = composed.ordinary.as_ref().map(|copy| OrdinaryMessage {
            envelopes: copy.envelopes.clone(),
            message: BASE64.encode(&copy.message),
        });
        let message = NewMessage {
            envelopes: composed.envelopes.clone(),
            message: BASE64.encode(&composed.message),
            channel,
            ordinary,
        };
        Ok(self.broker()?.send_message(&message).await?)
    }
}

/// Each resource once, however often the letter has it.
fn shared(posted: &[PostedPart]) -> Result<Vec<SharedResource>, ComposeError> {
    let mut resources: Vec<SharedResource> = Vec::new();
    for part in posted {
        let cid = cid::from_text(&part.posted.cid).map_err(|_| ShareError::Cid)?;
        let resource = SharedResource::new(cid, part.posted.size)?;
        if !resources.contains(&resource) {
            resources.push(resource);
        }
    }
    Ok(resources)
}

/// Parts on their way to the origin.
struct Posting<'a> {
    session: Session,
    watch: &'a Arc<dyn Watch>,
    posted: Vec<PostedPart>,
}

impl Posting<'_> {
    /// A body.
    async fn body(&mut self, name: &str, content_type: &str, text: &str) -> Result<Part, ComposeError> {
        let text = with_whole_line_ends(text);
        let size = text.len() as u64;
        let description = Description::new(content_type)?;
        self.post(name, Cursor::new(text.into_bytes()), size, description)
            .await
    }

    async fn file(&mut self, path: &Path, how: Disposition) -> Result<Part, ComposeError> {
        let name = file_name(path)?;
        let description = described(path)?.disposed(how, Some(name))?;
        let (file, size) = opened(path)?;
        if compute::is_done_at_once() {
            return self
                .post(name, AllowStdIo::new(file).compat(), size, description)
                .await;
        }
        self.post(name, tokio::fs::File::from_std(file), size, description)
            .await
    }

    async fn post(
        &mut self,
        name: &str,
        octets: impl AsyncRead + Send + 'static,
        size: u64,
        description: Description,
    ) -> Result<Part, ComposeError> {
        self.watch.begin(name, size);
        let posted = self.session.post(octets, size, self.watch).await;
        self.watch.end();
        let posted = posted?;
        let cid = cid::from_text(&posted.cid).map_err(|why| self.session.unusable(why))?;
        let sha256 = HEXLOWER.decode(posted.sha256.as_bytes()).ok();
        let resource = ResourceRef {
            cid,
            size: posted.size,
            sha256: sha256.and_then(|hash| hash.try_into().ok()),
        };
        let name = name.to_owned();
        self.posted.push(PostedPart { name, posted });
        Ok(Part {
            resource,
            description,
        })
    }
}

/// Lines end with CR LF, as those of text in mail do (RFC 2046 §4.1.1).
fn with_whole_line_ends(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

/// What a file is, by its name. Text has the charset that nearly all text files have today.
fn described(path: &Path) -> Result<Description, HeaderError> {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    let guess = guess.essence_str();
    if guess.starts_with("text/") {
        return Description::new(&format!("{guess}; charset=utf-8"));
    }
    // Multiparts and messages are never encoded (RFC 2045 §6.4), and a file need not have lines that survive that.
    match guess.starts_with("multipart/") || guess.starts_with("message/") {
        true => Description::new("application/octet-stream"),
        false => Description::new(guess),
    }
}

/// A file, and how many octets it has now.
///
/// # Errors
/// [`AppError::File`], also for what is no regular file: what a pipe gives has no size, and may never come.
fn opened(path: &Path) -> Result<(File, u64), AppError> {
    let failed = |why| AppError::File {
        path: path.to_owned(),
        why,
    };
    let about = std::fs::metadata(path).map_err(failed)?;
    if about.is_dir() {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    if !about.is_file() {
        return Err(failed(std::io::Error::other(
            "not a regular file; send a copy of what it gives",
        )));
    }
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    Ok((file, size))
}

fn file_name(path: &Path) -> Result<&str, ComposeError> {
    path.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| ComposeError::FileName(path.to_owned()))
}

#[cfg(test)]
mod tests;
