//! Ends a process by SIGKILL at exactly its N-th durable point, and counts the points that it passes.
//!
//! A durable point is a call behind which something has to survive: `fsync`, `fdatasync`, `sync_file_range`, `syncfs`,
//! and every `rename` and `link`. A run that is only watched tells how many there are; then one run for each of them, killed
//! before it or after it, visits every state that a crash can leave behind.
//!
//! The calls are intercepted in the process by a small preloaded library (`points.c`), not by `strace -e inject`: that
//! counts each thread and each call apart, so in a process with several threads its N-th point is not the N-th.
//! What makes system calls without the C library would escape; a test compares with what the kernel sees.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use tempfile::TempDir;

use crate::peers;

/// When a process dies, seen from its durable point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The call is not made: what it should have made durable may be lost.
    Before,
    /// The call has returned to nobody: its work is durable, and none has been told.
    After,
}

/// Makes commands whose durable points are counted.
#[derive(Debug)]
pub struct Driver {
    folder: TempDir,
}

impl Driver {
    /// Builds the library, with the compiler that Rust links with.
    ///
    /// # Errors
    /// When there is no compiler.
    pub fn build() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/points.c");
        let compiler = peers::program("cc", "gcc")?;
        let mut command = Command::new(compiler);
        command
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(folder.path().join("points.so"))
            .arg(source)
            .arg("-ldl");
        peers::ask(&mut command, b"")?;
        Ok(Self { folder })
    }

    /// Lets the process that this command starts run as it is, and counts.
    ///
    /// # Errors
    /// When there is no room for the count.
    pub fn watch(&self, command: &mut Command) -> anyhow::Result<Points> {
        let (file, path) = tempfile::Builder::new()
            .prefix("passed")
            .tempfile_in(&self.folder)?
            .keep()?;
        drop(file);
        command
            .env("LD_PRELOAD", self.folder.path().join("points.so"))
            .env("POINTS_FILE", &path)
            .env_remove("POINTS_KILL");
        Ok(Points { path })
    }

    /// Has the process that this command starts killed at its `point`-th durable point, counted from 1; it runs to its end
    /// when it passes fewer. Processes that it starts in their turn count for themselves.
    ///
    /// # Errors
    /// As for [`Driver::watch`].
    pub fn kill(&self, command: &mut Command, moment: Moment, point: usize) -> anyhow::Result<Points> {
        let points = self.watch(command)?;
        let moment = match moment {
            Moment::Before => "before",
            Moment::After => "after",
        };
        command.env("POINTS_KILL", format!("{moment} {point}"));
        Ok(points)
    }
}

/// The durable points that a process has reached. Lives no longer than its [`Driver`].
#[derive(Debug)]
pub struct Points {
    path: PathBuf,
}

impl Points {
    /// Each point reached so far, in order: the call, a space, and the file that it is about. The last one may be the
    /// one at which the process died.
    ///
    /// # Errors
    /// When the driver is gone.
    pub fn reached(&self) -> anyhow::Result<Vec<String>> {
        let text = std::fs::read_to_string(&self.path).context("the driver is gone")?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}
