//! The data directory: its lock, its layout, and files that are replaced whole.
//!
//! What always holds: nobody but its owner can enter it.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::StoreError;
use crate::private;

/// The layout that this program reads and writes: the first line of FORMAT.
const LAYOUT: &str = "cargomail-store 2 sha2-256";
/// How long the lock is waited for: a process that is ending, or an earlier opening in this one.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// The mode of files that are made here.
const FILE: u32 = 0o600;

/// A data directory that this process alone has open, as long as this lives.
pub(super) struct Folder {
    path: PathBuf,
    /// What the checksums of headers begin from.
    pub(super) salt: u32,
    _lock: File,
}

impl Folder {
    /// The same where there is one already.
    pub(super) fn open_existing(path: &Path) -> Result<Self, StoreError> {
        let format = path.join("FORMAT");
        std::fs::metadata(&format).map_err(io_error(&format))?;
        Self::open(path)
    }

    /// Creates the directory where it is missing, closes it to others, locks it, and checks its layout.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        private::make_closed(path).map_err(io_error(path))?;
        let lock = lock(path)?;
        let format = path.join("FORMAT");
        let salt = match read_small(&format)? {
            Some(text) => read_format(&format, &text)?,
            None => write_format(path, &format)?,
        };
        for name in ["packs", "journal"] {
            let folder = path.join(name);
            private::make(&folder).map_err(io_error(&folder))?;
        }
        sync_folder(path)?;
        Ok(Self {
            path: path.to_owned(),
            salt,
            _lock: lock,
        })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("LOCK");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE)
        .open(&path)
        .map_err(io_error(&path))?;
    if wait_for_lock(&file, LOCK_PATIENCE).map_err(io_error(&path))? {
        Ok(file)
    } else {
        Err(StoreError::Locked(folder.display().to_string()))
    }
}

/// Takes a file's lock, if it becomes free in time.
pub(super) fn wait_for_lock(file: &File, patience: Duration) -> io::Result<bool> {
    let until = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// The layout in a line, the salt in a second one, and in a third one the CRC32C of the two, which older stores do not have.
fn read_format(path: &Path, text: &[u8]) -> Result<u32, StoreError> {
    let text = String::from_utf8_lossy(text);
    let layout = text.lines().next().unwrap_or_default();
    if layout != LAYOUT {
        return Err(other_layout(path, format!("{layout:?}")));
    }
    parse_format(&text).ok_or_else(|| other_layout(path, format!("{layout:?}, but its salt does not check")))
}

fn parse_format(text: &str) -> Option<u32> {
    let (salt, crc) = text
        .strip_prefix(LAYOUT)?
        .strip_prefix("\nsalt ")?
        .split_once('\n')?;
    let salt = parse_hex(salt)?;
    let fits = |crc: &str| parse_hex(crc) == Some(crc32c::crc32c(print_format(salt).as_bytes()));
    (crc.is_empty() || crc.strip_suffix('\n').is_some_and(fits)).then_some(salt)
}

fn print_format(salt: u32) -> String {
    format!("{LAYOUT}\nsalt {salt:08x}\n")
}

/// A number of exactly 8 hexadecimal digits.
fn parse_hex(digits: &str) -> Option<u32> {
    let number = u32::from_str_radix(digits, 16).ok()?;
    (format!("{number:08x}") == digits).then_some(number)
}

/// That a FORMAT file is not one that this program reads.
pub(super) fn other_layout(path: &Path, found: String) -> StoreError {
    StoreError::Layout {
        path: path.display().to_string(),
        found,
        expected: LAYOUT,
    }
}

fn write_format(folder: &Path, path: &Path) -> Result<u32, StoreError> {
    let used =
        |name: &str| std::fs::read_dir(folder.join(name)).is_ok_and(|mut entries| entries.next().is_some());
    if used("packs") || used("journal") {
        let found = "no FORMAT file beside packs and journal".to_owned();
        return Err(other_layout(path, found));
    }
    let salt = rand::random();
    let text = print_format(salt);
    let crc = crc32c::crc32c(text.as_bytes());
    replace(path, format!("{text}{crc:08x}\n").as_bytes())?;
    Ok(salt)
}

/// The whole of a small file; none when there is no such file.
pub(super) fn read_small(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path)(error)),
    };
    let mut text = Vec::new();
    file.take(4096).read_to_end(&mut text).map_err(io_error(path))?;
    Ok(Some(text))
}

/// Puts a file in the place of another, so that after a power cut there is one of the two, whole.
pub(super) fn replace(path: &Path, octets: &[u8]) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(FILE)
        .open(&new)
        .map_err(io_error(&new))?;
    file.write_all(octets)
        .and_then(|()| file.sync_all())
        .map_err(io_error(&new))?;
    std::fs::rename(&new, path).map_err(io_error(path))?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Makes the names in a directory durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error(path))
}

/// Whether the disk cannot read the octets that were asked for. They are gone, others of the file are not.
pub(super) fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Names the file that an error of the operating system is about.
pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nobody_but_its_owner_can_enter_a_store_that_is_open() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("store");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let folder = Folder::open(&path).unwrap();
        for name in ["", "packs", "journal", "LOCK", "FORMAT"] {
            let mode = std::fs::metadata(folder.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
        }
    }
}
