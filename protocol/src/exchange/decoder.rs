//! The decoder: cuts a stream into frames, and judges each by its head before its body is read.
//!
//! Which frames may come is known at every moment ([`Expect`]), and how long each may be.

use bytes::{Buf, BytesMut};

use super::frame::{Frame, FrameError, Name};
use crate::dag::varint;
use crate::limits;

/// Which frames may come now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The first frame at an origin: fetch or receipt.
    Request,
    /// The answer to a fetch: granted or refused.
    Answer,
    /// A block of at most so many octets, or refused.
    Block(usize),
    /// End or refused.
    End,
    /// The answer to a receipt: noted or refused.
    Noted,
    /// None: the peer has said everything.
    Nothing,
}

impl Expect {
    /// The longest body that a frame may have now; none when it may not come.
    fn longest(self, name: Name) -> Option<usize> {
        match (self, name) {
            (Expect::Request, Name::Fetch) => Some(limits::FETCH_FRAME),
            (Expect::Request, Name::Receipt) => Some(limits::CONTROL_FRAME),
            (Expect::Answer, Name::Granted) => Some(limits::GRANTED_FRAME),
            (Expect::Block(longest), Name::Block) => Some(longest.min(limits::BLOCK)),
            (Expect::End, Name::End) | (Expect::Noted, Name::Noted) => Some(limits::CONTROL_FRAME),
            (Expect::Answer | Expect::Block(_) | Expect::End | Expect::Noted, Name::Refused) => {
                Some(limits::CONTROL_FRAME)
            }
            _ => None,
        }
    }

    pub(super) fn check(self, name: Name) -> Result<(), FrameError> {
        self.longest(name).map(drop).ok_or(FrameError::Unexpected(name))
    }
}

/// Cuts a stream of octets into frames. Octets are pushed as they come; [`poll`](Decoder::poll) until it gives none, then
/// push more: then it never holds more than one frame and what was pushed behind it.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next octets.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Whether no octet waits: a stream that ends otherwise ends within a frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next frame, once it is whole.
    ///
    /// # Errors
    /// A [`FrameError`] as soon as the head shows that no right frame follows. The stream is of no further use.
    pub fn poll(&mut self, expect: Expect) -> Result<Option<Frame>, FrameError> {
        if expect == Expect::Nothing {
            return if self.is_empty() {
                Ok(None)
            } else {
                Err(FrameError::Trailing)
            };
        }
        let Some(Head { name, length, octets }) = self.head(expect)? else {
            return Ok(None);
        };
        let whole = octets + length;
        if self.buffer.len() < whole {
            self.make_room(name, whole);
            return Ok(None);
        }
        self.buffer.advance(octets);
        let body = self.buffer.split_to(length).freeze();
        Frame::decode(name, body).map(Some)
    }

    /// A block gets its room at once: who reads blocks asked for them. Other bodies grow as they come, so that a
    /// stranger's claim of a megabyte costs nothing.
    fn make_room(&mut self, name: Name, whole: usize) {
        const STEP: usize = 64 * 1024;
        let missing = whole - self.buffer.len();
        let room = match name {
            Name::Block => missing,
            _ => missing.min(STEP.max(self.buffer.len())),
        };
        self.buffer.reserve(room);
    }

    /// Reads length and name and judges both; none while they are incomplete.
    fn head(&self, expect: Expect) -> Result<Option<Head>, FrameError> {
        let Some((length, rest)) = varint::read(&self.buffer).map_err(|_| FrameError::Length)? else {
            return Ok(None);
        };
        let length = length.checked_sub(1).ok_or(FrameError::Length)?;
        let Some(octet) = rest.first() else {
            return Ok(None);
        };
        let name = Name::from_octet(*octet)?;
        let longest = expect.longest(name).ok_or(FrameError::Unexpected(name))?;
        let octets = self.buffer.len() - rest.len() + 1;
        match usize::try_from(length) {
            Ok(fits) if fits <= longest => Ok(Some(Head {
                name,
                length: fits,
                octets,
            })),
            _ => Err(FrameError::TooLong { name, length }),
        }
    }
}

/// What a machine of the destination hears from its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A frame that [`Decoder::poll`] gave.
    Frame(Frame),
    /// An error that [`Decoder::poll`] gave.
    Malformed(FrameError),
    /// The stream ended, broke, or was too slow.
    Ended,
}

/// What stands before a body.
struct Head {
    name: Name,
    /// Octets of the body.
    length: usize,
    /// Octets of the head.
    octets: usize,
}
