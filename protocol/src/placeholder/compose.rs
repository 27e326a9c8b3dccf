//! Composing a message from scratch, of parts whose octets are stored at the origin already.

use super::mailbox::Mailbox;
use super::model::{Category, Invalid, Origin, Placeholder};
use super::part::Part;
use crate::timestamp::Timestamp;

/// A message that is being composed. There is no Bcc: who is hidden stands in the envelope only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its author.
    pub from: Mailbox,
    /// Who sends it in the author's name, when that is somebody else.
    pub sender: Option<Mailbox>,
    /// Where answers go, when not to the author.
    pub reply_to: Vec<Mailbox>,
    /// Its recipients.
    pub to: Vec<Mailbox>,
    /// Recipients of a copy.
    pub cc: Vec<Mailbox>,
    /// Its subject.
    pub subject: String,
    /// When it was written.
    pub date: Timestamp,
    /// Its Message-ID with angle brackets.
    pub message_id: String,
    /// The Message-ID that it answers, with angle brackets.
    pub in_reply_to: Option<String>,
    /// The Message-IDs of its thread, with angle brackets.
    pub references: Vec<String>,
    /// The body as plain text.
    pub text: Option<Part>,
    /// The body as HTML, which refers to `inline` as `cid:<cid>`.
    pub html: Option<Part>,
    /// What the HTML refers to.
    pub inline: Vec<Part>,
    /// Files.
    pub attachments: Vec<Part>,
}

impl Draft {
    /// The placeholder: the text and the HTML as alternatives, the HTML with what it refers to, then the files.
    ///
    /// # Errors
    /// [`Invalid`]; a line break or NUL in any value is [`Invalid::Header`] (THREATS S03).
    pub fn into_placeholder(self, _origin: Origin, _category: Category) -> Result<Placeholder, Invalid> {
        todo!()
    }
}
