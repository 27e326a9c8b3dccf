//! Header fields (RFC 5322 §2.2) that cannot break out of their field.
//!
//! A field is kept as it was written, folding included, so that a message keeps the author's header byte for byte.
//! Always: a name is 1 to 76 printable ASCII characters other than the colon; a body holds no NUL, and no CR or LF
//! other than those of a folding, each followed by white space and something more; no line exceeds 998 octets.

use super::{mailbox, words};
use crate::limits;

/// The longest line of a message without its CR LF (RFC 5322 §2.1.1).
const LINE: usize = 998;
/// The length at which lines are folded where they can be (RFC 5322 §2.1.1).
const FOLD: usize = 78;
/// The longest field name: it fits on a line that is folded behind it.
const NAME: usize = 76;

/// Why a header field was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name is empty, too long, or holds something other than printable ASCII.
    #[error("{0:?} is not a header field name")]
    Name(String),
    /// CR, LF or NUL in a value: somebody tries to write a field of their own (row S03).
    #[error("the value of {name} holds a line break or NUL")]
    LineBreak {
        /// The field.
        name: String,
    },
    /// A value that is not of the form that its field asks for.
    #[error("the value of {name} is malformed")]
    Value {
        /// The field.
        name: String,
    },
    /// CR or LF alone, where a line must end in both.
    #[error("a line of the header does not end in CR LF")]
    BareLineEnd,
    /// NUL in the header.
    #[error("the header holds NUL")]
    Nul,
    /// A line that is neither a field nor the continuation of one.
    #[error("a line of the header is not a field")]
    NotAField,
    /// Octets that are not UTF-8.
    #[error("{name} is not UTF-8")]
    NotUtf8 {
        /// The field.
        name: String,
    },
    /// A line that cannot be folded to 998 octets.
    #[error("{name} has a line longer than 998 octets")]
    LineTooLong {
        /// The field.
        name: String,
    },
    /// More than [`limits::HEADERS`] octets of fields.
    #[error("the header is larger than {} octets", limits::HEADERS)]
    TooLarge,
}

/// One header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    name: String,
    body: String,
}

impl Header {
    /// A field of free text (RFC 5322 §2.2.1): text that is not ASCII becomes encoded words, and it is folded.
    ///
    /// # Errors
    /// [`HeaderError::Name`], [`HeaderError::LineBreak`], [`HeaderError::LineTooLong`].
    pub fn new(name: &str, text: &str) -> Result<Self, HeaderError> {
        refuse_line_breaks(name, text)?;
        Self::folded(name, &words::encode(text.trim_matches(WHITE)))
    }

    /// A field whose value is in its wire form already, folded here at white space.
    ///
    /// # Errors
    /// As [`Header::new`].
    pub fn folded(name: &str, value: &str) -> Result<Self, HeaderError> {
        check_name(name)?;
        refuse_line_breaks(name, value)?;
        let value = value.trim_matches(WHITE);
        let mut body = String::with_capacity(value.len() + 8);
        let mut line = name.len() + 1;
        let mut rest = value;
        let mut first = true;
        while !rest.is_empty() {
            let gap = rest.len() - rest.trim_start_matches(WHITE).len();
            let end = gap + word(rest.get(gap..).unwrap_or_default());
            let piece = if first { 1 + end } else { end };
            let limit = if first { LINE } else { FOLD };
            if line + piece > limit {
                body.push_str("\r\n");
                line = 0;
            }
            if first {
                body.push(' ');
                first = false;
            }
            body.push_str(rest.get(..end).unwrap_or_default());
            line += piece;
            if line > LINE {
                return Err(HeaderError::LineTooLong {
                    name: name.to_owned(),
                });
            }
            rest = rest.get(end..).unwrap_or_default();
        }
        Ok(Self {
            name: name.to_owned(),
            body,
        })
    }

    /// A field as it stands in a message: kept as it is, apart from text that is not ASCII, which becomes encoded
    /// words wherever they may stand, and from lines above 998 octets, which are folded again.
    fn read(name: &str, body: &[u8]) -> Result<Self, HeaderError> {
        check_name(name)?;
        let text = std::str::from_utf8(body).map_err(|_| HeaderError::NotUtf8 {
            name: name.to_owned(),
        })?;
        let field = Self {
            name: name.to_owned(),
            body: text.to_owned(),
        };
        if !text.is_ascii() {
            return field.in_ascii();
        }
        let longest = text.split("\r\n").map(str::len).max().unwrap_or(0);
        if longest + name.len() + 1 > LINE {
            return Self::folded(name, &field.unfolded());
        }
        Ok(field)
    }

    fn in_ascii(self) -> Result<Self, HeaderError> {
        const ADDRESSES: [&str; 5] = ["From", "Sender", "Reply-To", "To", "Cc"];
        let value = self.unfolded();
        if ADDRESSES.iter().any(|name| self.is(name)) {
            return match mailbox::mailboxes(&value) {
                Ok(list) if !mailbox::has_group(&value) => mailbox::Mailbox::header(&self.name, &list),
                // an address that is itself not ASCII needs SMTPUTF8 anyhow
                _ => Self::folded(&self.name, &value),
            };
        }
        if self.is("Content-Type") || self.is("Content-Disposition") {
            return super::parameter::Parameterised::read(&value)
                .ok_or_else(|| HeaderError::Value {
                    name: self.name.clone(),
                })?
                .header(&self.name);
        }
        Self::new(&self.name, &value)
    }

