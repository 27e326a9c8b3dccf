//! What all packs together say of every block, in ascending order: the last word of each pack, and of these the latest.
//!
//! What always holds: memory does not grow with the packs; a few octets of each index are held.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::StoreError;
use super::folder::{io_error, is_unreadable};
use super::frame::Digest;
use super::log::Log;
use super::scan::Damage;
use super::seal::{self, ENTRY, Last};

/// Octets of all indexes that are held together.
const HELD: usize = 8 * 1024 * 1024;
/// Entries of one index that are read at once, at most and at least.
const PAGE: (usize, usize) = (1024, 16);

/// The last words of one pack, ascending.
enum Source<'a> {
    /// Of one that has no index.
    Read(std::vec::IntoIter<Last>),
    /// Of one whose index checked.
    Index(Pages<'a>),
}

impl Source<'_> {
    fn next(&mut self) -> Result<Option<Last>, StoreError> {
        let pages = match self {
            Source::Read(entries) => return Ok(entries.next()),
            Source::Index(pages) => pages,
        };
        match pages.next() {
            Err(StoreError::Io { source, .. }) if is_unreadable(&source) => {
                *self = Source::Read(pages.rest()?.into_iter());
                self.next()
            }
            next => next,
        }
    }
}

/// An index that is read page by page. It is not kept open: there may be more packs than files that may be.
struct Pages<'a> {
    packs: &'a Log,
    number: u32,
    /// The entry that the page begins with, and the number of all.
    at: usize,
    count: usize,
    size: usize,
    page: std::vec::IntoIter<Last>,
    /// The digest of the last entry that was given.
    last: Option<Digest>,
}

impl Pages<'_> {
    fn next(&mut self) -> Result<Option<Last>, StoreError> {
        if self.page.as_slice().is_empty() {
            let count = self.size.min(self.count - self.at);
            let mut octets = vec![0; count * ENTRY];
            let path = seal::path(self.packs, self.number);
            File::open(&path)
                .and_then(|file| file.read_exact_at(&mut octets, seal::offset(self.at)))
                .map_err(io_error(&path))?;
            self.at += count;
            self.page = seal::entries(&octets, self.number)
                .collect::<Vec<_>>()
                .into_iter();
        }
        let next = self.page.next();
        self.last = next.map(|(digest, _)| digest).or(self.last);
        Ok(next)
    }

    /// What follows, by the pack itself, which gets another index.
    fn rest(&self) -> Result<Vec<Last>, StoreError> {
        let (mut entries, damages) = seal::seal(self.packs, self.number)?;
        for Damage { file, from, to, why } in damages {
            tracing::error!(file, from, to, why, "a pack is damaged");
        }
        entries.retain(|(digest, _)| self.last.is_none_or(|last| *digest > last));
        Ok(entries)
    }
}

/// The last words of packs, put together.
#[derive(Default)]
pub(super) struct Merge<'a> {
    sources: Vec<Source<'a>>,
    /// The next of each source: the smallest digest first, and of one digest the latest pack's.
    heads: BinaryHeap<Reverse<(Digest, Reverse<usize>)>>,
    next: Vec<Option<Last>>,
}

impl<'a> Merge<'a> {
    /// Adds what a pack says, after those before it.
    pub(super) fn add(&mut self, entries: Vec<Last>) -> Result<(), StoreError> {
        self.push(Source::Read(entries.into_iter()))
    }

    /// Adds a pack by its index; false when it has none that checks.
    pub(super) fn add_index(&mut self, packs: &'a Log, number: u32, of: usize) -> Result<bool, StoreError> {
        let Some(count) = seal::count(packs, number)? else {
            return Ok(false);
        };
        self.push(Source::Index(Pages {
            packs,
            number,
            at: 0,
            count,
            size: (HELD / size_of::<Last>() / of.max(1)).clamp(PAGE.1, PAGE.0),
            page: Vec::new().into_iter(),
            last: None,
        }))?;
        Ok(true)
    }

    fn push(&mut self, source: Source<'a>) -> Result<(), StoreError> {
        self.sources.push(source);
        self.next.push(None);
        self.advance(self.sources.len() - 1)
    }

    fn advance(&mut self, source: usize) -> Result<(), StoreError> {
        self.next[source] = self.sources[source].next()?;
        if let Some((digest, _)) = &self.next[source] {
            self.heads.push(Reverse((*digest, Reverse(source))));
        }
        Ok(())
    }

    /// The next block and where it is in the end, or that it is gone.
    pub(super) fn next(&mut self) -> Result<Option<Last>, StoreError> {
        let Some(Reverse((digest, Reverse(latest)))) = self.heads.pop() else {
            return Ok(None);
        };
        let last = self.next[latest];
        self.advance(latest)?;
        while let Some(Reverse((other, Reverse(older)))) = self.heads.peek().copied()
            && other == digest
        {
            self.heads.pop();
            self.advance(older)?;
        }
        Ok(last)
    }
}
