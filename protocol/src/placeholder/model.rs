//! What a placeholder is, apart from how it is written.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::header::{Header, HeaderError, Headers};
use super::mailbox::{self, Mailbox};
use super::part::{Part, is_identifier};
use super::reconstruct::{self, Piece};
use super::structure::{Structure, StructureError};
use super::{BCC, MIME, encode, is_ours, parse};
use crate::address::Locator;
use crate::limits;
use crate::timestamp::Timestamp;

/// Not a category: RFC 2045's token of at most 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a category")]
pub struct CategoryError(pub String);

/// The category of a correspondence, `healthcare`: a token, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Category(String);

impl Category {
    /// Reads a category in any case.
    ///
    /// # Errors
    /// [`CategoryError`] for anything that is no token of 1 to 64 characters.
    pub fn parse(text: &str) -> Result<Self, CategoryError> {
        let token = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b);
        if !(1..=64).contains(&text.len()) || !text.bytes().all(token) {
            return Err(CategoryError(text.chars().take(64).collect()));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The category as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Category {
    type Error = CategoryError;
    fn try_from(text: String) -> Result<Self, CategoryError> {
        Self::parse(&text)
    }
}

impl From<Category> for String {
    fn from(category: Category) -> String {
        category.0
    }
}

/// Why something is no placeholder although its grammar is right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A field that a message has once stands there again (rows M02, S10).
    #[error("{0} stands more than once")]
    Duplicate(String),
    /// A field that a placeholder needs is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The From field names several authors, or is none (row S10).
    #[error("From does not name exactly one author")]
    Author,
    /// A Message-ID or Content-ID with something that cannot stand between angle brackets.
    #[error("{0} is malformed")]
    Identifier(&'static str),
    /// A field that no placeholder carries: Bcc, MIME fields, Cargomail's own.
    #[error("{0} does not belong among the author's fields")]
    Foreign(String),
    /// The tree does not fit the parts.
    #[error(transparent)]
    Structure(#[from] StructureError),
    /// A field that cannot be written.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Larger than [`limits::PLACEHOLDER`], or its header than [`limits::HEADERS`].
    #[error("the placeholder would be too large")]
    TooLarge,
    /// Only an old form may leave out the expiry.
    #[error("the expiry is missing")]
    NoExpiry,
}

/// Where the resources are, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The origin Resource Mailbox.
    pub locator: Locator,
    /// When the share expires, in whole seconds. None only where an older form did not say; such a
    /// placeholder can be read but not written.
    pub expires: Option<Timestamp>,
}

/// A placeholder message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    pub(super) origin: Origin,
    pub(super) category: Category,
    pub(super) destination: Option<Locator>,
    pub(super) headers: Headers,
    pub(super) structure: Structure,
    pub(super) parts: Vec<Part>,
    pub(super) ignored: Vec<String>,
    pub(super) author: Mailbox,
    pub(super) message_id: String,
}

impl Placeholder {
    /// A placeholder over parts that are stored at `origin` already. `headers` are the author's own fields
    /// (From, To, Subject, Date, Message-ID and so on), without MIME's, Bcc and Cargomail's.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn new(
        origin: Origin,
        category: Category,
        headers: Headers,
        structure: Structure,
        parts: Vec<Part>,
    ) -> Result<Self, Invalid> {
        let foreign = |field: &&Header| is_ours(field) || MIME.iter().chain(&BCC).any(|name| field.is(name));
        if let Some(field) = headers.iter().find(foreign) {
            return Err(Invalid::Foreign(field.name().to_owned()));
        }
        if headers.octets() > limits::HEADERS {
            return Err(HeaderError::TooLarge.into());
        }
        let author = check_fields(&headers)?.ok_or(Invalid::Missing("From"))?;
        let message_id = headers
            .first("Message-ID")
            .ok_or(Invalid::Missing("Message-ID"))?
            .unfolded();
        let bare = message_id.strip_prefix('<').and_then(|id| id.strip_suffix('>'));
        if !bare.is_some_and(is_identifier) {
            return Err(Invalid::Identifier("Message-ID"));
        }
        if structure.parts() != parts.len() {
            let found = structure.parts();
            return Err(StructureError::Count {
                found,
                parts: parts.len(),
            }
            .into());
        }
        parts.iter().try_for_each(|part| part.description.check())?;
        let expires = origin
            .expires
            .map(|moment| Timestamp::from_seconds(moment.seconds()));
        Ok(Self {
            origin: Origin { expires, ..origin },
            category,
            destination: None,
            headers,
            structure,
            parts,
            ignored: Vec::new(),
            author,
            message_id,
        })
    }

