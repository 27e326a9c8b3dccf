//! One body or attachment: where its octets are, and what its author called it.

use cid::Cid;

use super::header::{Header, HeaderError, Headers};

/// A resource, as a placeholder refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResourceRef {
    /// Its root.
    pub cid: Cid,
    /// Its octets.
    pub size: u64,
    /// SHA-256 over all its octets, where the sender said so.
    pub sha256: Option<[u8; 32]>,
}

/// The Content-ID of a part in the author's message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ContentId {
    /// The CID itself: HTML refers to the part as `cid:<cid>`.
    #[default]
    Cid,
    /// One of the author's, without angle brackets: HTML refers to the part as `cid:` and this.
    Own(String),
    /// None at all.
    Absent,
}

/// What a part asks its reader to do with it (RFC 2183).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// To be shown as part of the message.
    Inline,
    /// To be offered for saving.
    Attachment,
}

/// The header of a part: its Content-Type, Content-Disposition and whatever else the author wrote.
///
/// Not in it: Content-ID (see [`ContentId`]) and Content-Transfer-Encoding (a resource has none).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    fields: Headers,
    content_id: ContentId,
}

impl Description {
    /// A part of this media type, with parameters: `text/plain; charset=utf-8`.
    ///
    /// # Errors
    /// [`HeaderError`] when it is no media type.
    pub fn new(_content_type: &str) -> Result<Self, HeaderError> {
        todo!()
    }

    /// With a Content-Disposition, and with a file name in the form of RFC 2231 where needed.
    ///
    /// # Errors
    /// [`HeaderError::LineBreak`] for CR, LF or NUL in the name (THREATS S03).
    pub fn disposed(self, _how: Disposition, _file_name: Option<&str>) -> Result<Self, HeaderError> {
        todo!()
    }

    /// With one more field, `Content-Language` or `Content-Description` for instance.
    #[must_use]
    pub fn with(mut self, field: Header) -> Self {
        self.fields.push(field);
        self
    }

    /// With a Content-ID other than the CID.
    #[must_use]
    pub fn identified(mut self, content_id: ContentId) -> Self {
        self.content_id = content_id;
        self
    }

    /// The fields in order.
    #[must_use]
    pub fn fields(&self) -> &Headers {
        &self.fields
    }

    /// The part's Content-ID in the author's message.
    #[must_use]
    pub fn content_id(&self) -> &ContentId {
        &self.content_id
    }

    /// The media type without parameters, lower case; `text/plain` when the author named none (RFC 2045 §5.2).
    #[must_use]
    pub fn media_type(&self) -> String {
        todo!()
    }

    /// The charset parameter, lower case.
    #[must_use]
    pub fn charset(&self) -> Option<String> {
        todo!()
    }

    /// What the part asks for; none when it does not say, or says something unknown.
    #[must_use]
    pub fn disposition(&self) -> Option<Disposition> {
        todo!()
    }

    /// The file name as the author wrote it, decoded (RFC 2231, RFC 2047). A name, never a path: see [`download_name`].
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        todo!()
    }
}

/// One part of a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where its octets are.
    pub resource: ResourceRef,
    /// What it is.
    pub description: Description,
}

impl Part {
    /// Whether `reference`, what follows `cid:` in HTML (percent-encoding undone), means this part.
    #[must_use]
    pub fn is_referred_to_as(&self, _reference: &str) -> bool {
        todo!()
    }
}

/// A name under which a stranger's file may be saved: one path element, no control, direction or reserved characters,
/// no leading dot, no device name, at most 200 octets, never empty (THREATS M08).
#[must_use]
pub fn download_name(_name: &str) -> String {
    todo!()
}
