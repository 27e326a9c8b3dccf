//! A folder of numbered files of records, of which only the last one grows: the packs, and the journal.
//!
//! What always holds: [`Appended::sync`] returned before anything is told to anybody; a file's name is durable before
//! anything in it is. Readers read what they were given the place of, which is durable.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::StoreError;
use super::folder::{io_error, is_unreadable, sync_folder};
use super::frame::{Digest, HEAD, Header, Kind, Rank};
use super::scan::Scan;

/// Files that stay open for reading.
const OPEN_FILES: usize = 32;
/// Octets that are collected before they are written.
const BUFFER: usize = 256 * 1024;
/// A payload of this size is written from where it is.
const LARGE: usize = 128 * 1024;
/// Octets after which a record is to be the first of its group again: so much may be taken for the end of a write that was not finished.
const STRETCH: u64 = 32 * 1024 * 1024;
/// Records of a file: what is sorted in memory for a pack's `.idx` stays below 3 MiB.
const RECORDS: u64 = 65_536;

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(super) struct Position {
    pub(super) file: u32,
    pub(super) offset: u64,
}

/// Something of a log: a record, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: u32,
    pub(super) offset: u64,
    pub(super) length: u32,
}

/// The files of a log, for reading.
pub(super) struct Log {
    folder: PathBuf,
    extension: &'static str,
    salt: u32,
    /// The most recently used last.
    open: Mutex<Vec<(u32, Arc<File>)>>,
    /// Who removes files has it alone.
    files: RwLock<()>,
}

impl Log {
    pub(super) fn new(folder: PathBuf, extension: &'static str, salt: u32) -> Self {
        Self {
            folder,
            extension,
            salt,
            open: Mutex::default(),
            files: RwLock::default(),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// No file is removed as long as this lives.
    pub(super) fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes files, durable on return. Who reads one of them reads on; who comes now is told that it is gone.
    pub(super) fn remove(&self, numbers: &[u32]) -> Result<(), StoreError> {
        let _alone = self.files.write().unwrap_or_else(PoisonError::into_inner);
        for number in numbers {
            let path = self.path(*number);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&path)(error)),
                _ => {}
            }
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(number, _)| !numbers.contains(number));
        drop(open);
        sync_folder(&self.folder)
    }

    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{number:08}.{}", self.extension))
    }

    pub(super) fn salt(&self) -> u32 {
        self.salt
    }

    /// The numbers of the files that are there, ascending.
    pub(super) fn numbers(&self) -> Result<Vec<u32>, StoreError> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(io_error(&self.folder))? {
            let path = entry.map_err(io_error(&self.folder))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == self.extension)
                && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
            {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Octets of all files.
    pub(super) fn octets(&self) -> Result<u64, StoreError> {
        let mut octets = 0;
        for number in self.numbers()? {
            let path = self.path(number);
            octets += std::fs::metadata(&path).map_err(io_error(&path))?.len();
        }
        Ok(octets)
    }

    /// Where the last file ends; none when there is no file.
    pub(super) fn end(&self) -> Result<Option<Position>, StoreError> {
        let Some(file) = self.numbers()?.pop() else {
            return Ok(None);
        };
        let path = self.path(file);
        let offset = std::fs::metadata(&path).map_err(io_error(&path))?.len();
        Ok(Some(Position { file, offset }))
    }

    /// A reader of one file from its beginning.
    pub(super) fn scan(&self, number: u32) -> Result<Scan, StoreError> {
        Scan::open(&self.path(number), self.salt)
    }

    /// The octets of a place.
    pub(super) fn read(&self, place: Place) -> Result<Vec<u8>, StoreError> {
        let file = self.file(place.file)?;
        let mut octets = vec![0; place.length as usize];
        file.read_exact_at(&mut octets, place.offset).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                self.damaged(place, "the file ends before it")
            } else if is_unreadable(&error) {
                self.damaged(place, "the disk cannot read it")
            } else {
                io_error(&self.path(place.file))(error)
            }
        })?;
        Ok(octets)
    }

    /// The octets of a place, if they are in memory and the file is open: nobody waits for a disk. None in every other case.
    pub(super) fn read_at_once(&self, place: Place) -> Option<Vec<u8>> {
        let file = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let (_, file) = open.iter().rfind(|(number, _)| *number == place.file)?;
            file.clone()
        };
        let mut octets = vec![0; place.length as usize];
        let read = rustix::io::preadv2(
            &file,
            &mut [io::IoSliceMut::new(&mut octets)],
            place.offset,
            rustix::io::ReadWriteFlags::NOWAIT,
        );
        (read == Ok(octets.len())).then_some(octets)
    }

    pub(super) fn damaged(&self, place: Place, why: &str) -> StoreError {
        StoreError::Damaged {
            what: format!("{} at {}", self.path(place.file).display(), place.offset),
            why: why.to_owned(),
        }
    }

    fn file(&self, number: u32) -> Result<Arc<File>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().rposition(|(other, _)| *other == number) {
            let entry = open.remove(at);
            let file = entry.1.clone();
            open.push(entry);
            return Ok(file);
        }
        let path = self.path(number);
        let file = Arc::new(File::open(&path).map_err(io_error(&path))?);
        if open.len() >= OPEN_FILES {
            open.remove(0);
        }
        open.push((number, file.clone()));
        Ok(file)
    }
}

