//! The node that receives: a process of its own, and what it has spent.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cargomail_protocol::address::{Address, Locator};
use cargomail_protocol::routing::Preferences;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::app::{App, AppError};
use crate::harness::{PATIENCE, Site, SitePlan, Town};
use crate::https::Server;

/// The sender's domain.
pub(super) const FOO: &str = "foo.test";
/// The recipients' domain.
pub(super) const BAR: &str = "bar.test";
/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long it is waited when the node lets nobody in for a moment.
const BRAKE: Duration = Duration::from_secs(1);
/// What the node's log says of a message that is in a User Mailbox.
const DELIVERED: &[u8] = b"step=\"deliver\"";
/// Lines of the log that are told when the node fails.
const TOLD: usize = 20;
/// Ticks of a second in `/proc/<pid>/stat`: the same on every Linux (USER_HZ).
const TICKS: u64 = 100;

/// A node of the recipients' domain with a Cargo Broker and a Resource Mailbox, and the DNS that it asks.
pub(super) struct Receiver {
    pub(super) town: Town,
    pub(super) people: Vec<App>,
    process: Node,
}

/// What a process has spent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) cpu: Duration,
    /// Octets that went to the disk.
    pub(super) written: u64,
    /// Octets of its data folder.
    pub(super) disk: u64,
    /// The most memory that it had.
    pub(super) peak: u64,
}

impl Spent {
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            written: self.written.saturating_sub(before.written),
            disk: self.disk.saturating_sub(before.disk),
            peak: self.peak,
        }
    }
}

/// A node of a town, as a process.
pub(super) struct Node {
    child: Child,
    log: PathBuf,
    data: PathBuf,
}

impl Node {
    /// Starts it; returns once it serves.
    pub(super) async fn start(site: &Site) -> anyhow::Result<Self> {
        let log = site.folder.join("node.log");
        let to = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
        let mut child = Command::new(std::env::current_exe().context("where this program lies")?)
            .arg("--config")
            .arg(site.config())
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(to)
            .kill_on_drop(true)
            .spawn()
            .context("the receiving node cannot be started")?;
        let stdout = child.stdout.take().context("its output was asked for")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if line == "running" {
                // What it prints later must find a reader.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                let data = site.folder.join("data");
                return Ok(Self { child, log, data });
            }
        }
        bail!("the receiving node does not run: {}", ending(&log));
    }

    /// What it has spent since it was started.
    pub(super) fn spent(&self) -> anyhow::Result<Spent> {
        let id = self.child.id().context("the receiving node has ended")?;
        let read = |file: &str| {
            let path = format!("/proc/{id}/{file}");
            std::fs::read_to_string(&path).context(path)
        };
        let stat = read("stat")?;
        // The name of the program stands in brackets and may hold anything; user and system time are fields 14 and 15.
        let (_, behind) = stat.rsplit_once(')').context("/proc/<pid>/stat")?;
        let fields = behind.split_ascii_whitespace().skip(11).take(2);
        let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Spent {
            cpu: Duration::from_millis(ticks * 1000 / TICKS),
            written: number(&read("io")?, "write_bytes:").unwrap_or_default(),
            disk: size_of(&self.data)?,
            peak: number(&read("status")?, "VmHWM:").unwrap_or_default() * 1024,
        })
    }

    /// Asks it to end, and waits until it has.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(id) = self.child.id() {
            let asked = Command::new("kill").args(["-TERM", &id.to_string()]).status();
            asked.await.context("kill, of every system, is missing")?;
        }
        self.child.wait().await?;
        Ok(())
    }
}

