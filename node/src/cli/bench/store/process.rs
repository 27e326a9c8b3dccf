//! What the system tells of this process and of a disk.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Octets that a file, or everything in a folder, takes on the disk.
pub(super) fn room(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten();
    metadata.blocks() * 512 + inside.map(|entry| room(&entry.path())).sum::<u64>()
}

/// Octets that this process gave to disks.
pub(super) fn written() -> u64 {
    number("/proc/self/io", "write_bytes:")
}

/// Octets of memory that this process has.
pub(super) fn memory() -> u64 {
    1024 * number("/proc/self/status", "VmRSS:")
}

/// Octets of memory that this process had at most since [`forget_peak`].
pub(super) fn peak() -> u64 {
    1024 * number("/proc/self/status", "VmHWM:")
}

/// Has the system begin anew with that. Where it may not be asked to, the peak is that of the whole process.
pub(super) fn forget_peak() {
    if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
        tracing::debug!(%error, "the peak of memory is that of the whole process");
    }
}

fn number(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}