    /// The same, sent on to a destination.
    #[must_use]
    pub fn with_destination(mut self, destination: Option<Locator>) -> Self {
        self.destination = destination;
        self
    }

    /// Writes it, strictly: CR LF, 7 bit wherever the addresses are ASCII, lines of at most 998 octets. The same
    /// placeholder always gives the same octets.
    ///
    /// # Errors
    /// [`Invalid::NoExpiry`]; [`Invalid::TooLarge`] when no reader would take it.
    pub fn encode(&self) -> Result<Vec<u8>, Invalid> {
        encode::encode(self)
    }

    /// Reads a message, leniently where `spec/placeholder.md` says so. `Ok(None)` is an ordinary message, which
    /// passes through unchanged; an error is a placeholder that is refused.
    ///
    /// # Errors
    /// [`parse::Broken`].
    pub fn parse(message: &[u8]) -> Result<Option<Self>, parse::Broken> {
        parse::parse(message)
    }

    /// The author's message, as pieces to be written one after the other. With no destination or origin named in it.
    #[must_use]
    pub fn reconstruct(&self) -> Vec<Piece> {
        reconstruct::reconstruct(self)
    }

    /// Where the resources are, and until when.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The category of the correspondence.
    #[must_use]
    pub fn category(&self) -> &Category {
        &self.category
    }

    /// Where the recipient's broker had the resources sent.
    #[must_use]
    pub fn destination(&self) -> Option<&Locator> {
        self.destination.as_ref()
    }

    /// The author's fields, and those that the message collected on its way, in order.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The one author that From names. It proves nothing (row S10).
    #[must_use]
    pub fn author(&self) -> &Mailbox {
        &self.author
    }

    /// The Message-ID with its angle brackets.
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// The subject, decoded.
    #[must_use]
    pub fn subject(&self) -> String {
        self.headers
            .first("Subject")
            .map(super::Header::text)
            .unwrap_or_default()
    }

    /// The addresses of a field (`To`, `Cc`, `Reply-To`), as far as they can be read.
    #[must_use]
    pub fn addresses(&self, field: &str) -> Vec<Mailbox> {
        self.headers
            .all(field)
            .flat_map(|field| mailbox::readable(&field.unfolded()))
            .collect()
    }

    /// When it was written, where Date can be read.
    #[must_use]
    pub fn date(&self) -> Option<Timestamp> {
        parse::lenient_date(&self.headers.first("Date")?.unfolded())
    }

    /// The tree of the author's message over the parts.
    #[must_use]
    pub fn structure(&self) -> &Structure {
        &self.structure
    }

    /// The bodies and attachments, in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Access types of external-body parts that were left out because nobody here knows them (row M03).
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }
}

/// What RFC 5322 §3.6 allows once and a reader might take for something when it stands twice (rows M02, S10).
const ONCE: [&str; 10] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Subject",
];

/// Refuses what is ambiguous in the fields of a message; its author, if it has one.
pub(super) fn check_fields(headers: &Headers) -> Result<Option<Mailbox>, Invalid> {
    if let Some(name) = headers.duplicate(&ONCE).or_else(|| headers.duplicate(&MIME)) {
        return Err(Invalid::Duplicate(name.to_owned()));
    }
    let Some(from) = headers.first("From") else {
        return Ok(None);
    };
    mailbox::author(&from.unfolded()).map(Some).ok_or(Invalid::Author)
}
