//! The payload of a journal record: one commit.
//!
//! Version, 8 octets, and number of operations, 4; then for each operation its CRC32C, kind (1), length of the key (2) and of
//! the value (4), the key and the value. All numbers are big-endian. Each operation checks for itself, so a value is read
//! and checked alone, and damage in one value leaves the others of its commit readable.

use std::ops::Range;

use bytes::Bytes;

use super::{Op, Version};

const HEAD: usize = 12;
const OP_HEAD: usize = 11;
const DELETE: u8 = 0;
const PUT: u8 = 1;

/// A commit that was read: its version, and where its operations lie within the payload.
pub(super) struct Commit {
    pub(super) version: Version,
    pub(super) ops: Vec<Range<usize>>,
}

/// Octets of a commit.
pub(super) fn size(ops: &[Op]) -> usize {
    let octets = |op: &Op| match op {
        Op::Put(key, value) => OP_HEAD + key.len() + value.len(),
        Op::Delete(key) => OP_HEAD + key.len(),
    };
    HEAD + ops.iter().map(octets).sum::<usize>()
}

/// A commit as it is written, and where its operations lie within it.
pub(super) fn encode(version: Version, ops: &[Op]) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut payload = Vec::with_capacity(size(ops));
    payload.extend_from_slice(&version.to_be_bytes());
    payload.extend_from_slice(&(ops.len() as u32).to_be_bytes());
    let mut ranges = Vec::with_capacity(ops.len());
    for op in ops {
        let from = payload.len();
        let (kind, key, value) = match op {
            Op::Put(key, value) => (PUT, key, value.as_ref()),
            Op::Delete(key) => (DELETE, key, [].as_slice()),
        };
        payload.extend_from_slice(&[0; 4]);
        payload.push(kind);
        payload.extend_from_slice(&(key.len() as u16).to_be_bytes());
        payload.extend_from_slice(&(value.len() as u32).to_be_bytes());
        payload.extend_from_slice(key.as_bytes());
        payload.extend_from_slice(value);
        let crc = crc32c::crc32c(&payload[from + 4..]);
        payload[from..from + 4].copy_from_slice(&crc.to_be_bytes());
        ranges.push(from..payload.len());
    }
    (payload, ranges)
}

/// The outline of a commit, by its lengths alone; none when they do not add up.
pub(super) fn outline(payload: &[u8]) -> Option<Commit> {
    let (version, rest) = payload.split_first_chunk()?;
    let (count, _) = rest.split_first_chunk()?;
    let count = u32::from_be_bytes(*count) as usize;
    let mut ops = Vec::with_capacity(count.min(payload.len() / OP_HEAD));
    let mut at = HEAD;
    for _ in 0..count {
        let (_, _, key, value) = head(payload.get(at..)?)?;
        let end = at.checked_add(OP_HEAD + key + value)?;
        ops.push(at..end);
        at = end;
    }
    (at == payload.len()).then_some(Commit {
        version: u64::from_be_bytes(*version),
        ops,
    })
}

/// An operation, if it checks.
pub(super) fn decode(octets: &Bytes) -> Option<Op> {
    let (crc, _, length, _) = head(octets)?;
    if crc != crc32c::crc32c(octets.get(4..)?) {
        return None;
    }
    unchecked(octets).map(|(kind, key)| match kind {
        DELETE => Op::Delete(key),
        _ => Op::Put(key, octets.slice(OP_HEAD + length..)),
    })
}

/// What an operation does to which key, whether it checks or not.
pub(super) fn subject(octets: &[u8]) -> Option<(bool, String)> {
    unchecked(octets).map(|(kind, key)| (kind == PUT, key))
}

fn unchecked(octets: &[u8]) -> Option<(u8, String)> {
    let (_, kind, key, value) = head(octets)?;
    let key = octets
        .get(OP_HEAD..OP_HEAD + key)
        .filter(|key| octets.len() == OP_HEAD + key.len() + value)?;
    let key = std::str::from_utf8(key).ok()?;
    matches!(kind, PUT | DELETE).then(|| (kind, key.to_owned()))
}

/// Checksum, kind, length of the key, length of the value.
fn head(octets: &[u8]) -> Option<(u32, u8, usize, usize)> {
    let (crc, rest) = octets.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (key, rest) = rest.split_first_chunk()?;
    let (value, _) = rest.split_first_chunk()?;
    Some((
        u32::from_be_bytes(*crc),
        *kind,
        usize::from(u16::from_be_bytes(*key)),
        u32::from_be_bytes(*value) as usize,
    ))
}