    /// The name as written.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the field has this name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Everything between the colon and the last CR LF, folding included.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.body
    }

    /// The body without folding and outer white space.
    #[must_use]
    pub fn unfolded(&self) -> String {
        self.body.replace("\r\n", "").trim_matches(WHITE).to_owned()
    }

    /// The body as a person reads it: unfolded, encoded words decoded, control characters left out.
    #[must_use]
    pub fn text(&self) -> String {
        words::decode(&self.unfolded())
    }

    /// Appends the field with its CR LF.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name.as_bytes());
        out.push(b':');
        out.extend_from_slice(self.body.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

const WHITE: [char; 2] = [' ', '\t'];

/// Octets up to the next place where `text` is folded: white space, but not that of a quoted string which fits on a line.
fn word(text: &str) -> usize {
    let plain = text.find(WHITE).unwrap_or(text.len());
    let mut quoted = false;
    let whole = text.find(|c| {
        quoted ^= c == '"';
        !quoted && WHITE.contains(&c)
    });
    match whole.unwrap_or(text.len()) {
        whole if whole < FOLD && !(quoted && whole == text.len()) => whole,
        _ => plain,
    }
}

fn check_name(name: &str) -> Result<(), HeaderError> {
    let fits = (1..=NAME).contains(&name.len());
    if fits && name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
        return Ok(());
    }
    Err(HeaderError::Name(name.chars().take(NAME).collect()))
}

pub(super) fn refuse_line_breaks(name: &str, value: &str) -> Result<(), HeaderError> {
    if value.contains(['\r', '\n', '\0']) {
        return Err(HeaderError::LineBreak {
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// Header fields in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// No fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the header of a message: everything before the first empty line.
    ///
    /// # Errors
    /// Any [`HeaderError`].
    pub fn of_message(message: &[u8]) -> Result<Self, HeaderError> {
        Self::read(head_and_body(message).0)
    }

    /// Reads fields, each with its CR LF (the last may lack it).
    pub(super) fn read(head: &[u8]) -> Result<Self, HeaderError> {
        if head.len() > limits::HEADERS {
            return Err(HeaderError::TooLarge);
        }
        let mut fields = Vec::new();
        let mut open: Option<(&str, Vec<u8>)> = None;
        for line in lines(head) {
            let line = line?;
            if matches!(line.first(), Some(b' ' | b'\t')) {
                let (_, body) = open.as_mut().ok_or(HeaderError::NotAField)?;
                // a line of white space alone ends the header for some readers and not for others: it says nothing, so it goes
                if !line.iter().all(|b| matches!(b, b' ' | b'\t')) {
                    body.extend_from_slice(b"\r\n");
                    body.extend_from_slice(line);
                }
                continue;
            }
            if let Some((name, body)) = open.take() {
                fields.push(Header::read(name, &body)?);
            }
            let colon = line
                .iter()
                .position(|b| *b == b':')
                .ok_or(HeaderError::NotAField)?;
            let (name, body) = line.split_at_checked(colon).ok_or(HeaderError::NotAField)?;
            let name = std::str::from_utf8(name)
                .map_err(|_| HeaderError::Name(String::from_utf8_lossy(name).chars().take(NAME).collect()))?;
            open = Some((name, body.get(1..).unwrap_or_default().to_vec()));
        }
        if let Some((name, body)) = open {
            fields.push(Header::read(name, &body)?);
        }
        Ok(Self(fields))
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }

    /// The first field of this name.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&Header> {
        self.0.iter().find(|field| field.is(name))
    }

    /// Every field of this name, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Header> {
        self.0.iter().filter(move |field| field.is(name))
    }

    /// Appends a field.
    pub fn push(&mut self, field: Header) {
        self.0.push(field);
    }

    /// Keeps the fields for which `keep` holds.
    pub fn retain(&mut self, keep: impl FnMut(&Header) -> bool) {
        self.0.retain(keep);
    }

    /// The first of `names` that stands more than once.
    pub(super) fn duplicate<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.all(name).nth(1).is_some())
    }

    /// Octets on the wire.
    pub(super) fn octets(&self) -> usize {
        self.0
            .iter()
            .map(|field| field.name.len() + field.body.len() + 3)
            .sum()
    }
}

/// The lines of a header, without their CR LF. CR, LF and NUL anywhere else are errors.
fn lines(head: &[u8]) -> impl Iterator<Item = Result<&[u8], HeaderError>> {
    let mut rest = head;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = find(rest, b"\r\n");
        let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        rest = end.and_then(|end| rest.get(end + 2..)).unwrap_or_default();
        Some(match line {
            _ if line.contains(&0) => Err(HeaderError::Nul),
            _ if line.iter().any(|b| matches!(b, b'\r' | b'\n')) => Err(HeaderError::BareLineEnd),
            _ => Ok(line),
        })
    })
}

/// The header of an entity, with the CR LF of its last line, and its body behind the empty line.
pub(super) fn head_and_body(entity: &[u8]) -> (&[u8], &[u8]) {
    if let Some(body) = entity.strip_prefix(b"\r\n") {
        return (b"", body);
    }
    match find(entity, b"\r\n\r\n") {
        Some(end) => (
            entity.get(..end + 2).unwrap_or_default(),
            entity.get(end + 4..).unwrap_or_default(),
        ),
        None => (entity, b""),
    }
}

/// Where `needle`, which begins with a character that is rare in text, first stands.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let lead = *needle.first()?;
    let mut from = 0;
    loop {
        let at = from + haystack.get(from..)?.iter().position(|b| *b == lead)?;
        if haystack.get(at..)?.starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}