impl Receiver {
    /// Starts the node, and gives the recipients their accounts and wishes.
    pub(super) async fn start(folder: &Path, recipients: usize) -> anyhow::Result<Self> {
        let addresses: Vec<String> = (0..recipients)
            .map(|number| format!("bob{number}@{BAR}"))
            .collect();
        let mut bar = SitePlan::new(BAR).with_broker().with_mailbox();
        for address in &addresses {
            bar = bar.with(address);
        }
        let town = Town::build(folder, &[SitePlan::new(FOO).with_broker().with_mailbox(), bar]).await?;
        let process = Node::start(town.site(BAR)).await?;
        let mut people = Vec::new();
        let wishes = Preferences {
            rules: Vec::new(),
            default: vec![Locator::parse(&format!("mailbox.{BAR}"))?],
        };
        for address in &addresses {
            people.push(person(&town, address, &wishes).await?);
        }
        Ok(Self {
            town,
            people,
            process,
        })
    }

    /// Who gets message number so and so.
    pub(super) fn recipient(&self, number: usize) -> &Address {
        let person = self.people.get(number % self.people.len().max(1));
        &person.expect("there is a recipient").profile().address
    }

    /// Where the web channel is.
    pub(super) fn server(&self) -> Server {
        let site = self.town.site(BAR);
        Server::at(
            site.ports.at(site.ports.grip),
            vec![site.identity().spki_sha256()],
        )
    }

    pub(super) fn spent(&self) -> anyhow::Result<Spent> {
        self.process.spent()
    }

    /// How long it took, since `begun`, until so many messages were delivered, by the node's log.
    pub(super) async fn all_delivered(&self, count: usize, begun: Instant) -> anyhow::Result<Duration> {
        let mut log = tokio::fs::File::open(&self.process.log).await?;
        let mut unread = Vec::new();
        let mut seen = 0;
        while begun.elapsed() < PATIENCE {
            log.read_to_end(&mut unread).await?;
            let whole = unread
                .iter()
                .rposition(|octet| *octet == b'\n')
                .map_or(0, |at| at + 1);
            let lines = unread
                .get(..whole)
                .unwrap_or_default()
                .split(|octet| *octet == b'\n');
            seen += lines
                .filter(|line| line.windows(DELIVERED.len()).any(|part| part == DELIVERED))
                .count();
            unread.drain(..whole);
            if seen >= count {
                return Ok(begun.elapsed());
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!(
            "only {seen} of {count} messages were delivered; the node says: {}",
            ending(&self.process.log)
        );
    }

    /// That the User Mailboxes hold so many messages, each once.
    pub(super) async fn all_there(&self, count: usize) -> anyhow::Result<()> {
        let mut ids = std::collections::BTreeSet::new();
        let mut messages = 0;
        for person in &self.people {
            let broker = person.broker()?;
            let mut after: Option<String> = None;
            loop {
                let page = broker.list("inbox", after.as_deref(), 500).await?;
                messages += page.len();
                after = page.last().map(|message| message.id.clone());
                ids.extend(page.into_iter().map(|message| message.message_id));
                if after.is_none() {
                    break;
                }
            }
        }
        if (messages, ids.len()) != (count, count) {
            bail!(
                "{count} messages were accepted; {messages} with {} names are delivered",
                ids.len()
            );
        }
        Ok(())
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await?;
        self.town.stop().await;
        Ok(())
    }
}

/// Somebody with an account and these wishes. A node lets in only so many at once from one place; then it is waited.
pub(super) async fn person(town: &Town, address: &str, wishes: &Preferences) -> anyhow::Result<App> {
    loop {
        match town.person(address).await {
            Ok(person) => {
                person.broker()?.set_preferences(wishes).await?;
                return Ok(person);
            }
            Err(error) => match error.downcast_ref::<AppError>() {
                Some(AppError::Said { status: 429, .. }) => tokio::time::sleep(BRAKE).await,
                _ => return Err(error),
            },
        }
    }
}

/// How a log ends: it is gone with the folder once the benchmark has failed.
fn ending(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(TOLD)..);
    last.unwrap_or_default().join("\n")
}

/// The number behind a word at the beginning of a line.
fn number(text: &str, word: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Octets that the files below a folder take of the disk.
pub(super) fn size_of(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        // A file that went meanwhile takes nothing.
        let Ok(about) = entry.metadata() else { continue };
        sum += if about.is_dir() {
            size_of(&entry.path())?
        } else {
            about.blocks() * 512
        };
    }
    Ok(sum)
}
