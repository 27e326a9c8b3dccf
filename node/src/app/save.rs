//! Saving: parts of a message as files.
//!
//! What always holds: a file is written in the folder that was named and nowhere else, under a name that is one plain path
//! element (row M08); it is there complete and checked, or not at all; what is there already is replaced only when
//! that was asked for, and counts as saved when it is what would be written.

use std::collections::{BTreeSet, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cargomail_protocol::placeholder::{Disposition, Part, ResourceRef, download_name};
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::read::{Opened, ReadError, label};
use super::stream::{known_hash, pour};
use super::{App, AppError, Watch};

/// Octets that are read at a time.
const CHUNK: usize = 1024 * 1024;

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays; saving fails unless it is what would be written.
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
    /// [`ReadError`]; files that were complete before stay, and are not fetched again.
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
            let size = part.resource.size;
            let path = folder.join(&name);
            if existing == Existing::Keep && is_there(&path, &part.resource).await {
                saved.push(Saved { path, size });
                continue;
            }
            let mut target = Target::open(folder, &name, existing).await?;
            watch.begin(&label(index, part), size);
            let poured = pour(&source, &part.resource, None, &mut target.file, watch).await;
            watch.end();
            saved.push(target.finish(poured, size).await?);
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
    let mut wanted = Vec::new();
    for (index, part) in parsed.attachments().enumerate() {
        if matches!(which, Which::One(number) if number != index + 1) {
            continue;
        }
        let media_type = part.content_type().map_or_else(String::new, |kind| {
            format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())
        });
        let name = names.take(part.attachment_name().map(str::to_owned), &media_type, index);
        wanted.push((name, part));
    }
    if which == Which::All {
        for part in bodies(&parsed) {
            let name = if part.is_text_html() {
                "text.html"
            } else {
                "text.txt"
            };
            wanted.push((names.take(Some(name.to_owned()), "", 0), part));
        }
    }
    let mut saved = Vec::new();
    for (name, part) in wanted {
        let octets = part.contents();
        let size = octets.len() as u64;
        let path = folder.join(&name);
        if existing == Existing::Keep && is_file_of(&path, size).await && holds(&path, octets).await {
            saved.push(Saved { path, size });
            continue;
        }
        let mut target = Target::open(folder, &name, existing).await?;
        let written = target.file.write_all(octets).await.map_err(ReadError::Write);
        saved.push(target.finish(written, size).await?);
    }
    Ok(saved)
}

/// The bodies of an ordinary message, in its order.
fn bodies<'a, 'x>(message: &'a Message<'x>) -> impl Iterator<Item = &'a MessagePart<'x>> {
    let all: BTreeSet<_> = message.text_body.iter().chain(&message.html_body).collect();
    all.into_iter()
        .filter(|id| !message.attachments.contains(id))
        .filter_map(|id| message.part(*id))
}

/// Whether a resource was saved here before: a file of its size and its hash. One whose hash is not known was not.
async fn is_there(path: &Path, resource: &ResourceRef) -> bool {
    match known_hash(resource) {
        Some(known) if is_file_of(path, resource.size).await => {
            hash_of(path).await.is_ok_and(|hash| hash == known)
        }
        _ => false,
    }
}

/// Whether a file of so many octets is there. What a link leads to is not.
async fn is_file_of(path: &Path, size: u64) -> bool {
    let about = fs::symlink_metadata(path).await;
    about.is_ok_and(|about| about.is_file() && about.len() == size)
}

async fn holds(path: &Path, octets: &[u8]) -> bool {
    fs::read(path).await.is_ok_and(|found| found == octets)
}

async fn hash_of(path: &Path) -> std::io::Result<[u8; 32]> {
    let mut file = File::open(path).await?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = file.read(&mut buffer).await?;
        match buffer.get(..count) {
            None | Some([]) => return Ok(hash.finalize().into()),
            Some(read) => hash.update(read),
        }
    }
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

    /// Gives the file its name, or removes it when what was written is not to be kept. An error of writing names the file.
    async fn finish(mut self, written: Result<(), ReadError>, size: u64) -> Result<Saved, ReadError> {
        let kept = match written {
            Ok(()) => self.keep().await,
            Err(ReadError::Write(why)) => Err(self.failed(why)),
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
        let written = match self.file.flush().await {
            Ok(()) => self.file.sync_all().await,
            Err(why) => Err(why),
        };
        written.map_err(|why| self.failed(why))?;
        match self.existing {
            Existing::Replace => self.rename().await,
            // A link is made only where nothing is, also when something came there in the meantime.
            Existing::Keep => match fs::hard_link(&self.draft, &self.path).await {
                Ok(()) => fs::remove_file(&self.draft).await.map_err(|why| self.failed(why)),
                Err(why) if why.kind() == ErrorKind::AlreadyExists => {
                    Err(ReadError::Exists(self.path.clone()))
                }
                Err(_) => self.take_place().await,
            },
        }
    }

    /// Where a file cannot have two names: an empty one takes the place where nothing is, and is replaced.
    async fn take_place(&self) -> Result<(), ReadError> {
        let place = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&self.path)
            .await;
        place.map_err(|why| match why.kind() {
            ErrorKind::AlreadyExists => ReadError::Exists(self.path.clone()),
            _ => self.failed(why),
        })?;
        let renamed = self.rename().await;
        if renamed.is_err() {
            let _ = fs::remove_file(&self.path).await;
        }
        renamed
    }

    async fn rename(&self) -> Result<(), ReadError> {
        let renamed = fs::rename(&self.draft, &self.path).await;
        renamed.map_err(|why| self.failed(why))
    }

    fn failed(&self, why: std::io::Error) -> ReadError {
        let path = self.path.clone();
        AppError::File { path, why }.into()
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
