//! A transfer that is cut again and again: four real nodes, one large file, and at random points of the transfer the wire between
//! destination and origin is cut, the origin is killed, the destination is killed, and once the destination's disk is full.
//!
//! What is asked for: the transfer completes, and what is read equals what was written; over the wire goes no more than the file and
//! so much for each cut as was on its way, and of the cut that cost most it is told how much; what the destination holds meanwhile
//! is verified, and what a reader gets is the beginning of the file; all ledgers verify.

mod cost;
mod link;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cargomail_node::api::Channel;
use cargomail_node::app::save::{Existing, Which};
use cargomail_node::app::{App, Letter, Opened, Unwatched, Watch};
use cargomail_node::dns::Record;
use cargomail_node::harness::{PATIENCE, Topology, Town, acknowledged, compare, delivered, verify_ledger};
use cargomail_node::store::{Embedded, EmbeddedOptions};
use cargomail_protocol::address::Address;
use cargomail_protocol::placeholder::{Category, Mailbox};
use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::disk::Disk;
use crate::powercut;
use crate::processes::{self, Process};
use link::Link;

const ORIGIN: &str = "hospital.test";
const DESTINATION: &str = "insurance.test";
/// What one cut may cost on average, also on a slow machine: two blocks, one that was there whole and one on its way. Seen, in 100 cuts: 0.6 MB.
pub const PER_CUT: u64 = 2 * 1024 * 1024;
/// What TLS, the multiplexer and the framing add, in thousandths.
const FRAMING: u64 = 5;
/// How long the disk stays full.
const FULL: Duration = Duration::from_secs(3);
/// A look at what the destination holds, after so many kills of it.
const LOOK: usize = 8;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Octets of the file.
    pub size: u64,
    /// How often the transfer is cut.
    pub cuts: usize,
    /// What the points are drawn from.
    pub seed: u64,
    /// Octets a second over the wire: slow enough that the cuts meet it on its way.
    pub rate: u64,
    /// Only these, drawn from alike; none: any of them, but the disk is full once.
    pub only: Vec<Cut>,
}

/// What happens to a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Cut {
    /// The wire ends.
    Link,
    /// The origin is killed and started again.
    OriginKilled,
    /// The destination is killed and started again.
    DestinationKilled,
    /// The destination's disk is full for a while.
    DiskFull,
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    /// Octets that came from the origin, with everything around them.
    pub sent: u64,
    /// Of the file.
    pub size: u64,
    /// The most blocks that came twice by one cut, whole.
    pub twice: u64,
    cuts: BTreeMap<Cut, usize>,
    seconds: f64,
    entries: u64,
    looked: u64,
}

impl Outcome {
    /// Octets beyond the file and its framing, for each cut.
    #[must_use]
    pub fn excess(&self) -> u64 {
        let cuts: usize = self.cuts.values().sum();
        let needed = self.size + self.size * FRAMING / 1000;
        self.sent.saturating_sub(needed) / (cuts.max(1) as u64)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "complete after {:.0} s and {:?}; {} octets over the wire for a file of {}: {} for each cut beyond it, \
             and {} whole block(s) twice by one of them at most; {} blocks looked at meanwhile, {} entries of ledgers verified",
            self.seconds,
            self.cuts,
            self.sent,
            self.size,
            self.excess(),
            self.twice,
            self.looked,
            self.entries
        )
    }
}

struct Village {
    town: Town,
    nodes: BTreeMap<String, Process>,
    link: Link,
    disk: Disk,
    /// What the origin logs, from its first start to its last.
    log: PathBuf,
}

impl Village {
    async fn start(folder: &Path, plan: &Plan) -> anyhow::Result<Self> {
        let disk = Disk::new(plan.size * 2 + 512 * 1024 * 1024)?;
        std::os::unix::fs::symlink(disk.path(), folder.join(DESTINATION))?;
        let town = Town::build(folder, &Topology::Four.plans()).await?;
        let origin = town.site(ORIGIN);
        let link = Link::start(origin.ports.at(origin.ports.peers), plan.rate).await?;
        let name = format!("_dnsaddr.mailbox.{ORIGIN}");
        town.zone.remove(&name);
        let (at, peer) = (link.address(), origin.identity().peer_id());
        let address = format!("dnsaddr=/ip4/{}/tcp/{}/p2p/{peer}", at.ip(), at.port());
        town.zone.add(&name, Record::Txt(address));
        let mut village = Self {
            town,
            nodes: BTreeMap::new(),
            link,
            disk,
            log: folder.join("origin.log"),
        };
        for name in ["foo.test", "bar.test", ORIGIN, DESTINATION] {
            village.start_node(name).await?;
        }
        Ok(village)
    }

