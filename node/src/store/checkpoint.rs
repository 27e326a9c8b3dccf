//! The file CHECKPOINT: how far packs and journal are known to be durable, and which view goes with them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder::{is_unreadable, read_small, replace};
use super::log::Position;
use super::{StoreError, Version};

/// How the store was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Left {
    /// Open: only the positions count.
    Open,
    /// In order: the view with this stamp holds everything up to the positions, which are the ends.
    Closed {
        /// Of the view.
        stamp: u64,
    },
}

/// How much of packs and journal is in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Covered {
    pub(super) packs: Position,
    /// Of the last commit.
    pub(super) version: Version,
}

/// An index that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// It carries this stamp.
    pub(super) stamp: u64,
    /// It holds this much, and perhaps more.
    pub(super) covered: Covered,
}

/// What is known outside of packs, journal and view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) left: Left,
    /// Everything before is synced.
    pub(super) packs: Position,
    /// Records of the last pack before the position.
    pub(super) pack_records: u64,
    /// Everything before is synced.
    pub(super) journal: Position,
    /// Of the last commit before the position.
    pub(super) version: Version,
    /// The view as it was last made durable; none when that is not known.
    #[serde(default)]
    pub(super) index: Option<Known>,
}

impl Checkpoint {
    /// Everything up to the positions.
    pub(super) fn covered(&self) -> Covered {
        Covered {
            packs: self.packs,
            version: self.version,
        }
    }

    /// What was written last; none when there is nothing, or nothing that can be read and checks.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let text = match read_small(path) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(StoreError::Io { source, .. }) if is_unreadable(&source) => Vec::new(),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&text);
        let read = || {
            let (json, crc) = text.trim_end().split_once('\n')?;
            let crc = u32::from_str_radix(crc, 16).ok()?;
            (crc == crc32c::crc32c(json.as_bytes())).then(|| serde_json::from_str(json).ok())?
        };
        let found = read();
        if found.is_none() {
            tracing::warn!(path = %path.display(), "the checkpoint does not check and is not used");
        }
        Ok(found)
    }

    /// Writes it in the place of the last one, durable on return.
    pub(super) fn write(&self, path: &Path) -> Result<(), StoreError> {
        let json = serde_json::to_string(self).expect("numbers are always JSON");
        let crc = crc32c::crc32c(json.as_bytes());
        replace(path, format!("{json}\n{crc:08x}\n").as_bytes())
    }
}
