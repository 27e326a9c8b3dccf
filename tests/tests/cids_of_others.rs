//! The CIDs of resources equal those that somebody else's importer gives, with the same profile (`protocol/spec/resources.md`).
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cargomail_protocol::dag::Importer;
use cargomail_tests::peers;

const MIB: u64 = 1024 * 1024;

/// A file of this many octets. Those of the first two MiB and the last one depend on their position; between them is a
/// hole that reads as zeros and takes no room.
fn file(folder: &Path, size: u64) -> PathBuf {
    let path = folder.join(size.to_string());
    let file = File::create_new(&path).unwrap();
    file.set_len(size).unwrap();
    let written = (0..size.min(2 * MIB)).chain((2 * MIB).max(size.saturating_sub(MIB))..size);
    let octets: Vec<(u64, u8)> = written.map(|x| (x, (x * x + x / 251).to_le_bytes()[0])).collect();
    for run in octets.chunk_by(|(one, _), (next, _)| one + 1 == *next) {
        let values: Vec<u8> = run.iter().map(|(_, value)| *value).collect();
        file.write_all_at(&values, run[0].0).unwrap();
    }
    path
}

/// The CID of a file by this project's importer. The pieces are no divisor of a leaf.
fn ours(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let mut importer = Importer::new();
    let mut piece = vec![0; 300_007];
    loop {
        let count = file.read(&mut piece).unwrap();
        if count == 0 {
            return importer.finish().root.to_string();
        }
        importer.push(Bytes::copy_from_slice(&piece[..count]));
    }
}

#[test]
fn every_resource_has_the_cid_that_ipfs_unixfs_importer_gives_it() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB, 1100 * MIB];
    let files = sizes.map(|size| file(folder.path(), size));
    let theirs = peers::ask(peers::node("cids.mjs").unwrap().args(&files), b"").unwrap();
    let ours: Vec<String> = files.iter().map(|file| ours(file)).collect();
    assert_eq!(ours, theirs.lines().collect::<Vec<_>>());
}
