//! The frames on a stream, and the decoder that reads them within bounds.
//!
//! A frame is a length (unsigned varint of the octets that follow), one octet that names the frame, and a body. The body
//! of a block is the block; all others are one strict dag-cbor map each. The longest body is known for each name before
//! the body is read, and which names may come is known at every moment ([`Expect`]).

use ::cid::Cid;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use unsigned_varint::encode;

use crate::dag::{CidError, cid, varint};
use crate::fault::{Fault, Faulty, StreamRefusal};
use crate::limits;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Destination: send me these resources.
    Fetch(Fetch),
    /// Origin: I will send them, this is how large they are.
    Granted(Vec<Grant>),
    /// Origin: I will not, or not go on.
    Refused(Refused),
    /// Origin: the next block.
    Block(Bytes),
    /// Origin: that was all.
    End(End),
    /// Destination: token 3, which says that everything is stored.
    Receipt(String),
    /// Origin: the receipt is durable.
    Noted,
}

/// The name of a frame: the octet that stands behind its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Name {
    /// `0x00`
    Block,
    /// `0x01`
    Fetch,
    /// `0x02`
    Granted,
    /// `0x03`
    Refused,
    /// `0x04`
    End,
    /// `0x05`
    Receipt,
    /// `0x06`
    Noted,
}

/// What a fetch says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// Token 2 with token 1 in it, as compact JWS; at most [`limits::TOKEN_CHAIN`].
    pub token: String,
    /// The notification's octets, exactly as they were received; at most [`limits::NOTIFICATION`].
    #[serde(with = "serde_bytes")]
    pub notification: Vec<u8>,
    /// The resources, in the order in which they shall come; at least one, at most [`limits::RESOURCES`], none twice.
    pub wants: Vec<Want>,
}

/// A resource that is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Want {
    /// Its name.
    pub root: Cid,
    /// Leaves of 1 MiB, from the first on, that the destination already holds: see [`crate::dag::Walk::resume`].
    pub skip: u64,
}

/// A resource that is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Its name.
    pub root: Cid,
    /// All its octets.
    pub size: u64,
}

/// A refusal: why, it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Whole seconds to wait before trying again; none means that trying again is no use.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "not_null"
    )]
    pub retry_after: Option<u64>,
}

