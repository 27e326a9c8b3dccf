//! Composing a message from scratch, of parts whose octets are stored at the origin already.

use super::header::{Header, Headers};
use super::mailbox::Mailbox;
use super::model::{Category, Invalid, Origin, Placeholder};
use super::part::Part;
use super::structure::{Multipart, Node, Structure};
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
    /// [`Invalid`]; a line break or NUL in any value is [`Invalid::Header`] (row S03).
    pub fn into_placeholder(self, origin: Origin, category: Category) -> Result<Placeholder, Invalid> {
        let headers = self.headers()?;
        let (root, parts) = self.arrange();
        let structure = Structure::new(root, parts.len())?;
        Placeholder::new(origin, category, headers, structure, parts)
    }

    fn headers(&self) -> Result<Headers, Invalid> {
        let mut headers = Headers::new();
        headers.push(Mailbox::header("From", std::slice::from_ref(&self.from))?);
        if let Some(sender) = &self.sender {
            headers.push(Mailbox::header("Sender", std::slice::from_ref(sender))?);
        }
        for (name, list) in [("Reply-To", &self.reply_to), ("To", &self.to), ("Cc", &self.cc)] {
            if !list.is_empty() {
                headers.push(Mailbox::header(name, list)?);
            }
        }
        headers.push(Header::new("Subject", &self.subject)?);
        headers.push(Header::folded("Date", &self.date.rfc5322())?);
        headers.push(Header::folded("Message-ID", &self.message_id)?);
        if let Some(answered) = &self.in_reply_to {
            headers.push(Header::folded("In-Reply-To", answered)?);
        }
        if !self.references.is_empty() {
            headers.push(Header::folded("References", &self.references.join(" "))?);
        }
        Ok(headers)
    }

    fn arrange(self) -> (Node, Vec<Part>) {
        let mut parts = Vec::new();
        let mut take = |part: Part| {
            parts.push(part);
            Node::Part(parts.len() - 1)
        };
        let text = self.text.map(&mut take);
        let html = self.html.map(&mut take);
        let inline: Vec<Node> = self.inline.into_iter().map(&mut take).collect();
        let attachments: Vec<Node> = self.attachments.into_iter().map(&mut take).collect();
        let html = html.into_iter().chain(inline).collect();
        let forms = text.into_iter().chain(joined(Multipart::Related, html)).collect();
        let all = joined(Multipart::Alternative, forms)
            .into_iter()
            .chain(attachments)
            .collect();
        let root = joined(Multipart::Mixed, all).unwrap_or(Node::Multipart(Multipart::Mixed, Vec::new()));
        (root, parts)
    }
}

/// A multipart where it takes one.
fn joined(kind: Multipart, mut nodes: Vec<Node>) -> Option<Node> {
    match nodes.len() {
        0 | 1 => nodes.pop(),
        _ => Some(Node::Multipart(kind, nodes)),
    }
}
