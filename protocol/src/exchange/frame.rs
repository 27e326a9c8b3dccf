//! The frames on a stream: what each says, and its octets.
//!
//! A frame is a length (unsigned varint of the octets that follow), one octet that names the frame, and a body. The body
//! of a block is the block; all others are one strict dag-cbor map each.

use ::cid::Cid;
use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use unsigned_varint::encode;

use crate::dag::{CidError, Octets, cid};
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
    Block(Octets),
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
    /// The resources, in the order in which they shall come; at most [`limits::RESOURCES`], none twice. Without
    /// any, only the permission is asked for, for everything that the notification names.
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

    pub(super) fn from_octet(octet: u8) -> Result<Self, FrameError> {
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
            Frame::Block(octets) => octets.into_bytes(),
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

    pub(super) fn decode(name: Name, body: Bytes) -> Result<Self, FrameError> {
        Ok(match name {
            Name::Block => Frame::Block(body.into()),
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
    if roots.len() > limits::RESOURCES {
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
