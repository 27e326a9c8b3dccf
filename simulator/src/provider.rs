//! What the provider sees: a broker without a Resource Mailbox must neither give nor hold anybody's content.
//!
//! Looked at from outside, by asking its user face for every resource that its users wrote or received; and from inside,
//! after it was stopped, by asking its store for every root and by searching every octet of its data folder for the
//! marker that stands in all content, as it is and in base64.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cargomail_node::app::AppError;
use cargomail_node::config::Settings;
use cargomail_node::store::{BlockStore, Embedded, EmbeddedOptions};
use cargomail_protocol::address::Address;
use cargomail_protocol::dag::cid;
use data_encoding::BASE64;
use memchr::memmem::Finder;

use crate::history::{Mail, Provider, Sending};
use crate::run::Stage;
use crate::world::Disk;

/// What is read at a time.
const WINDOW: usize = 1 << 20;
/// Blocks on a page.
const PAGE: usize = 1000;
/// Octets of the marker that are looked for in base64: short enough to stand on one line often.
const PIECE: usize = 18;

/// The accepted mails with their roots.
fn accepted(mails: &[Mail]) -> impl Iterator<Item = (&Mail, &[String])> {
    mails.iter().filter_map(|mail| match &mail.sending {
        Sending::Accepted { resources, .. } => Some((mail, resources.as_slice())),
        Sending::Not { .. } | Sending::NotDue => None,
    })
}

/// Asks a running broker for everything that its users wrote or received.
pub(crate) async fn ask(stage: &Stage, site: &str, mails: &[Mail]) -> Provider {
    let mut provider = Provider {
        site: site.to_owned(),
        ..Provider::default()
    };
    for (mail, resources) in accepted(mails) {
        let people = std::iter::once(&mail.author).chain(mail.fates.iter().map(|fate| &fate.recipient));
        for person in people.filter(|person| person.domain().as_str() == site) {
            for resource in resources {
                provider.asked += 1;
                if let Some(answer) = answer(stage, person, resource).await {
                    provider.answered.push(format!(
                        "{} of {} was asked for by {person}: {answer}",
                        resource,
                        mail.name()
                    ));
                }
            }
        }
    }
    provider
}

/// What the person's broker answered to the question for a resource, if it was not that it has none.
async fn answer(stage: &Stage, person: &Address, resource: &str) -> Option<String> {
    let asked = async {
        let cid = cid::from_text(resource).map_err(|why| why.to_string())?;
        let broker = stage.app(person).broker().map_err(|why| why.to_string())?;
        match broker.resource(&cid, Some(1)).await {
            Err(AppError::Said { status: 404, .. }) => Ok(()),
            Err(other) => Err(other.to_string()),
            Ok(_) => Err("it gave it".to_owned()),
        }
    };
    asked.await.err()
}

/// Looks for content in the store of a broker that was stopped.
pub(crate) async fn look_into(provider: &mut Provider, config: &Path, roots: &Roots, marker: &str) {
    let looked = async {
        let settings = Settings::open(config)?;
        let store = Embedded::open(&settings.store_folder(), EmbeddedOptions::default()).await?;
        look_for_roots(provider, &*store.blocks(), roots).await?;
        store.close().await?;
        let searched = search(settings.data, marker, Thoroughly::EveryFile).await?;
        let files = searched.files.iter().map(|file| file.display().to_string());
        note(provider, searched.octets, files);
        anyhow::Ok(())
    };
    if let Err(error) = looked.await {
        not_looked(provider, &error);
    }
}

/// The same on the disk of a virtual machine.
pub(crate) async fn look_into_disk(provider: &mut Provider, disk: &Disk, roots: &Roots, marker: &str) {
    if let Err(error) = look_for_roots(provider, &disk.mount(), roots).await {
        return not_looked(provider, &error);
    }
    let (octets, found) = disk.search(&Needles::of(marker));
    note(provider, octets, found.into_iter());
}

/// The roots of everything that was accepted, by their digests.
pub(crate) struct Roots(HashMap<[u8; 32], String>);

