//! The folder in which a benchmark lays out what it needs.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// A folder that is removed when this is dropped, unless somebody named it.
pub(super) struct Scratch {
    path: PathBuf,
    named: bool,
}

impl Scratch {
    /// The named folder, or one of this process beside temporary files.
    pub(super) fn open(named: Option<&Path>) -> anyhow::Result<Self> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => std::env::temp_dir().join(format!("cargomail-bench-{}", std::process::id())),
        };
        std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        let path = std::path::absolute(path)?;
        let named = named.is_some();
        Ok(Self { path, named })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.named {
            // What cannot be removed lies among temporary files.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
