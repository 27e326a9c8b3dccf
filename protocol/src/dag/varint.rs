//! Unsigned varints (multiformats), read strictly: shortest form, at most nine octets, so below 2^63.

use unsigned_varint::decode::{self, Error};

/// The longest form (github.com/multiformats/unsigned-varint).
const LONGEST: usize = 9;

/// Reads a number and gives the octets behind it; none when it is not whole yet.
///
/// # Errors
/// When it is not in its shortest form or too long.
pub(crate) fn read(octets: &[u8]) -> Result<Option<(u64, &[u8])>, NotShortest> {
    match decode::u64(octets.get(..LONGEST).unwrap_or(octets)) {
        Ok((number, within)) => {
            let used = octets.len().min(LONGEST) - within.len();
            Ok(octets.get(used..).map(|rest| (number, rest)))
        }
        Err(Error::Insufficient) if octets.len() < LONGEST => Ok(None),
        Err(_) => Err(NotShortest),
    }
}

/// A number that is not in its shortest form, or above 2^63 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotShortest;
