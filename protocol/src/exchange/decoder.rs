//! The decoder: cuts a stream into frames, and judges each by its head before its body is read.
//!
//! Which frames may come is known at every moment ([`Expect`]), and how long each may be.

use bytes::{Buf, BytesMut};
use sha2::{Digest, Sha256};

use super::frame::{Frame, FrameError, Name};
use crate::dag::{Octets, varint};
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

/// Cuts a stream of octets into frames. Octets are read into its [`room`](Decoder::room), or pushed as they come;
/// [`poll`](Decoder::poll) until it gives none, then bring more: then it never holds more than one frame and what came
/// behind it.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What came, and behind it room for more.
    buffer: BytesMut,
    /// Octets that came.
    filled: usize,
    /// Octets that the frame under way needs, as far as it is known; 0 before its head came.
    wanted: usize,
    /// Of the large block under way.
    hashing: Option<Hashing>,
}

/// A block that is hashed while it comes: what came is in the processor's cache still.
#[derive(Debug, Default)]
struct Hashing {
    hash: Sha256,
    /// Octets of the block that are in it.
    octets: usize,
}

impl Hashing {
    /// Takes in what came since, of all that came.
    fn go_on(&mut self, block: &[u8]) {
        let fresh = block.get(self.octets..).unwrap_or_default();
        self.hash.update(fresh);
        self.octets += fresh.len();
    }
}

/// Octets of room when it is not known how long the next frame is.
const PIECE: usize = 64 * 1024;
/// Octets before the body of a block at most: a length below 2^28, and the name.
const HEAD: usize = 5;

impl Decoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next octets.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.truncate(self.filled);
        self.buffer.extend_from_slice(octets);
        self.filled = self.buffer.len();
    }

    /// Room for the next octets, never none: read them into its beginning, then say [how many](Decoder::fill) they were. It
    /// ends where the frame under way ends, if that is known, so that a block is never moved.
    pub fn room(&mut self) -> &mut [u8] {
        let end = match self.wanted {
            0 => self.filled + PIECE,
            wanted => wanted.max(self.filled + 1),
        };
        if self.buffer.len() != end {
            self.buffer.resize(end, 0);
        }
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    /// So many octets were read into the [`room`](Decoder::room).
    pub fn fill(&mut self, octets: usize) {
        self.filled = self.filled.saturating_add(octets).min(self.buffer.len());
    }

    /// Whether no octet waits: a stream that ends otherwise ends within a frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    fn octets(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
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
            self.wanted = self.before_the_head(expect);
            return Ok(None);
        };
        let whole = octets + length;
        if self.filled < whole {
            self.wanted = self.wanted_of(name, whole);
            if name == Name::Block && length >= PIECE {
                let came = self.buffer.get(octets..self.filled).unwrap_or_default();
                self.hashing.get_or_insert_default().go_on(came);
            }
            return Ok(None);
        }
        self.buffer.advance(octets);
        let body = self.buffer.split_to(length).freeze();
        self.filled -= whole;
        self.wanted = 0;
        match self.hashing.take() {
            Some(mut hashing) => {
                hashing.go_on(&body);
                Ok(Some(Frame::Block(Octets::hashed(body, hashing.hash))))
            }
            None => Frame::decode(name, body).map(Some),
        }
    }

    /// A large block that is expected gets its room before even its head came: then nothing of it is ever moved. With small
    /// ones, several come at a time.
    fn before_the_head(&self, expect: Expect) -> usize {
        match expect {
            Expect::Block(longest) if longest >= PIECE => longest.min(limits::BLOCK) + HEAD,
            _ => 0,
        }
    }

    /// A block gets its room at once: who reads blocks asked for them. Other bodies grow as they come, so that a
    /// stranger's claim of a megabyte costs nothing.
    fn wanted_of(&self, name: Name, whole: usize) -> usize {
        let missing = whole - self.filled;
        match name {
            Name::Block if missing < PIECE => 0,
            Name::Block => whole,
            _ => self.filled + missing.min(PIECE.max(self.filled)),
        }
    }

    /// Reads length and name and judges both; none while they are incomplete.
    fn head(&self, expect: Expect) -> Result<Option<Head>, FrameError> {
        let Some((length, rest)) = varint::read(self.octets()).map_err(|_| FrameError::Length)? else {
            return Ok(None);
        };
        let length = length.checked_sub(1).ok_or(FrameError::Length)?;
        let Some(octet) = rest.first() else {
            return Ok(None);
        };
        let name = Name::from_octet(*octet)?;
        let longest = expect.longest(name).ok_or(FrameError::Unexpected(name))?;
        let octets = self.filled - rest.len() + 1;
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
