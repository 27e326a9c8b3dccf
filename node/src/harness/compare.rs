//! Whether what a reader reads equals what its author wrote, octet for octet.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use crate::app::save::{Existing, Which};
use crate::app::{App, Letter, Opened, Watch};

/// What was compared.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// Bodies and files.
    pub parts: usize,
    /// Their octets.
    pub octets: u64,
}

/// Saves everything that a reader received, and compares it with what the author wrote.
///
/// # Errors
/// Names the first part that differs.
pub async fn compare(
    reader: &App,
    opened: &Opened,
    letter: &Letter,
    into: &Path,
    patience: Duration,
    watch: &Arc<dyn Watch>,
) -> anyhow::Result<Compared> {
    let Some(placeholder) = &opened.placeholder else {
        bail!("an ordinary message was received");
    };
    let saved = reader
        .save(opened, Which::All, into, Existing::Replace, patience, watch)
        .await?;
    ensure!(saved.len() == placeholder.parts().len(), "a part was not saved");
    let mut written = Vec::new();
    if let Some(text) = &letter.text {
        written.push(("the text".to_owned(), hash_of(text.as_bytes())));
    }
    if let Some(html) = &letter.html {
        // What the author wrote as a file's name is now the name of its content.
        let mut html = html.clone();
        for (part, file) in inline(placeholder).zip(&letter.inline) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            html = html.replace(&format!("cid:{name}"), &format!("cid:{part}"));
        }
        written.push(("the HTML".to_owned(), hash_of(html.as_bytes())));
    }
    for file in letter.inline.iter().chain(&letter.files) {
        written.push((file.display().to_string(), hash_file(file).await?));
    }
    ensure!(
        saved.len() == written.len(),
        "{} parts were read, {} were written",
        saved.len(),
        written.len()
    );
    let mut octets = 0;
    for (saved, (name, expected)) in saved.iter().zip(&written) {
        let found = hash_file(&saved.path).await?;
        ensure!(
            found == *expected,
            "{name} is not what was read into {}",
            saved.path.display()
        );
        octets += saved.size;
    }
    Ok(Compared {
        parts: saved.len(),
        octets,
    })
}

/// The CIDs of the images, in order.
fn inline(placeholder: &cargomail_protocol::placeholder::Placeholder) -> impl Iterator<Item = cid::Cid> {
    let images = placeholder.parts().iter();
    images
        .filter(|part| part.description.media_type().starts_with("image/"))
        .map(|part| part.resource.cid)
}

fn hash_of(octets: &[u8]) -> [u8; 32] {
    Sha256::digest(octets).into()
}

async fn hash_file(path: &Path) -> anyhow::Result<[u8; 32]> {
    let failed = || format!("{} cannot be read", path.display());
    let mut file = tokio::fs::File::open(path).await.with_context(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).await.with_context(failed)?;
        match buffer.get(..count) {
            Some(octets) if count > 0 => hash.update(octets),
            _ => return Ok(hash.finalize().into()),
        }
    }
}
