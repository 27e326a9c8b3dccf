//! The copy itself, the same over every channel: reading, sending, receiving and writing go on at once, with a few
//! buffers between them; memory does not grow with the files.
//!
//! On the stream: for each file the length of its name (2 octets), its size (8), its name and its octets; a length of 0 ends
//! it. The receiver answers with one octet once everything is on its disk.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

/// Octets that are read or written at once.
const PIECE: usize = 256 * 1024;
/// Pieces between the disk and the stream.
const BETWEEN: usize = 8;

/// Sends every file of a folder and waits until the receiver has it.
pub(crate) async fn send(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    folder: &Path,
) -> anyhow::Result<()> {
    let (pieces, mut read) = mpsc::channel(BETWEEN);
    let folder = folder.to_owned();
    let reader = tokio::task::spawn_blocking(move || read_all(&folder, &pieces));
    while let Some(piece) = read.recv().await {
        stream.write_all(&piece).await?;
    }
    reader.await??;
    stream.write_all(&[0; 10]).await?;
    stream.flush().await?;
    ensure!(stream.read_u8().await? == 1, "the receiver says no");
    Ok(())
}

/// Small files share a piece.
fn read_all(folder: &Path, pieces: &mpsc::Sender<Vec<u8>>) -> anyhow::Result<()> {
    let mut piece = Vec::with_capacity(PIECE);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_encoded_bytes();
        let mut file = File::open(entry.path())?;
        let mut left = file.metadata()?.len();
        piece.extend(u16::try_from(name.len())?.to_be_bytes());
        piece.extend(left.to_be_bytes());
        piece.extend(name);
        while left > 0 {
            if piece.len() >= PIECE {
                hand_over(&mut piece, pieces)?;
            }
            let room = (PIECE - piece.len()) as u64;
            let count = (&mut file).take(room.min(left)).read_to_end(&mut piece)?;
            ensure!(count > 0, "a file has become shorter");
            left -= count as u64;
        }
        if piece.len() + 300 > PIECE {
            hand_over(&mut piece, pieces)?;
        }
    }
    hand_over(&mut piece, pieces)
}

fn hand_over(piece: &mut Vec<u8>, pieces: &mpsc::Sender<Vec<u8>>) -> anyhow::Result<()> {
    let full = std::mem::replace(piece, Vec::with_capacity(PIECE));
    pieces.blocking_send(full).context("the stream is gone")
}

enum Arrived {
    File(PathBuf),
    Octets(Vec<u8>),
}

/// Takes every file into a folder, syncs, and answers; gives how many octets the files have.
pub(crate) async fn receive(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    folder: &Path,
) -> anyhow::Result<u64> {
    let mut stream = BufReader::with_capacity(PIECE, stream);
    let (arrived, write) = mpsc::channel(BETWEEN);
    let target = folder.to_owned();
    let writer = tokio::task::spawn_blocking(move || write_all(&target, write));
    let mut octets = 0;
    loop {
        let length = stream.read_u16().await?;
        let mut left = stream.read_u64().await?;
        if length == 0 {
            break;
        }
        let mut name = vec![0; length.into()];
        stream.read_exact(&mut name).await?;
        let name = String::from_utf8(name)?;
        if name.contains('/') || name.starts_with('.') {
            bail!("not a file's name: {name}");
        }
        octets += left;
        let mut message = Arrived::File(folder.join(name));
        while arrived.send(message).await.is_ok() && left > 0 {
            let count = left.min(PIECE as u64);
            let mut piece = Vec::with_capacity(usize::try_from(count)?);
            (&mut stream).take(count).read_to_end(&mut piece).await?;
            ensure!(piece.len() as u64 == count, "the stream broke off");
            left -= count;
            message = Arrived::Octets(piece);
        }
    }
    drop(arrived);
    writer.await??;
    stream.write_u8(1).await?;
    stream.flush().await?;
    Ok(octets)
}

/// One file: its sync and the folder's. Several: one sync of the file system, as `sync -f` does it.
fn write_all(folder: &Path, mut arrived: mpsc::Receiver<Arrived>) -> anyhow::Result<()> {
    let mut files = 0;
    let mut file = None;
    while let Some(message) = arrived.blocking_recv() {
        match (message, &mut file) {
            (Arrived::File(path), file) => {
                *file = Some(File::create_new(path)?);
                files += 1;
            }
            (Arrived::Octets(octets), Some(file)) => file.write_all(&octets)?,
            (Arrived::Octets(_), None) => bail!("octets without a file"),
        }
    }
    let root = File::open(folder)?;
    match file {
        Some(only) if files == 1 => {
            only.sync_all()?;
            root.sync_all()?;
        }
        _ => rustix::fs::syncfs(&root)?,
    }
    Ok(())
}
