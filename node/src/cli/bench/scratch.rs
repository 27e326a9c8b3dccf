//! The folder in which a benchmark lays out what it needs.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;

/// How many this process has made.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// A folder that was not there before, and is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// One below `within`, which is made if need be, or below the folder for temporary files.
    ///
    /// # Errors
    /// When it cannot be made, or is there already.
    pub(super) fn below(within: Option<&Path>) -> anyhow::Result<Self> {
        let within = std::path::absolute(within.map_or_else(std::env::temp_dir, Path::to_owned))?;
        let failed = |path: &Path| format!("{} cannot be made", path.display());
        std::fs::create_dir_all(&within).with_context(|| failed(&within))?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = within.join(format!("cargomail-bench-{}-{number}", std::process::id()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| failed(&path))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Something in it that is not there yet.
    pub(super) fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        if path.is_dir() {
            std::fs::remove_dir_all(&path)?;
        } else if path.exists() {
            std::fs::remove_file(&path)?;
        }
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a folder of the benchmark is left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_lies_in_the_folder_that_was_named_stays_and_the_benchmarks_own_goes() {
        let named = tempfile::tempdir().unwrap();
        let theirs = ["noise", "messages/letter", "store-0/thesis"].map(|name| named.path().join(name));
        for file in &theirs {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "mine").unwrap();
        }
        let (one, two) = (
            Scratch::below(Some(named.path())).unwrap(),
            Scratch::below(Some(named.path())).unwrap(),
        );
        for scratch in [&one, &two] {
            assert!(scratch.path().starts_with(named.path()));
            std::fs::create_dir_all(scratch.fresh("messages").unwrap()).unwrap();
            std::fs::create_dir_all(scratch.fresh("messages").unwrap()).unwrap();
        }
        let own = [one.path().to_owned(), two.path().to_owned()];
        drop((one, two));
        assert!(own.iter().all(|folder| !folder.exists()));
        for file in &theirs {
            assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
        }
    }
}
