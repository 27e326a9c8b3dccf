//! Reading a file of records from its beginning, also one that has been damaged, ends in the middle of a write, or cannot be read
//! everywhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::StoreError;
use super::folder::{io_error, is_unreadable};
use super::frame::{HEAD, Header, MAGIC, Rank};

/// Octets that are read at once.
const WINDOW: usize = 64 * 1024;
/// Octets that are read at once where the disk cannot read all of them: a page of memory, and a sector.
const STEPS: [u64; 2] = [4096, SECTOR];
const SECTOR: u64 = 512;

/// A record that was found.
pub(super) struct Frame<'a> {
    pub(super) offset: u64,
    pub(super) header: Header,
    /// As it was read, sound or not; empty when payloads are not looked at.
    pub(super) payload: &'a [u8],
}

/// Octets that are no sound record and not the torn end either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The first octet that does not fit.
    pub from: u64,
    /// The first octet behind it that fits again.
    pub to: u64,
    /// What does not fit.
    pub why: String,
}

/// From where on a file is read how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trust {
    /// Everything before was synced: what does not fit there is damage, never a torn end.
    pub(super) synced: u64,
    /// Payloads are read and checked from here on.
    pub(super) payloads: u64,
}

/// What a whole file holds.
pub(super) struct Walked {
    /// Where the records end.
    pub(super) end: u64,
    pub(super) records: u64,
    pub(super) damages: Vec<Damage>,
}

/// How a file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// With the header of a record of this store.
    Own,
    /// With that of another store, or one that is damaged.
    Foreign,
    /// With neither: it is empty, or was not written to the end of the first header.
    Other,
}

/// A file that is read.
pub(super) struct Scan {
    file: File,
    path: String,
    size: u64,
    salt: u32,
    window: Vec<u8>,
    window_at: u64,
    payload: Vec<u8>,
    /// Where sectors begin that the disk cannot read. They are read as zeros, so that what they belong to does not check.
    unreadable: BTreeSet<u64>,
}

