//! One person reads one message, and it is compared with what was written.
//!
//! Not here: when somebody reads, and how often.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use cargomail_node::app::{App, Letter, Opened, ReadError, Unwatched, Watch};
use cargomail_node::harness::{compare, compare_head};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use crate::history::Reading;
use crate::run::Reading as How;

/// Reads a message and compares it with what was written; the octets that were compared. One try: what is still on its way is not waited for.
pub(crate) async fn read(
    reader: &App,
    message: &str,
    letter: &Letter,
    into: PathBuf,
    how: How,
) -> anyhow::Result<u64> {
    let unwatched: Arc<dyn Watch> = Arc::new(Unwatched);
    let compared = async {
        let opened = reader.open(message).await?;
        match how {
            How::Saved => compare(reader, &opened, letter, &into, Duration::ZERO, &unwatched)
                .await
                .map(|compared| compared.octets),
            How::InMemory => compare_in_memory(reader, &opened, letter, &unwatched).await,
        }
    };
    let compared = compared.await;
    if how == How::Saved {
        let _ = tokio::fs::remove_dir_all(&into).await;
    }
    compared
}

/// What came of reading a message.
pub(crate) fn reading(read: anyhow::Result<u64>) -> Reading {
    match read {
        Ok(octets) => Reading::Equal { octets },
        Err(error) => {
            let why = format!("{error:#}");
            match error.downcast_ref::<ReadError>() {
                None | Some(ReadError::Unverifiable(_) | ReadError::Placeholder(_)) => {
                    Reading::Different { why }
                }
                Some(_) => Reading::Unreadable { why },
            }
        }
    }
}

/// Compares the head, and every part as it comes from the destination, with what was written: text and files, whose octets are compared by
/// SHA-256.
async fn compare_in_memory(
    reader: &App,
    opened: &Opened,
    letter: &Letter,
    unwatched: &Arc<dyn Watch>,
) -> anyhow::Result<u64> {
    let Some(placeholder) = &opened.placeholder else {
        bail!("an ordinary message was received");
    };
    compare_head(placeholder, letter)?;
    let source = reader.source(placeholder, Duration::ZERO, unwatched).await?;
    let text = letter
        .text
        .iter()
        .map(|text| ("the text".to_owned(), Sha256::digest(text)));
    let mut written: Vec<_> = text.collect();
    for file in &letter.files {
        written.push((file.display().to_string(), Sha256::digest(std::fs::read(file)?)));
    }
    let parts = placeholder.parts();
    ensure!(
        parts.len() == written.len(),
        "{} parts were read, {} were written",
        parts.len(),
        written.len()
    );
    let mut octets = 0;
    for (part, (name, expected)) in parts.iter().zip(written) {
        let body = source
            .resource(&part.resource.cid, None)
            .await
            .map_err(ReadError::from)?;
        let mut hash = Sha256::new();
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.try_next().await.map_err(|why| ReadError::Broken {
            cid: part.resource.cid,
            why: why.to_string(),
        })? {
            octets += piece.len() as u64;
            hash.update(&piece);
        }
        ensure!(hash.finalize() == expected, "{name} is not what was read");
    }
    Ok(octets)
}
