//! The payload of a journal record: one commit.
//!
//! Version, 8 octets, and number of operations, 4; then for each operation its CRC32C, kind (1), length of the key (2) and of
//! the value (4), the key and the value. All numbers are big-endian. Each operation checks for itself, so a value is read
//! and checked alone, and damage in one value leaves the others of its commit readable.
//!
//! An operation of the kind *carried* changes nothing: compaction repeats a record of an older file with the version that it has,
//! which stands in 8 octets before the value.

use std::ops::Range;

use bytes::Bytes;

use super::{Key, Op, Version};

const HEAD: usize = 12;
const OP_HEAD: usize = 11;
const DELETE: u8 = 0;
const PUT: u8 = 1;
const CARRIED: u8 = 2;
/// Octets of the version before a carried value.
const OLD: usize = 8;

/// A record that compaction repeats.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub(super) key: Key,
    /// Of the commit that wrote it.
    pub(super) version: Version,
    pub(super) value: Bytes,
}

/// What an operation says of a record, whether its value checks or not.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// It is here, and was written by this commit.
    Put(Key),
    /// It is here, and was written by that one.
    Carried(Key, Version),
    /// It is gone.
    Delete(Key),
}

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
    let ops = ops.iter().map(|op| match op {
        Op::Put(key, value) => (PUT, key, [value.as_ref(), &[]]),
        Op::Delete(key) => (DELETE, key, [[].as_slice(), &[]]),
    });
    write(version, ops)
}

/// A commit that carries records on, and where they lie within it.
pub(super) fn encode_carried(version: Version, records: &[&Carried]) -> (Vec<u8>, Vec<Range<usize>>) {
    let old: Vec<_> = records
        .iter()
        .map(|record| record.version.to_be_bytes())
        .collect();
    let ops = records
        .iter()
        .zip(&old)
        .map(|(record, old)| (CARRIED, &record.key, [old.as_slice(), &record.value]));
    write(version, ops)
}

/// Kind, key, and the value in two parts.
type Written<'a> = (u8, &'a Key, [&'a [u8]; 2]);

fn write<'a>(
    version: Version,
    ops: impl ExactSizeIterator<Item = Written<'a>>,
) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut payload = Vec::new();
    payload.extend_from_slice(&version.to_be_bytes());
    payload.extend_from_slice(&(ops.len() as u32).to_be_bytes());
    let mut ranges = Vec::with_capacity(ops.len());
    for (kind, key, value) in ops {
        let from = payload.len();
        let length: usize = value.iter().map(|part| part.len()).sum();
        payload.reserve(OP_HEAD + key.len() + length);
        payload.extend_from_slice(&[0; 4]);
        payload.push(kind);
        payload.extend_from_slice(&(key.len() as u16).to_be_bytes());
        payload.extend_from_slice(&(length as u32).to_be_bytes());
        payload.extend_from_slice(key.as_bytes());
        value.iter().for_each(|part| payload.extend_from_slice(part));
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

/// An operation, if it checks; what was carried is as it was put.
pub(super) fn decode(octets: &Bytes) -> Option<Op> {
    if !checks(octets) {
        return None;
    }
    let (_, _, length, _) = head(octets)?;
    let value = OP_HEAD + length;
    Some(match subject(octets)? {
        Subject::Delete(key) => Op::Delete(key),
        Subject::Put(key) => Op::Put(key, octets.slice(value..)),
        Subject::Carried(key, _) => Op::Put(key, octets.slice(value + OLD..)),
    })
}

/// Whether an operation is as it was written.
pub(super) fn checks(octets: &[u8]) -> bool {
    octets
        .split_first_chunk()
        .is_some_and(|(crc, rest)| u32::from_be_bytes(*crc) == crc32c::crc32c(rest))
}

/// What an operation says of which record, whether it checks or not.
pub(super) fn subject(octets: &[u8]) -> Option<Subject> {
    let (_, kind, key, value) = head(octets)?;
    let (key, rest) = octets.get(OP_HEAD..)?.split_at_checked(key)?;
    let key = std::str::from_utf8(key)
        .ok()
        .filter(|_| rest.len() == value)?
        .to_owned();
    match kind {
        DELETE => Some(Subject::Delete(key)),
        PUT => Some(Subject::Put(key)),
        CARRIED => {
            let (old, _) = rest.split_first_chunk::<OLD>()?;
            Some(Subject::Carried(key, Version::from_be_bytes(*old)))
        }
        _ => None,
    }
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
