//! Taking an ordinary message apart: its header, its tree, and each body as decoded octets.

use super::header::{HeaderError, Headers};
use super::model::{Category, Invalid, Origin, Placeholder};
use super::part::{Description, ResourceRef};
use super::structure::Structure;

/// Why a message cannot be split. It can still be sent as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// More parts than [`crate::limits::PARTS`] (THREATS M01).
    #[error("the message has more than {} parts", crate::limits::PARTS)]
    TooManyParts,
    /// Deeper than [`crate::limits::PART_DEPTH`] (THREATS M01).
    #[error("the message is nested deeper than {}", crate::limits::PART_DEPTH)]
    TooDeep,
    /// A header that cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A field that stands twice, or an author that is not one.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Parameters that break RFC 2045 or stand twice (THREATS M02).
    #[error("{field}: the parameters are malformed or stand twice")]
    Parameters {
        /// The field.
        field: &'static str,
    },
    /// CR or LF alone where a boundary begins (THREATS M02).
    #[error("a boundary does not stand on a line of its own")]
    Boundary,
    /// A transfer encoding that nobody here knows.
    #[error("{0:?} is not a transfer encoding")]
    UnknownEncoding(String),
    /// A body that is not what its transfer encoding says (THREATS M02).
    #[error("a body is not in the {0} that it claims")]
    BadEncoding(&'static str),
}

/// A message without its bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The author's fields, in order: without MIME's, Bcc, signatures of the old form, and Cargomail's.
    pub headers: Headers,
    /// The tree over the bodies.
    pub structure: Structure,
    /// The category that the author's client asked for, if any.
    pub category: Option<Category>,
}

/// One body of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// What it is.
    pub description: Description,
    /// Its octets, transfer encoding undone, character set untouched.
    pub octets: Vec<u8>,
}

/// A message taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What stays.
    pub template: Template,
    /// What becomes resources, in the order of the tree's numbers.
    pub bodies: Vec<Body>,
}

/// Takes an ordinary message apart.
///
/// # Errors
/// [`SplitError`].
pub fn split(_message: &[u8]) -> Result<Split, SplitError> {
    todo!()
}

impl Template {
    /// The placeholder, once each body is stored: `parts` in the order of [`Split::bodies`]. Message-ID and Date
    /// must have been added to the headers when the author's client left them out.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn into_placeholder(
        self,
        _origin: Origin,
        _category: Category,
        _parts: Vec<(Description, ResourceRef)>,
    ) -> Result<Placeholder, Invalid> {
        todo!()
    }
}
