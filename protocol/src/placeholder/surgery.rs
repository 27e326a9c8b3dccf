//! Changing header fields of a raw message and nothing else, byte for byte: what the broker does on the way.
//!
//! It understands as little of a message as it can: every line up to the first empty one belongs to the header, also
//! where a line is no field, so that no reader sees a field that was looked for here and not found.

use super::DESTINATION;
use super::header::{Header, HeaderError};
use crate::address::Locator;

/// The message without any of the fields for which `remove` holds of the name and the raw body; folded lines go with
/// their field.
///
/// # Errors
/// [`HeaderError::BareLineEnd`] and [`HeaderError::Nul`]: readers disagree on where such a field ends.
/// [`HeaderError::NotAField`]: the first line would continue whatever is put above it.
pub fn without(message: &[u8], mut remove: impl FnMut(&str, &[u8]) -> bool) -> Result<Vec<u8>, HeaderError> {
    refuse_loose_beginning(message)?;
    let head = head_length(message);
    let (head, body) = message.split_at(head);
    let bare = |(at, b): (usize, &u8)| match b {
        b'\r' => head.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || head.get(at - 1) != Some(&b'\r'),
        _ => false,
    };
    if head.iter().enumerate().any(bare) {
        return Err(HeaderError::BareLineEnd);
    }
    if head.contains(&0) {
        return Err(HeaderError::Nul);
    }
    let mut out = Vec::with_capacity(message.len());
    for field in raw_fields(head) {
        let hit = name_and_body(field).is_some_and(|(name, body)| remove(name, body));
        if !hit {
            out.extend_from_slice(field);
        }
    }
    out.extend_from_slice(body);
    Ok(out)
}

/// The message without any destination field, whoever wrote it: what comes from outside says nothing about where
/// the resources are.
///
/// # Errors
/// Those of [`without`].
pub fn without_destination(message: &[u8]) -> Result<Vec<u8>, HeaderError> {
    without(message, |name, _| name.eq_ignore_ascii_case(DESTINATION))
}

/// The message with this destination field and no other, on top.
///
/// # Errors
/// Those of [`without`].
pub fn with_destination(message: &[u8], destination: &Locator) -> Result<Vec<u8>, HeaderError> {
    let field = Header::folded(DESTINATION, destination.as_str())?;
    with_on_top(&without_destination(message)?, &[field])
}

/// The message with these fields on top, in this order: Received, Authentication-Results.
///
/// # Errors
/// [`HeaderError::NotAField`]: the first line would continue the last of them.
pub fn with_on_top(message: &[u8], fields: &[Header]) -> Result<Vec<u8>, HeaderError> {
    refuse_loose_beginning(message)?;
    let mut out = Vec::with_capacity(message.len() + fields.len() * 200);
    for field in fields {
        field.write(&mut out);
    }
    out.extend_from_slice(message);
    Ok(out)
}

fn refuse_loose_beginning(message: &[u8]) -> Result<(), HeaderError> {
    match message.first() {
        Some(b' ' | b'\t') => Err(HeaderError::NotAField),
        _ => Ok(()),
    }
}

/// Octets up to the first empty line, without it.
fn head_length(message: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = message.get(at..).unwrap_or_default();
        if rest.is_empty() || rest.starts_with(b"\r\n") {
            return at;
        }
        match rest.iter().position(|b| *b == b'\n') {
            Some(end) => at += end + 1,
            None => return message.len(),
        }
    }
}

/// Whether the header of a message has a field of this name, however its lines end. Never fails.
pub(super) fn has(message: &[u8], wanted: &str) -> bool {
    let mut rest = message;
    loop {
        let end = rest
            .iter()
            .position(|b| *b == b'\n')
            .map_or(rest.len(), |at| at + 1);
        let (line, tail) = rest.split_at(end);
        if matches!(line, b"" | b"\n" | b"\r\n") {
            return false;
        }
        if name_and_body(line).is_some_and(|(name, _)| name.eq_ignore_ascii_case(wanted)) {
            return true;
        }
        rest = tail;
    }
}

/// Fields with their continuations and line ends; what is no field comes as it is.
fn raw_fields(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = 0;
        loop {
            let tail = rest.get(end..).unwrap_or_default();
            if end > 0 && !matches!(tail.first(), Some(b' ' | b'\t')) {
                break;
            }
            end += tail
                .iter()
                .position(|b| *b == b'\n')
                .map_or(tail.len(), |at| at + 1);
            if end == rest.len() {
                break;
            }
        }
        let (field, tail) = rest.split_at(end);
        rest = tail;
        Some(field)
    })
}

/// White space around the name is passed (RFC 5322 §4.5), so that it hides no field.
fn name_and_body(field: &[u8]) -> Option<(&str, &[u8])> {
    let colon = field.iter().position(|b| *b == b':')?;
    let name = std::str::from_utf8(field.get(..colon)?).ok()?;
    Some((name.trim_matches([' ', '\t']), field.get(colon + 1..)?))
}