    async fn start_node(&mut self, name: &str) -> anyhow::Result<()> {
        let command = processes::command(&self.town.site(name).config())?;
        let node = match name {
            ORIGIN => Process::start(cost::telling(command, &self.log)?).await?,
            _ => Process::start(command).await?,
        };
        let node = node.with_context(|| format!("the node of {name} does not start"))?;
        self.nodes.insert(name.to_owned(), node);
        Ok(())
    }

    async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let node = self.nodes.remove(name).context("it runs")?;
        node.kill().await
    }

    async fn cut(&mut self, how: Cut) -> anyhow::Result<()> {
        match how {
            Cut::Link => self.link.cut(),
            Cut::OriginKilled => {
                self.kill(ORIGIN).await?;
                self.start_node(ORIGIN).await?;
            }
            Cut::DestinationKilled => {
                self.kill(DESTINATION).await?;
                self.start_node(DESTINATION).await?;
            }
            Cut::DiskFull => {
                let filler = self.disk.path().join("filler");
                fill(&filler)?;
                tokio::time::sleep(FULL).await;
                std::fs::remove_file(filler)?;
            }
        }
        Ok(())
    }

    /// Kills the destination, reads whatever it holds, and starts it again; how many blocks there were.
    async fn look_inside(&mut self) -> anyhow::Result<u64> {
        self.kill(DESTINATION).await?;
        let data = self.town.site(DESTINATION).folder.join("data");
        let store = Embedded::open(&store_in(&data), EmbeddedOptions::default()).await?;
        ensure!(store.damages().is_empty(), "{:?}", store.damages());
        let blocks = powercut::whole(&*store.blocks()).await?;
        store.close().await?;
        self.start_node(DESTINATION).await?;
        Ok(blocks)
    }
}

/// Where a node keeps its store, below its data.
fn store_in(data: &Path) -> PathBuf {
    data.join("store")
}

/// Takes all room that is left.
fn fill(path: &Path) -> anyhow::Result<()> {
    let mut file = std::fs::File::create(path)?;
    let mut piece = vec![0; 1024 * 1024];
    while !piece.is_empty() {
        if file.write(&piece).is_err() {
            piece.truncate(piece.len() / 2);
        }
    }
    Ok(())
}

fn write_noise(path: &Path, size: u64, seed: u64) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut file = std::fs::File::create(path)?;
    let mut left = size;
    let mut piece = vec![0; 1024 * 1024];
    random.fill_bytes(&mut piece);
    while left > 0 {
        // Every piece differs from the others in its first octets, so no two blocks are the same.
        let (head, _) = piece.split_at_mut(8);
        head.copy_from_slice(&left.to_be_bytes());
        let count = usize::try_from(left.min(piece.len() as u64))?;
        file.write_all(piece.get(..count).unwrap_or_default())?;
        left -= count as u64;
    }
    Ok(())
}

/// Cuts a transfer as planned; `tell` is told how it goes. The nodes' folders lie where temporary files do.
///
/// # Errors
/// When the transfer does not complete, costs more than it may, or brings anything that was not sent; with the seed that repeats it.
pub async fn run(plan: &Plan, tell: impl Fn(&str)) -> anyhow::Result<Outcome> {
    let folder = tempfile::Builder::new().prefix("cuts").tempdir()?;
    let mut village = Village::start(folder.path(), plan).await?;
    transfer(&mut village, folder.path(), plan, tell)
        .await
        .with_context(|| format!("seed {}", plan.seed))
}

