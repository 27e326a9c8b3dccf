//! Changing header fields of a raw message and nothing else, byte for byte: what the broker does on the way.

use super::header::{Header, HeaderError};
use crate::address::Locator;

/// The message without any of the fields for which `remove` holds of the name and the raw body; folded lines go with
/// their field.
///
/// # Errors
/// [`HeaderError::BareLineEnd`] and [`HeaderError::Nul`]: readers disagree on where such a field ends.
pub fn without(_message: &[u8], _remove: impl FnMut(&str, &[u8]) -> bool) -> Result<Vec<u8>, HeaderError> {
    todo!()
}

/// The message without any destination field, whoever wrote it: what comes from outside says nothing about where
/// the resources are.
///
/// # Errors
/// Those of [`without`].
pub fn without_destination(_message: &[u8]) -> Result<Vec<u8>, HeaderError> {
    todo!()
}

/// The message with this destination field and no other, on top.
///
/// # Errors
/// Those of [`without`].
pub fn with_destination(_message: &[u8], _destination: &Locator) -> Result<Vec<u8>, HeaderError> {
    todo!()
}

/// The message with these fields on top, in this order: Received, Authentication-Results.
#[must_use]
pub fn with_on_top(_message: &[u8], _fields: &[Header]) -> Vec<u8> {
    todo!()
}