/// The end of a fetch that was served whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Block frames sent.
    pub blocks: u64,
    /// Octets of all blocks sent, without their framing.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Granted {
    wants: Vec<Grant>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Receipt {
    token: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {}

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

/// Why octets are no frame that may come now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is not a varint in its shortest form, or is zero.
    #[error("a bad length")]
    Length,
    /// No frame has this name.
    #[error("unknown frame {0:#04x}")]
    UnknownName(u8),
    /// This frame may not come now.
    #[error("{0:?} may not come now")]
    Unexpected(Name),
    /// The body is longer than this frame may be now.
    #[error("a body of {length} octets in {name:?}")]
    TooLong {
        /// The frame.
        name: Name,
        /// The octets that were announced.
        length: u64,
    },
    /// The body is not the strict dag-cbor map of this frame.
    #[error("{0:?} is malformed")]
    Malformed(Name),
    /// A want's or a grant's name is not read.
    #[error(transparent)]
    Root(#[from] CidError),
    /// A token or a notification is longer than it may be, or a list has no or too many entries.
    #[error("a field of {0:?} is out of bounds")]
    Bounds(Name),
    /// Octets came when the peer had said everything.
    #[error("octets behind the last frame")]
    Trailing,
    /// A root stands twice in one list.
    #[error("a root stands twice in {0:?}")]
    Twice(Name),
}

impl Faulty for FrameError {
    fn fault(&self) -> Fault {
        match self {
            FrameError::TooLong { .. } | FrameError::Bounds(_) => Fault::TooLarge,
            _ => Fault::Malformed,
        }
    }
}

impl Name {
    /// The octet on the wire.
    #[must_use]
    pub const fn octet(self) -> u8 {
        match self {
            Name::Block => 0,
            Name::Fetch => 1,
            Name::Granted => 2,
            Name::Refused => 3,
            Name::End => 4,
            Name::Receipt => 5,
            Name::Noted => 6,
        }
    }

    fn from_octet(octet: u8) -> Result<Self, FrameError> {
        Ok(match octet {
            0 => Name::Block,
            1 => Name::Fetch,
            2 => Name::Granted,
            3 => Name::Refused,
            4 => Name::End,
            5 => Name::Receipt,
            6 => Name::Noted,
            other => return Err(FrameError::UnknownName(other)),
        })
    }
}

impl From<StreamRefusal> for Refused {
    fn from(refusal: StreamRefusal) -> Self {
        Refused {
            retry_after: refusal.retry_after,
        }
    }
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

impl Frame {
    /// The frame's name.
    #[must_use]
    pub fn name(&self) -> Name {
        match self {
            Frame::Fetch(_) => Name::Fetch,
            Frame::Granted(_) => Name::Granted,
            Frame::Refused(_) => Name::Refused,
            Frame::Block(_) => Name::Block,
            Frame::End(_) => Name::End,
            Frame::Receipt(_) => Name::Receipt,
            Frame::Noted => Name::Noted,
        }
    }

    /// The octets on the wire, as head and body, to be written one after the other: a block is not copied.
    #[must_use]
    pub fn encode(self) -> [Bytes; 2] {
        let name = self.name();
        let body = match self {
            Frame::Block(bytes) => bytes,
            Frame::Fetch(fetch) => cbor(&fetch),
            Frame::Granted(wants) => cbor(&Granted { wants }),
            Frame::Refused(refused) => cbor(&refused),
            Frame::End(end) => cbor(&end),
            Frame::Receipt(token) => cbor(&Receipt { token }),
            Frame::Noted => cbor(&Noted {}),
        };
        let mut head = BytesMut::with_capacity(10);
        let mut varint = encode::u64_buffer();
        head.put_slice(encode::u64(body.len() as u64 + 1, &mut varint));
        head.put_u8(name.octet());
        [head.freeze(), body]
    }

    fn decode(name: Name, body: Bytes) -> Result<Self, FrameError> {
        Ok(match name {
            Name::Block => Frame::Block(body),
            Name::Fetch => Frame::Fetch(check_fetch(strict(name, &body)?)?),
            Name::Granted => {
                let Granted { wants } = strict(name, &body)?;
                check_roots(name, wants.iter().map(|grant| &grant.root))?;
                Frame::Granted(wants)
            }
            Name::Refused => Frame::Refused(strict(name, &body)?),
            Name::End => Frame::End(strict(name, &body)?),
            Name::Receipt => {
                let Receipt { token } = strict(name, &body)?;
                check_token(name, &token)?;
                Frame::Receipt(token)
            }
            Name::Noted => {
                let Noted {} = strict(name, &body)?;
                Frame::Noted
            }
        })
    }
}

fn check_fetch(fetch: Fetch) -> Result<Fetch, FrameError> {
    check_token(Name::Fetch, &fetch.token)?;
    if fetch.notification.len() > limits::NOTIFICATION {
        return Err(FrameError::Bounds(Name::Fetch));
    }
    check_roots(Name::Fetch, fetch.wants.iter().map(|want| &want.root))?;
    Ok(fetch)
}

fn check_token(name: Name, token: &str) -> Result<(), FrameError> {
    if token.len() > limits::TOKEN_CHAIN {
        return Err(FrameError::Bounds(name));
    }
    Ok(())
}

fn check_roots<'a>(name: Name, roots: impl ExactSizeIterator<Item = &'a Cid>) -> Result<(), FrameError> {
    if roots.len() == 0 || roots.len() > limits::RESOURCES {
        return Err(FrameError::Bounds(name));
    }
    let mut seen = std::collections::HashSet::with_capacity(roots.len());
    for root in roots {
        cid::check(root)?;
        if !seen.insert(root) {
            return Err(FrameError::Twice(name));
        }
    }
    Ok(())
}

fn cbor<T: Serialize>(value: &T) -> Bytes {
    serde_ipld_dagcbor::to_vec(value)
        .expect("maps of texts, octets, numbers and CIDs are dag-cbor")
        .into()
}

/// Reads a control frame's body, and refuses what would be written otherwise: one meaning has one form.
fn strict<T: DeserializeOwned + Serialize>(name: Name, body: &Bytes) -> Result<T, FrameError> {
    let value = serde_ipld_dagcbor::from_slice(body).map_err(|_| FrameError::Malformed(name))?;
    if cbor(&value) != body {
        return Err(FrameError::Malformed(name));
    }
    Ok(value)
}

fn not_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
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