/// Whether a file is not there: it was removed since its number was looked up.
pub(super) fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Why an append did not happen.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no room, or no new file; what was there is as it was.
    Refused(StoreError),
    /// What the file holds is not known any more: nothing may be appended.
    Broken(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Broken(error)
    }
}

impl Failure {
    /// An error of writing.
    fn of(path: &Path, error: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded => Failure::Refused(full(path, &error)),
            FileTooLarge => Failure::Refused(io_error(path)(error)),
            _ => Failure::Broken(io_error(path)(error)),
        }
    }
}

fn full(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Full {
        path: path.display().to_string(),
        why: error.to_string(),
    }
}

/// The one who appends.
pub(super) struct Appender {
    log: Arc<Log>,
    segment: u64,
    file: Arc<File>,
    number: u32,
    /// Octets that are synced.
    durable: Arc<AtomicU64>,
    /// Octets that are in the file.
    written: u64,
    /// Where the group begins that is being appended.
    group: u64,
    /// Where the last record is that was the first of its group.
    first: u64,
    /// Octets that follow those in the file.
    buffer: Vec<u8>,
    /// Records of the file, as far as they are known.
    records: u64,
    /// Up to where the file has its room on the disk.
    aside: u64,
}

/// A file of a log up to a record, which is not synced yet.
pub(super) struct Appended {
    log: Arc<Log>,
    file: Arc<File>,
    durable: Arc<AtomicU64>,
    /// Where the next record comes.
    pub(super) end: Position,
    /// Records of the file.
    pub(super) records: u64,
}

impl Appended {
    /// Makes everything up to there durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(io_error(&self.log.path(self.end.file)))?;
        self.durable.store(self.end.offset, Ordering::Release);
        Ok(())
    }

    /// Cuts off what is not durable.
    pub(super) fn cut_off(&self) -> Result<(), StoreError> {
        self.file
            .set_len(self.durable.load(Ordering::Acquire))
            .map_err(io_error(&self.log.path(self.end.file)))
    }
}

impl Appender {
    /// Goes on at the end of a log, which is at `end`; what is behind it in the last file is cut off. Everything before is
    /// synced when this returns.
    pub(super) fn open(
        log: Arc<Log>,
        segment: u64,
        end: Option<Position>,
        records: u64,
    ) -> Result<Self, StoreError> {
        let Some(end) = end else {
            let file = create(&log, 1)?;
            return Ok(Self::at(log, segment, file, 1, 0, 0));
        };
        let path = log.path(end.file);
        let file = File::options().write(true).open(&path).map_err(io_error(&path))?;
        let length = file.metadata().map_err(io_error(&path))?.len();
        if length > end.offset {
            let octets = length - end.offset;
            tracing::warn!(path = %path.display(), from = end.offset, octets, "the end of a write that was not finished is cut off");
        }
        // Also what was set aside behind the end.
        file.set_len(end.offset).map_err(io_error(&path))?;
        file.sync_all().map_err(io_error(&path))?;
        sync_folder(&log.folder)?;
        Ok(Self::at(log, segment, file, end.file, end.offset, records))
    }

    fn at(log: Arc<Log>, segment: u64, file: File, number: u32, length: u64, records: u64) -> Self {
        Self {
            log,
            segment,
            file: Arc::new(file),
            number,
            durable: Arc::new(AtomicU64::new(length)),
            written: length,
            group: length,
            first: length,
            buffer: Vec::new(),
            records,
            aside: length,
        }
    }

    /// Has the disk keep room for so many octets behind the end, which the next ones may use whatever becomes of the rest of the disk; whether
    /// it does. Room for twice as much is asked for at a time.
    pub(super) fn set_aside(&mut self, octets: u64) -> bool {
        if self.has_aside(octets) {
            return true;
        }
        // Behind what was set aside before: some file systems take that back when they have no more.
        let (from, to) = (self.aside.max(self.written), self.written + 2 * octets);
        match rustix::fs::fallocate(&*self.file, FallocateFlags::KEEP_SIZE, from, to - from) {
            Ok(()) => self.aside = to,
            // A file system without such a call does without.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return true,
            Err(_) => {}
        }
        self.has_aside(octets)
    }

