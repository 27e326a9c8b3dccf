//! Saving: parts of a message as files.
//!
//! What always holds: a file is written in the folder that was named and nowhere else, under a name that is one plain path
//! element (row M08); it is there complete and checked, or not at all; what is there already is replaced only when
//! that was asked for.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cargomail_protocol::placeholder::{Disposition, Part, download_name};
use mail_parser::{MessageParser, MimeHeaders};
use serde::Serialize;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt;

use super::read::{Opened, ReadError, label};
use super::stream::pour;
use super::{App, AppError, Watch};

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and saving fails.
    Keep,
    /// It is replaced.
    Replace,
}

/// Which parts are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The files: everything that has a file name or is an attachment.
    Files,
    /// The bodies too.
    All,
    /// One part, counted from 1.
    One(usize),
}

/// A file that was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Where it is.
    pub path: PathBuf,
    /// Its octets.
    pub size: u64,
}

impl App {
    /// Saves parts of a message in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`ReadError`]; files that were complete before stay.
    pub async fn save(
        &self,
        opened: &Opened,
        which: Which,
        folder: &Path,
        existing: Existing,
        patience: Duration,
        watch: &Arc<dyn Watch>,
    ) -> Result<Vec<Saved>, ReadError> {
        fs::create_dir_all(folder).await.map_err(|why| AppError::File {
            path: folder.to_owned(),
            why,
        })?;
        let Some(placeholder) = &opened.placeholder else {
            return ordinary(&opened.message, which, folder, existing).await;
        };
        let parts = placeholder.parts();
        check(which, parts.len())?;
        let wanted: Vec<(usize, &Part)> = parts
            .iter()
            .enumerate()
            .filter(|(index, part)| match which {
                Which::Files => is_file(part),
                Which::All => true,
                Which::One(number) => index + 1 == number,
            })
            .collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let source = self.source(placeholder, patience, watch).await?;
        let mut names = Names::default();
        let mut saved = Vec::new();
        for (index, part) in wanted {
            let name = names.take(
                part.description.file_name(),
                &part.description.media_type(),
                index,
            );
            let mut target = Target::open(folder, &name, existing).await?;
            watch.begin(&label(index, part), part.resource.size);
            let poured = pour(&source, &part.resource, None, &mut target.file, watch).await;
            watch.end();
            saved.push(target.finish(poured, part.resource.size).await?);
        }
        Ok(saved)
    }

    /// Saves the author's message as one file.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn save_message(
        &self,
        opened: &Opened,
        path: &Path,
        existing: Existing,
        patience: Duration,
        watch: &Arc<dyn Watch>,
    ) -> Result<Saved, ReadError> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut target = Target::open(folder, &name, existing).await?;
        let written = self
            .write_message(opened, &mut target.file, patience, watch)
            .await;
        let size = target.file.metadata().await.map_or(0, |about| about.len());
        target.finish(written, size).await
    }
}

fn is_file(part: &Part) -> bool {
    part.description.disposition() == Some(Disposition::Attachment) || part.description.file_name().is_some()
}

fn check(which: Which, parts: usize) -> Result<(), ReadError> {
    match which {
        Which::One(wanted) if wanted == 0 || wanted > parts => Err(ReadError::NoPart { wanted, parts }),
        _ => Ok(()),
    }
}

async fn ordinary(
    message: &[u8],
    which: Which,
    folder: &Path,
    existing: Existing,
) -> Result<Vec<Saved>, ReadError> {
    let parsed = MessageParser::default().parse(message).unwrap_or_default();
    check(which, parsed.attachments().count())?;
    let mut names = Names::default();
    let mut saved = Vec::new();
    for (index, part) in parsed.attachments().enumerate() {
        if matches!(which, Which::One(number) if number != index + 1) {
            continue;
        }
        let media_type = part.content_type().map_or_else(String::new, |kind| {
            format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())
        });
        let name = names.take(part.attachment_name().map(str::to_owned), &media_type, index);
        let mut target = Target::open(folder, &name, existing).await?;
        let octets = part.contents();
        let written = target.file.write_all(octets).await.map_err(ReadError::Write);
        saved.push(target.finish(written, octets.len() as u64).await?);
    }
    Ok(saved)
}

/// The names of one message's files, each once.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    fn take(&mut self, name: Option<String>, media_type: &str, index: usize) -> String {
        let name = name.unwrap_or_else(|| {
            let extension = match media_type {
                "text/plain" => "txt",
                other => mime_guess::get_mime_extensions_str(other)
                    .and_then(|known| known.first())
                    .unwrap_or(&"bin"),
            };
            format!("part-{}.{extension}", index + 1)
        });
        let name = download_name(&name);
        let mut free = name.clone();
        let mut number = 2;
        // Compared without case, because some file systems do.
        while !self.0.insert(free.to_lowercase()) {
            free = match name.rsplit_once('.') {
                Some((stem, extension)) => format!("{stem} ({number}).{extension}"),
                None => format!("{name} ({number})"),
            };
            number += 1;
        }
        free
    }
}

/// A file that is being written: under another name until it is complete.
struct Target {
    file: File,
    draft: PathBuf,
    path: PathBuf,
    existing: Existing,
}

impl Target {
    async fn open(folder: &Path, name: &str, existing: Existing) -> Result<Self, ReadError> {
        let path = folder.join(name);
        if existing == Existing::Keep && fs::symlink_metadata(&path).await.is_ok() {
            return Err(ReadError::Exists(path));
        }
        let draft = folder.join(format!(".cargomail-{}-{}.part", std::process::id(), short(name)));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&draft)
            .await
            .map_err(|why| AppError::File {
                path: draft.clone(),
                why,
            })?;
        Ok(Self {
            file,
            draft,
            path,
            existing,
        })
    }

    /// Gives the file its name, or removes it when what was written is not to be kept.
    async fn finish(mut self, written: Result<(), ReadError>, size: u64) -> Result<Saved, ReadError> {
        let kept = match written {
            Ok(()) => self.keep().await,
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            let _ = fs::remove_file(&self.draft).await;
            return Err(error);
        }
        Ok(Saved {
            path: self.path,
            size,
        })
    }

    async fn keep(&mut self) -> Result<(), ReadError> {
        self.file.flush().await.map_err(ReadError::Write)?;
        self.file.sync_all().await.map_err(ReadError::Write)?;
        match self.existing {
            Existing::Replace => fs::rename(&self.draft, &self.path)
                .await
                .map_err(ReadError::Write),
            // A link is made only where nothing is, also when something came there in the meantime.
            Existing::Keep => match fs::hard_link(&self.draft, &self.path).await {
                Ok(()) => fs::remove_file(&self.draft).await.map_err(ReadError::Write),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    Err(ReadError::Exists(self.path.clone()))
                }
                Err(error) => Err(ReadError::Write(error)),
            },
        }
    }
}

/// Some letters of a name, for the draft's own.
fn short(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .take(24)
        .collect()
}

#[cfg(test)]
mod tests;