impl Roots {
    pub(crate) fn of(mails: &[Mail]) -> anyhow::Result<Self> {
        let all = accepted(mails).flat_map(|(_, resources)| resources);
        let digests = all.map(|root| {
            let digest = cid::digest(&cid::from_text(root)?)?;
            anyhow::Ok((digest, root.clone()))
        });
        digests.collect::<anyhow::Result<_>>().map(Self)
    }
}

/// Goes through all blocks of a store.
async fn look_for_roots(
    provider: &mut Provider,
    blocks: &dyn BlockStore,
    roots: &Roots,
) -> anyhow::Result<()> {
    provider.roots = roots.0.len();
    let mut after = None;
    loop {
        let page = blocks.list(after, PAGE).await?;
        let held = page.iter().filter_map(|(digest, _)| roots.0.get(digest));
        provider
            .found
            .extend(held.map(|root| format!("its store holds {root}")));
        match page.last() {
            Some((digest, _)) => after = Some(*digest),
            None => return Ok(()),
        }
    }
}

fn note(provider: &mut Provider, octets: u64, found: impl Iterator<Item = String>) {
    provider.searched = octets;
    provider
        .found
        .extend(found.map(|place| format!("content stands in {place}")));
}

fn not_looked(provider: &mut Provider, error: &anyhow::Error) {
    provider
        .found
        .push(format!("it could not be looked at: {error:#}"));
}

/// How much is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thoroughly {
    /// Everything.
    EveryFile,
    /// Until something is found.
    UntilFound,
}

/// What a search came to.
#[derive(Debug, Default)]
pub(crate) struct Searched {
    /// Octets that were looked at.
    pub(crate) octets: u64,
    /// Files in which the marker stands.
    pub(crate) files: Vec<PathBuf>,
}

/// Searches a folder for the marker.
pub(crate) async fn search(folder: PathBuf, marker: &str, how: Thoroughly) -> anyhow::Result<Searched> {
    let needles = Needles::of(marker);
    let searched = tokio::task::spawn_blocking(move || search_folder(&folder, &needles, how));
    Ok(searched.await??)
}

/// The marker as it is, and as it looks in base64 at each of the three places where it may begin.
pub struct Needles(Vec<Finder<'static>>);

impl Needles {
    pub(crate) fn of(marker: &str) -> Self {
        let marker = marker.as_bytes();
        let pieces = (0..3).filter_map(|begin| marker.get(begin..begin + PIECE));
        let encoded = pieces.map(|piece| Finder::new(&BASE64.encode(piece)).into_owned());
        let plain = std::iter::once(Finder::new(marker).into_owned());
        Self(plain.chain(encoded).collect())
    }

    /// Whether one of them stands there.
    pub(crate) fn stand_in(&self, octets: &[u8]) -> bool {
        self.0.iter().any(|needle| needle.find(octets).is_some())
    }

    /// Octets of the longest.
    fn longest(&self) -> usize {
        let lengths = self.0.iter().map(|needle| needle.needle().len());
        lengths.max().unwrap_or(0)
    }
}

fn search_folder(folder: &Path, needles: &Needles, how: Thoroughly) -> io::Result<Searched> {
    let mut searched = Searched::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let (octets, found) = search_file(&entry.path(), needles)?;
                searched.octets += octets;
                if found {
                    searched.files.push(entry.path());
                    if how == Thoroughly::UntilFound {
                        return Ok(searched);
                    }
                }
            }
        }
    }
    Ok(searched)
}

/// How many octets were read, and whether one of the needles stands there.
fn search_file(path: &Path, needles: &Needles) -> io::Result<(u64, bool)> {
    let mut file = File::open(path)?;
    // What stands across two windows is found too: the end of each is looked at again.
    let kept = needles.longest();
    let mut window = Vec::with_capacity(WINDOW + kept);
    let mut octets = 0;
    loop {
        let read = file.by_ref().take(WINDOW as u64).read_to_end(&mut window)?;
        if read == 0 {
            return Ok((octets, false));
        }
        octets += read as u64;
        if needles.stand_in(&window) {
            return Ok((octets, true));
        }
        window.drain(..window.len().saturating_sub(kept));
    }
}

#[cfg(test)]
mod tests;
