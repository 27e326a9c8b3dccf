//! A blockstore of files: pieces of files that are there, and one file for each block that comes.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use blockstore::{Blockstore, Error, Result};
use cid::{Cid, CidGeneric};
use multihash_codetable::{Code, MultihashDigest};

/// The largest block.
const BLOCK: usize = 1024 * 1024;
/// The codec of blocks without structure.
const RAW: u64 = 0x55;

struct Piece {
    file: PathBuf,
    offset: u64,
    size: usize,
}

pub(crate) struct Folder {
    path: PathBuf,
    pieces: HashMap<Vec<u8>, Piece>,
    written: AtomicUsize,
}

impl Folder {
    pub(crate) fn empty(path: PathBuf) -> Self {
        let (pieces, written) = (HashMap::new(), AtomicUsize::new(0));
        Self {
            path,
            pieces,
            written,
        }
    }

    /// How many blocks have been written.
    pub(crate) fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    /// The blocks of a folder's files, and the list of them.
    pub(crate) fn of_files(path: &Path) -> anyhow::Result<(Self, String)> {
        let mut folder = Self::empty(path.to_owned());
        let mut list = String::new();
        for entry in std::fs::read_dir(path)? {
            let file = entry?.path();
            let read = File::open(&file)?;
            let end = read.metadata()?.len();
            let mut offset = 0;
            while offset < end {
                let size = BLOCK.min(usize::try_from(end - offset)?);
                let mut octets = vec![0; size];
                read.read_exact_at(&mut octets, offset)?;
                let cid = Cid::new_v1(RAW, Code::Sha2_256.digest(&octets));
                let file = file.clone();
                if folder
                    .pieces
                    .insert(cid.to_bytes(), Piece { file, offset, size })
                    .is_none()
                {
                    writeln!(list, "{cid} {size}")?;
                }
                offset += size as u64;
            }
        }
        Ok((folder, list))
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::FatalDatabaseError(error.to_string())
}

impl Blockstore for Folder {
    async fn get<const S: usize>(&self, cid: &CidGeneric<S>) -> Result<Option<Vec<u8>>> {
        let Some(Piece { file, offset, size }) = self.pieces.get(&cid.to_bytes()) else {
            return match std::fs::read(self.path.join(cid.to_string())) {
                Ok(octets) => Ok(Some(octets)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed(error)),
            };
        };
        let mut octets = vec![0; *size];
        let file = File::open(file).map_err(failed)?;
        file.read_exact_at(&mut octets, *offset).map_err(failed)?;
        Ok(Some(octets))
    }

    async fn put_keyed<const S: usize>(&self, cid: &CidGeneric<S>, data: &[u8]) -> Result<()> {
        std::fs::write(self.path.join(cid.to_string()), data).map_err(failed)?;
        self.written.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn remove<const S: usize>(&self, cid: &CidGeneric<S>) -> Result<()> {
        std::fs::remove_file(self.path.join(cid.to_string())).map_err(failed)
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}