    /// Whether room for so many octets was set aside.
    pub(super) fn has_aside(&self, octets: u64) -> bool {
        self.aside.saturating_sub(self.position().offset) >= octets
    }

    /// Gives back what was set aside, also by a call that failed halfway. That it cannot is no matter: the next opening does.
    pub(super) fn release(&self) {
        let _ = self.file.set_len(self.written);
    }

    /// Where the next record comes.
    pub(super) fn position(&self) -> Position {
        Position {
            file: self.number,
            offset: self.written + self.buffer.len() as u64,
        }
    }

    /// Records of the file that grows.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Whether the file has its size.
    pub(super) fn is_full(&self) -> bool {
        self.written >= self.segment || self.records >= RECORDS
    }

    /// Whether so much was appended while something was being synced that it is time for the first record of a group.
    pub(super) fn is_stretched(&self) -> bool {
        self.written - self.first >= STRETCH
    }

    /// Begins the next file; this one is synced.
    pub(super) fn begin_next(&mut self) -> Result<(), Failure> {
        let path = self.log.path(self.number + 1);
        let file = File::options()
            .create_new(true)
            .write(true)
            .open(&path)
            .map_err(|error| {
                // Nothing was begun, so nothing is broken: there may be room, or fewer open files, later.
                Failure::Refused(match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(&path, &error),
                    _ => io_error(&path)(error),
                })
            })?;
        sync_folder(&self.log.folder)?;
        self.release();
        self.file = Arc::new(file);
        self.number += 1;
        self.durable = Arc::default();
        (self.written, self.group, self.first, self.records, self.aside) = (0, 0, 0, 0, 0);
        Ok(())
    }

    /// Appends a record, which is not durable yet, and tells where its payload will be.
    pub(super) fn append(&mut self, kind: Kind, digest: Digest, payload: &[u8]) -> Result<Position, Failure> {
        let at = self.position();
        let rank = if at.offset == self.durable.load(Ordering::Acquire) {
            self.first = at.offset;
            Rank::First
        } else {
            Rank::Later
        };
        let header = Header::of(kind, rank, digest, payload).encode(self.log.salt);
        self.buffer.extend_from_slice(&header);
        if payload.len() >= LARGE {
            self.flush()?;
            self.write(payload)?;
        } else {
            self.buffer.extend_from_slice(payload);
            if self.buffer.len() >= BUFFER {
                self.flush()?;
            }
        }
        self.records += 1;
        Ok(Position {
            file: at.file,
            offset: at.offset + HEAD as u64,
        })
    }

    /// Writes what was appended, and ends the group with it.
    pub(super) fn end_group(&mut self) -> Result<Appended, Failure> {
        self.flush()?;
        self.group = self.written;
        Ok(Appended {
            log: self.log.clone(),
            file: self.file.clone(),
            durable: self.durable.clone(),
            end: self.position(),
            records: self.records,
        })
    }

    /// Takes back what was appended since the last group ended.
    pub(super) fn undo(&mut self) -> Result<(), StoreError> {
        self.buffer.clear();
        if self.written > self.group {
            self.file
                .set_len(self.group)
                .map_err(io_error(&self.log.path(self.number)))?;
            self.written = self.group;
            // Nobody else is to have the room that this gave back.
            let aside = self.aside.saturating_sub(self.group);
            self.aside = self.group;
            if aside > 0
                && rustix::fs::fallocate(&*self.file, FallocateFlags::KEEP_SIZE, self.group, aside).is_ok()
            {
                self.aside += aside;
            }
        }
        self.first = self.first.min(self.group);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    /// Writes at the end. What a write that failed left behind is overwritten or cut off, never counted.
    fn write(&mut self, octets: &[u8]) -> Result<(), Failure> {
        if let Err(error) = self.file.write_all_at(octets, self.written) {
            let failure = Failure::of(&self.log.path(self.number), error);
            self.written = u64::MAX;
            return Err(failure);
        }
        self.written += octets.len() as u64;
        Ok(())
    }
}

fn create(log: &Log, number: u32) -> Result<File, StoreError> {
    let path = log.path(number);
    let file = File::options()
        .create_new(true)
        .write(true)
        .open(&path)
        .map_err(io_error(&path))?;
    sync_folder(&log.folder)?;
    Ok(file)
}
