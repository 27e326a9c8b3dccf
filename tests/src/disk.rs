//! A disk whose power can be cut: ext4 in a file, mounted for itself, which the kernel shuts down at any moment as if the
//! machine had stopped.
//!
//! What always holds: after the cut nothing reaches the file any more: pages that were not written and the open transaction of
//! the file system's journal are gone, what was synced is there. Not shown: a drive that loses its own cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use tempfile::TempDir;

use crate::peers::{ask, program, wait_until};

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, which the kernel's header `fs/ext4/ext4.h` tells.
const CUT: &str = "
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))
";
/// The journal is committed by whoever syncs, and hardly ever by the clock.
const OPTIONS: &str = "loop,commit=600";

/// The disk. Dropped, it is unmounted and gone; whoever uses it must have ended.
#[derive(Debug)]
pub struct Disk {
    mounted: bool,
    folder: TempDir,
}

impl Disk {
    /// An empty disk of so many octets, mounted. They are taken as they are written.
    ///
    /// # Errors
    /// When this machine or user cannot mount a file: it takes root and loop devices.
    pub fn new(octets: u64) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("disk").tempdir()?;
        let mut disk = Self {
            mounted: false,
            folder,
        };
        std::fs::File::create(disk.file())?.set_len(octets)?;
        std::fs::create_dir(disk.path())?;
        ask(
            Command::new(program("mkfs.ext4", "e2fsprogs")?)
                .args(["-q", "-F"])
                .arg(disk.file()),
            b"",
        )?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    /// Cuts the power: from now on everything on it fails, until [`Disk::restore`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(&self) -> anyhow::Result<()> {
        let python = program("python3", "python3")?;
        ask(Command::new(python).arg("-c").arg(CUT).arg(self.path()), b"")?;
        Ok(())
    }

    /// Mounts it anew after a cut. Whoever used it must have ended.
    ///
    /// # Errors
    /// When it is still in use, or the file system does not recover.
    pub fn restore(&mut self) -> anyhow::Result<()> {
        self.unmount()?;
        self.mount()
    }

    fn mount(&mut self) -> anyhow::Result<()> {
        let mut mount = Command::new(program("mount", "mount")?);
        mount.args(["-o", OPTIONS]).arg(self.file()).arg(self.path());
        ask(&mut mount, b"").context("a file cannot be mounted: this needs root and loop devices")?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> anyhow::Result<()> {
        let umount = program("umount", "mount")?;
        // A process that was killed may need a moment until its files are closed.
        wait_until("the disk is not in use", || {
            Ok(Command::new(&umount).arg(self.path()).output()?.status.success())
        })?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = self.unmount()
        {
            eprintln!("{} stays mounted: {error:#}", self.path().display());
        }
    }
}
