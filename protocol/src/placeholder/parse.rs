//! Reading a placeholder, leniently where the specification lists it, and refusing what is ambiguous.

use super::header::HeaderError;
use super::model::{CategoryError, Invalid, Placeholder};
use super::structure::StructureError;
use crate::address::NameError;

/// Why a message that claims to be a placeholder is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Larger than [`crate::limits::PLACEHOLDER`].
    #[error("the placeholder is larger than {} octets", crate::limits::PLACEHOLDER)]
    TooLarge,
    /// More parts than [`crate::limits::RESOURCES`].
    #[error("the placeholder has more than {} parts", crate::limits::RESOURCES)]
    TooManyParts,
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The header can be read and is not a placeholder's.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A locator is none.
    #[error("{field}: {error}")]
    Locator {
        /// The field.
        field: &'static str,
        /// What is wrong in it.
        error: NameError,
    },
    /// The category is none.
    #[error(transparent)]
    Category(#[from] CategoryError),
    /// The expiry is not a date.
    #[error("{0:?} is not an expiry")]
    Expiry(String),
    /// The structure is ambiguous.
    #[error(transparent)]
    Structure(#[from] StructureError),
    /// Parameters that break RFC 2045 or stand twice (THREATS M02).
    #[error("{field}: the parameters are malformed or stand twice")]
    Parameters {
        /// The field.
        field: &'static str,
    },
    /// The body is not a flat multipart/mixed with its close delimiter.
    #[error("the body is not a flat multipart/mixed")]
    NotMixed,
    /// Lines that one reader takes for the end of a part and another does not (THREATS M01, M02).
    #[error("the boundary is ambiguous")]
    Boundary,
    /// An external-body part lacks something or says it wrongly; parts count from 1.
    #[error("part {part}: {what}")]
    Part {
        /// Which part, counted from 1.
        part: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The JSON form cannot be read.
    #[error("the JSON form is malformed")]
    Json,
}

/// Whether a message claims to be a placeholder: whether its header has the origin field. Cheap, never fails.
#[must_use]
pub fn is_placeholder(_message: &[u8]) -> bool {
    todo!()
}

pub(super) fn parse(_message: &[u8]) -> Result<Option<Placeholder>, Broken> {
    todo!()
}
