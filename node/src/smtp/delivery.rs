//! A message on its way out: what its octets are, what it needs of the next server, and what became of it.

use bytes::Bytes;
use cargomail_protocol::address::Address;
use cargomail_protocol::channel::StatusCode;

/// A message with its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The reverse path; none for `<>`.
    pub sender: Option<Address>,
    /// The forward paths.
    pub recipients: Vec<Address>,
    /// The message; its lines end with CR LF.
    pub message: Bytes,
}

/// What the next server said of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It has the message, and the duty.
    Accepted,
    /// Never.
    Refused {
        /// Why, by RFC 3463.
        status: StatusCode,
        /// The server's words.
        text: String,
    },
    /// Not now.
    Later {
        /// The server's words.
        text: String,
    },
}

/// Octets that are not sent, because servers differ in what they make of them (row S02).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unclean {
    /// A CR without LF, or a LF without CR.
    #[error("a CR or LF that is not a line's end")]
    LineEnd,
    /// A NUL.
    #[error("a NUL")]
    Nul,
}

/// What the next server must offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Needs {
    /// Octets above 127 anywhere: 8BITMIME.
    pub(super) eight_bit: bool,
    /// Octets above 127 in the header, or in the sender's address: SMTPUTF8.
    pub(super) utf8: bool,
}

impl Needs {
    /// What the delivery needs, when it can be sent at all.
    pub(super) fn of(delivery: &Delivery) -> Result<Self, Unclean> {
        let mut needs = Self {
            eight_bit: false,
            utf8: delivery
                .sender
                .as_ref()
                .is_some_and(|sender| !sender.local().is_ascii()),
        };
        let mut header = true;
        for line in delivery.message.split_inclusive(|octet| *octet == b'\n') {
            let text = match line.strip_suffix(b"\n") {
                Some(text) => text.strip_suffix(b"\r").ok_or(Unclean::LineEnd)?,
                None => line,
            };
            for octet in text {
                match octet {
                    0 => return Err(Unclean::Nul),
                    b'\r' => return Err(Unclean::LineEnd),
                    128.. => {
                        needs.eight_bit = true;
                        needs.utf8 |= header;
                    }
                    _ => {}
                }
            }
            header &= !text.is_empty();
        }
        Ok(needs)
    }
}

/// The message as DATA carries it: dots at the beginning of a line are doubled, the last line has its end, and then a dot
/// alone (RFC 5321 §4.5.2). In pieces, none of them copied.
pub(super) fn stuffed(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ended = message.is_empty() || message.ends_with(b"\r\n");
    let end: &[u8] = if ended { b".\r\n" } else { b"\r\n.\r\n" };
    let mut rest = message;
    let mut first = true;
    let pieces = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if first && rest.starts_with(b".") {
            first = false;
            return Some(b".".as_slice());
        }
        // Up to the next line that begins with a dot; the doubled dot is the piece behind it.
        let dot = rest.windows(2).position(|pair| pair == b"\n.");
        let (piece, behind) = rest.split_at(dot.map_or(rest.len(), |at| at + 1));
        rest = behind;
        first = true;
        Some(piece)
    });
    pieces.chain([end])
}

#[cfg(test)]
mod tests;
