//! The lists `packs/dropped.txt` and `journal/dropped.txt`: which files compaction has removed, so that those that are missing are told
//! from those that are not wanted any more. A number is in the list before its file is removed.
//!
//! A line `from to` for each run of numbers, and last the CRC32C of these lines. A list that does not check counts for none: then
//! more is reported missing than is, never less.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::StoreError;
use super::folder::{io_error, is_unreadable, replace};
use super::log::Log;

/// The numbers in the list.
#[derive(Debug, Default)]
pub(super) struct Dropped(BTreeSet<u32>);

impl Dropped {
    pub(super) fn read(log: &Log) -> Result<Self, StoreError> {
        let path = path(log);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData || is_unreadable(&error) => {
                String::new()
            }
            Err(error) => return Err(io_error(&path)(error)),
        };
        Ok(parse(&text).unwrap_or_else(|| {
            tracing::warn!(path = %path.display(), "the list of files that were removed does not check and is not used");
            Self::default()
        }))
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.0.contains(&number)
    }

    /// Adds a number, durable on return.
    pub(super) fn add(&mut self, log: &Log, number: u32) -> Result<(), StoreError> {
        self.0.insert(number);
        replace(&path(log), print(&self.0).as_bytes())
    }
}

fn path(log: &Log) -> PathBuf {
    log.folder().join("dropped.txt")
}

fn print(numbers: &BTreeSet<u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, to)) if to.checked_add(1) == Some(*number) => *to = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let lines: String = runs.iter().map(|(from, to)| format!("{from} {to}\n")).collect();
    let crc = crc32c::crc32c(lines.as_bytes());
    format!("{lines}{crc:08x}\n")
}

fn parse(text: &str) -> Option<Dropped> {
    let text = text.strip_suffix('\n')?;
    let (lines, crc) = text.split_at(text.rfind('\n').map_or(0, |at| at + 1));
    if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(lines.as_bytes()) {
        return None;
    }
    let mut numbers = BTreeSet::new();
    for line in lines.lines() {
        let (from, to) = line.split_once(' ')?;
        numbers.extend(from.parse::<u32>().ok()?..=to.parse().ok()?);
    }
    Some(Dropped(numbers))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{parse, print};

    #[test]
    fn the_list_is_read_as_it_was_written_and_not_otherwise() {
        for numbers in [vec![], vec![7], vec![1, 2, 3, 5, 9, 10, u32::MAX]] {
            let text = print(&numbers.iter().copied().collect());
            assert_eq!(parse(&text).unwrap().0.into_iter().collect::<Vec<_>>(), numbers);
            let spoilt = text.replacen(|digit: char| digit.is_ascii_digit(), "4", 1);
            assert!(spoilt == text || parse(&spoilt).is_none(), "{spoilt}");
        }
        assert!(parse("").is_none());
    }
}