impl Scan {
    pub(super) fn open(path: &Path, salt: u32) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(io_error(path))?;
        let size = file.metadata().map_err(io_error(path))?.len();
        Ok(Self {
            file,
            path: path.display().to_string(),
            size,
            salt,
            window: Vec::new(),
            window_at: 0,
            payload: Vec::new(),
            unreadable: BTreeSet::new(),
        })
    }

    /// Octets of the file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// How the file begins.
    pub(super) fn begin(&mut self) -> Result<Begin, StoreError> {
        if self.size < HEAD as u64 {
            return Ok(Begin::Other);
        }
        let salt = self.salt;
        let octets = self.octets(0, HEAD)?;
        Ok(match Header::decode(octets, salt) {
            Some(_) => Begin::Own,
            None if octets.starts_with(&MAGIC) => Begin::Foreign,
            None => Begin::Other,
        })
    }

    /// Whether the header of a record of this store is anywhere in the file.
    pub(super) fn has_header(&mut self) -> Result<bool, StoreError> {
        let mut at = self.next_magic(0)?;
        while at + (HEAD as u64) <= self.size {
            let salt = self.salt;
            if Header::decode(self.octets(at, HEAD)?, salt).is_some() {
                return Ok(true);
            }
            at = self.next_magic(at + 1)?;
        }
        Ok(false)
    }

    /// Takes the file for one that ends here.
    pub(super) fn end_at(&mut self, offset: u64) {
        self.size = self.size.min(offset);
    }

    /// Shows every record, those with a damaged payload too: their readers will see that they do not check.
    pub(super) fn walk(
        &mut self,
        trust: Trust,
        mut visit: impl FnMut(&Frame<'_>) -> Result<(), StoreError>,
    ) -> Result<Walked, StoreError> {
        let mut walked = Walked {
            end: 0,
            records: 0,
            damages: Vec::new(),
        };
        while walked.end < self.size {
            let offset = walked.end;
            let header = self.header(offset)?;
            let sound = match &header {
                Some(_) if offset < trust.payloads => {
                    self.payload.clear();
                    true
                }
                Some(header) => {
                    self.read_payload(offset, header)?;
                    header.fits(&self.payload)
                }
                None => false,
            };
            let behind = header.map_or(offset + 1, |header| offset + header.size());
            // What was not written to the end can be read.
            let is_lost = self.is_unreadable(offset, header.map_or(HEAD as u64, |header| header.size()));
            if !sound
                && !is_lost
                && offset >= trust.synced
                && self.find(behind, |header| header.rank == Rank::First)?.is_none()
            {
                return Ok(walked);
            }
            match header {
                Some(header) => {
                    if !sound {
                        // The search has read others since.
                        self.read_payload(offset, &header)?;
                    }
                    visit(&Frame {
                        offset,
                        header,
                        payload: &self.payload,
                    })?;
                    walked.records += 1;
                    walked.end = behind;
                }
                None => walked.end = self.find(behind, |_| true)?.unwrap_or(self.size),
            }
            if !sound {
                let why = if is_lost {
                    "the disk cannot read it"
                } else if header.is_some() {
                    "a payload's checksum"
                } else {
                    "a record's header"
                };
                walked.damages.push(self.damage(offset, walked.end, why));
            }
        }
        if self.size < trust.synced {
            walked
                .damages
                .push(self.damage(self.size, trust.synced, "the file is shorter than it was"));
        }
        Ok(walked)
    }

    /// The record at an offset, with a payload that fits; none at the end of the file or of what fits.
    pub(super) fn frame(&mut self, offset: u64) -> Result<Option<Frame<'_>>, StoreError> {
        let Some(header) = self.header(offset)? else {
            return Ok(None);
        };
        self.read_payload(offset, &header)?;
        Ok(header.fits(&self.payload).then_some(Frame {
            offset,
            header,
            payload: &self.payload,
        }))
    }

    fn damage(&self, from: u64, to: u64, why: &str) -> Damage {
        Damage {
            file: self.path.clone(),
            from,
            to,
            why: why.to_owned(),
        }
    }

    /// The first record at or behind an offset that is sound, hash included, and is looked for.
    fn find(&mut self, from: u64, wanted: impl Fn(&Header) -> bool) -> Result<Option<u64>, StoreError> {
        let mut at = from;
        while at + HEAD as u64 <= self.size {
            if let Some(header) = self.header(at)? {
                self.read_payload(at, &header)?;
                if header.proves(&self.payload) {
                    if wanted(&header) {
                        return Ok(Some(at));
                    }
                    at += header.size();
                    continue;
                }
            }
            at = self.next_magic(at + 1)?;
        }
        Ok(None)
    }

    /// Where a record could begin, at or behind an offset.
    fn next_magic(&mut self, mut at: u64) -> Result<u64, StoreError> {
        while at + HEAD as u64 <= self.size {
            let length = WINDOW.min((self.size - at) as usize);
            let octets = self.octets(at, length)?;
            match octets.windows(MAGIC.len()).position(|four| four == MAGIC) {
                Some(found) => return Ok(at + found as u64),
                None => at += (length - (MAGIC.len() - 1)) as u64,
            }
        }
        Ok(self.size)
    }

    /// The header at an offset, if there is one whose record the file can hold.
    fn header(&mut self, offset: u64) -> Result<Option<Header>, StoreError> {
        let left = self.size.saturating_sub(offset);
        if left < HEAD as u64 {
            return Ok(None);
        }
        let salt = self.salt;
        let header = Header::decode(self.octets(offset, HEAD)?, salt);
        Ok(header.filter(|header| header.size() <= left))
    }

    fn read_payload(&mut self, offset: u64, header: &Header) -> Result<(), StoreError> {
        let length = header.length as usize;
        let at = offset + HEAD as u64;
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        if length <= WINDOW {
            payload.extend_from_slice(self.octets(at, length)?);
        } else {
            payload.resize(length, 0);
            self.read(&mut payload, at)?;
        }
        self.payload = payload;
        Ok(())
    }

    /// Reads octets that the file has, with zeros for those that the disk cannot read.
    fn read(&mut self, octets: &mut [u8], at: u64) -> Result<(), StoreError> {
        self.read_by(octets, at, &STEPS)
            .map_err(io_error(Path::new(&self.path)))
    }

    fn read_by(&mut self, octets: &mut [u8], at: u64, steps: &[u64]) -> io::Result<()> {
        match self.file.read_exact_at(octets, at) {
            Err(error) if is_unreadable(&error) => {}
            read => return read,
        }
        let Some((step, steps)) = steps.split_first() else {
            octets.fill(0);
            self.unreadable.insert(at - at % SECTOR);
            return Ok(());
        };
        let (mut rest, mut at) = (octets, at);
        while !rest.is_empty() {
            // Every part but the first begins where a sector does.
            let length = ((step - at % step) as usize).min(rest.len());
            let (part, behind) = rest.split_at_mut(length);
            self.read_by(part, at, steps)?;
            at += length as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Whether some of these octets, which were read, could not be.
    fn is_unreadable(&self, from: u64, length: u64) -> bool {
        let mut sectors = self.unreadable.range(from - from % SECTOR..from + length);
        sectors.next().is_some()
    }

    /// Octets that the file has, at most a window of them.
    fn octets(&mut self, offset: u64, length: usize) -> Result<&[u8], StoreError> {
        let end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + length as u64 > end {
            let size = WINDOW.min((self.size - offset) as usize);
            let mut window = std::mem::take(&mut self.window);
            window.resize(size, 0);
            self.read(&mut window, offset)?;
            (self.window, self.window_at) = (window, offset);
        }
        let from = (offset - self.window_at) as usize;
        self.window
            .get(from..from + length)
            .ok_or_else(|| StoreError::Damaged {
                what: format!("{} at {offset}", self.path),
                why: "the file became shorter while it was read".to_owned(),
            })
    }
}
