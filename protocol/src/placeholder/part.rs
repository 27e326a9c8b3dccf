//! One body or attachment: where its octets are, and what its author called it.

use cid::Cid;

use super::header::{Header, HeaderError, Headers};
use super::model::Invalid;
use super::parameter::Parameterised;

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

impl ContentId {
    /// Whether it can stand between angle brackets.
    pub(super) fn is_valid(&self) -> bool {
        match self {
            Self::Own(id) => is_identifier(id),
            Self::Cid | Self::Absent => true,
        }
    }
}

/// What stands between the angle brackets of a Message-ID or Content-ID.
pub(super) fn is_identifier(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'<' && b != b'>';
    (1..=900).contains(&id.len()) && id.bytes().all(plain)
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

/// Fields that a part has at most once.
pub(super) const ONCE: [&str; 4] = [
    "Content-Type",
    "Content-Disposition",
    "Content-ID",
    "Content-Transfer-Encoding",
];

impl Description {
    /// A part of this media type, with parameters: `text/plain; charset=utf-8`.
    ///
    /// # Errors
    /// [`HeaderError::Value`] when it is no media type.
    pub fn new(content_type: &str) -> Result<Self, HeaderError> {
        let refuse = || HeaderError::Value {
            name: "Content-Type".to_owned(),
        };
        let value = Parameterised::read(content_type)
            .filter(is_media_type)
            .ok_or_else(refuse)?;
        let mut fields = Headers::new();
        fields.push(value.header("Content-Type")?);
        Ok(Self {
            fields,
            content_id: ContentId::Cid,
        })
    }

    /// From the fields of a part in a message.
    pub(super) fn read(fields: Headers, content_id: ContentId) -> Self {
        Self { fields, content_id }
    }

    /// With a Content-Disposition, and with a file name in the form of RFC 2231 where needed.
    ///
    /// # Errors
    /// [`HeaderError::LineBreak`] for CR, LF or NUL in the name (row S03), [`HeaderError::TooLarge`] above 4 KiB.
    pub fn disposed(mut self, how: Disposition, file_name: Option<&str>) -> Result<Self, HeaderError> {
        let mut value = Parameterised::new(match how {
            Disposition::Inline => "inline",
            Disposition::Attachment => "attachment",
        });
        if let Some(name) = file_name {
            if name.len() > 4096 {
                return Err(HeaderError::TooLarge);
            }
            value = value.with("filename", name);
        }
        self.fields.retain(|field| !field.is("Content-Disposition"));
        self.fields.push(value.header("Content-Disposition")?);
        Ok(self)
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

    /// The media type without parameters, lower case; `text/plain` when the author named none (RFC 2045 §5.2),
    /// `application/octet-stream` when it cannot be read.
    #[must_use]
    pub fn media_type(&self) -> String {
        if self.fields.first("Content-Type").is_none() {
            return "text/plain".to_owned();
        }
        self.value_of("Content-Type").filter(is_media_type).map_or_else(
            || "application/octet-stream".to_owned(),
            |value| value.value.to_ascii_lowercase(),
        )
    }

    /// The charset parameter, lower case.
    #[must_use]
    pub fn charset(&self) -> Option<String> {
        self.value_of("Content-Type")?
            .plain("charset")
            .map(str::to_ascii_lowercase)
    }

    /// What the part asks for; none when it does not say. Anything unknown is an attachment (RFC 2183 §2.8).
    #[must_use]
    pub fn disposition(&self) -> Option<Disposition> {
        let value = self.value_of("Content-Disposition")?;
        match value.value.eq_ignore_ascii_case("inline") {
            true => Some(Disposition::Inline),
            false => Some(Disposition::Attachment),
        }
    }

    /// The file name as the author wrote it, decoded (RFC 2231, RFC 2047). A name, never a path: see [`download_name`].
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        let disposed = self
            .value_of("Content-Disposition")
            .and_then(|value| value.text("filename"));
        disposed.or_else(|| self.value_of("Content-Type")?.text("name"))
    }

    fn value_of(&self, field: &str) -> Option<Parameterised> {
        Parameterised::read(&self.fields.first(field)?.unfolded())
    }

    /// Whether it can be written into a phantom header and read back.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        if let Some(name) = self.fields.duplicate(&ONCE) {
            return Err(Invalid::Duplicate(name.to_owned()));
        }
        let reserved = |field: &&Header| {
            field.is("Content-ID") || field.is("Content-Transfer-Encoding") || super::is_ours(field)
        };
        if let Some(field) = self.fields.iter().find(reserved) {
            return Err(Invalid::Foreign(field.name().to_owned()));
        }
        if !self.content_id.is_valid() {
            return Err(Invalid::Identifier("Content-ID"));
        }
        Ok(())
    }
}

/// Whether a value is `type/subtype`.
pub(super) fn is_media_type(value: &Parameterised) -> bool {
    let token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
    };
    value
        .value
        .split_once('/')
        .is_some_and(|(kind, subtype)| token(kind) && token(subtype))
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
    pub fn is_referred_to_as(&self, reference: &str) -> bool {
        match &self.description.content_id {
            ContentId::Own(id) if id == reference => true,
            _ => reference == self.resource.cid.to_string(),
        }
    }
}

/// A name under which a stranger's file may be saved: one path element, no control, direction or reserved characters,
/// no leading dot, no device name, at most 200 octets, never empty (row M08).
#[must_use]
pub fn download_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let reserved = |c: char| "<>:\"|?*".contains(c);
    let clean: String = last
        .chars()
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .map(|c| if reserved(c) { '_' } else { c })
        .collect();
    let trimmed = clean.trim_matches([' ', '.', '\t']);
    let (stem, extension) = match trimmed.rsplit_once('.') {
        Some((stem, extension)) if extension.len() <= 16 => (stem, format!(".{extension}")),
        _ => (trimmed, String::new()),
    };
    let mut stem = stem.trim_end_matches([' ', '.']).to_owned();
    while stem.len() + extension.len() > 200 {
        stem.pop();
    }
    if stem.is_empty() {
        stem.push_str("file");
    }
    const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
    let base = stem
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_ascii_uppercase();
    let numbered = ["COM", "LPT"].iter().any(|device| {
        base.strip_prefix(device).is_some_and(|n| {
            matches!(
                n,
                "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "0" | "¹" | "²" | "³"
            )
        })
    });
    if numbered || DEVICES.contains(&base.as_str()) {
        stem.insert(0, '_');
    }
    stem + &extension
}

/// Characters that change how their neighbours are shown, or show nothing: direction marks and overrides, joiners,
/// separators, tags, the byte order mark.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