async fn transfer(
    village: &mut Village,
    folder: &Path,
    plan: &Plan,
    tell: impl Fn(&str),
) -> anyhow::Result<Outcome> {
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let alice = village.town.person("alice@foo.test").await?;
    let bob = village.town.person("bob@bar.test").await?;
    bob.broker()?.set_preferences(&Topology::Four.wishes()?).await?;
    let file = folder.join("large.bin");
    write_noise(&file, plan.size, plan.seed)?;
    let mut letter = Letter::new(Category::parse("personal")?);
    letter.to = vec![Mailbox::bare(Address::parse("bob@bar.test")?)];
    letter.subject = "One large file".to_owned();
    letter.files = vec![file.clone()];
    letter.channel = Some(Channel::Web);
    let composed = alice.compose(&letter, &watch).await?;
    tell("posted");
    let begin = Instant::now();
    alice.hand_over(&composed, letter.channel).await?;
    let message = delivered(&bob, "inbox", &composed.message_id).await?;
    let opened = bob.open(&message.id).await?;

    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut points: Vec<u64> = (0..plan.cuts)
        .map(|_| random.random_range(0..plan.size))
        .collect();
    points.sort_unstable();
    let mut outcome = Outcome {
        sent: 0,
        size: plan.size,
        twice: 0,
        cuts: BTreeMap::new(),
        seconds: 0.0,
        entries: 0,
        looked: 0,
    };
    for (number, point) in points.into_iter().enumerate() {
        village.link.reaches(point, PATIENCE).await?;
        let how = match number {
            _ if !plan.only.is_empty() => plan.only[random.random_range(0..plan.only.len())],
            _ if number == plan.cuts / 2 => Cut::DiskFull,
            _ => [Cut::Link, Cut::OriginKilled, Cut::DestinationKilled][random.random_range(0..3)],
        };
        let at = village.link.counted();
        let before = outcome.cuts.entry(how).or_default();
        *before += 1;
        if how == Cut::DestinationKilled && *before % LOOK == 1 {
            outcome.looked += village.look_inside().await?;
            glance(&bob, &opened, &file, &folder.join(format!("glance-{number}"))).await?;
        } else {
            village.cut(how).await?;
        }
        tell(&format!(
            "cut {} of {}: {how:?} at {at} octets",
            number + 1,
            plan.cuts
        ));
    }
    acknowledged(&alice, &composed.message_id).await?;
    outcome.seconds = begin.elapsed().as_secs_f64();
    outcome.sent = village.link.counted();
    let (twice, shown) = cost::twice(&village.link, &village.log, plan.size)?;
    outcome.twice = twice;
    tell(&format!("the cut that cost most: {shown}"));
    compare(&bob, &opened, &letter, &folder.join("read"), PATIENCE, &watch).await?;
    for site in village.town.sites() {
        outcome.entries += verify_ledger(&village.town.administration(site)?).await?;
    }
    ensure!(
        outcome.excess() <= PER_CUT,
        "{} octets went over the wire for each cut beyond the file",
        outcome.excess()
    );
    Ok(outcome)
}

/// Reads what there is before everything is: it is refused, or it is the beginning of the file.
async fn glance(bob: &App, opened: &Opened, file: &Path, into: &Path) -> anyhow::Result<()> {
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let patience = Duration::from_millis(1);
    let _ = bob
        .save(opened, Which::Files, into, Existing::Replace, patience, &watch)
        .await;
    let Ok(entries) = std::fs::read_dir(into) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        ensure!(
            is_beginning(&path, file)?,
            "{} holds what was never sent",
            path.display()
        );
    }
    std::fs::remove_dir_all(into)?;
    Ok(())
}

fn is_beginning(part: &Path, whole: &Path) -> anyhow::Result<bool> {
    let (mut part, mut whole) = (std::fs::File::open(part)?, std::fs::File::open(whole)?);
    let mut left = part.metadata()?.len();
    let (mut found, mut expected) = (vec![0; 1024 * 1024], vec![0; 1024 * 1024]);
    while left > 0 {
        let count = usize::try_from(left.min(found.len() as u64))?;
        let (found, expected) = (found.split_at_mut(count).0, expected.split_at_mut(count).0);
        part.read_exact(found)?;
        if whole.read_exact(expected).is_err() || found != expected {
            return Ok(false);
        }
        left -= count as u64;
    }
    Ok(true)
}
