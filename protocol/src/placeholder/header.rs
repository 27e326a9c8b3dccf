//! Header fields (RFC 5322 §2.2) that cannot break out of their field.
//!
//! A field is kept as it was written, folding included, so that a message keeps the author's header byte for byte.
//! Always: a name is 1 to 76 printable ASCII characters other than the colon; a body holds no NUL, no CR or LF
//! other than in a folding that is followed by a line with something on it, and no line above 998 octets.

/// Why a header field was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name is empty, too long, or holds something other than printable ASCII.
    #[error("{0:?} is not a header field name")]
    Name(String),
    /// CR, LF or NUL in a value: somebody tries to write a field of their own (THREATS S03).
    #[error("the value of {name} holds a line break or NUL")]
    LineBreak {
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
    /// More than [`crate::limits::HEADERS`] octets of fields.
    #[error("the header is larger than {} octets", crate::limits::HEADERS)]
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
    pub fn new(_name: &str, _text: &str) -> Result<Self, HeaderError> {
        todo!()
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
        todo!()
    }

    /// The body as a person reads it: unfolded, encoded words decoded, control characters left out.
    #[must_use]
    pub fn text(&self) -> String {
        todo!()
    }
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
    pub fn of_message(_message: &[u8]) -> Result<Self, HeaderError> {
        todo!()
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
}
