//! The demonstration: the domains of the paper's Figure 1 on this machine, and Alice's mail on its walk to Bob, by SMTP and
//! by the web channel.
//!
//! Everything is what a real network has: DNS queries, mutual TLS, libp2p, SMTP, disks. Only the addresses are loopback's,
//! and the DNS server knows only this town. What always holds: it succeeds only if what Bob reads equals what Alice wrote,
//! octet for octet.

mod letter;
mod walk;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::walk::{Step, Stopwatch, Walk};
use crate::api::Channel;
use crate::app::Watch;
use crate::harness::{PATIENCE, Topology, Town, acknowledged, compare, delivered};
use crate::private;

/// As `println!`, but the demonstration goes on when nobody reads any more, as behind `head`.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// The file that tells a folder of the demonstration from others.
const MARK: &str = "cargomail-demo.txt";

/// What is demonstrated.
#[derive(Debug, Clone, Default, Args)]
pub struct Options {
    /// Files for Alice to send; with none, a text, an HTML body with an inline image, and an attachment of 64 MiB
    pub files: Vec<PathBuf>,
    /// Which of the paper's topologies
    #[arg(long, value_enum, default_value_t)]
    pub topology: Topology,
    /// Leave everything running, and print commands to play with
    #[arg(long)]
    pub keep: bool,
    /// Where everything is laid out: a folder that is empty, not there, or an earlier demonstration's; without it, one that is
    /// removed at the end
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Runs the demonstration.
///
/// # Errors
/// When a part of it fails, or what Bob reads is not what Alice wrote.
pub async fn run(options: Options, telling: Telling) -> anyhow::Result<()> {
    for file in &options.files {
        let about = std::fs::metadata(file).with_context(|| format!("{} cannot be read", file.display()))?;
        if !about.is_file() {
            bail!("{} is not a file", file.display());
        }
    }
    let stopwatch = Stopwatch::new();
    let walk = Walk::new(stopwatch.clone(), move |step| tell(telling, &step));
    tracing_subscriber::registry()
        .with(walk)
        .try_init()
        .context("the demonstration shows the log itself")?;
    let (folder, temporary) = folder(&options)?;
    let told = demonstrate(&options, telling, &folder, &stopwatch).await;
    if temporary && !options.keep {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("{} cannot be removed", folder.display()))?;
    }
    told
}

/// The folder, and whether it is to be removed.
fn folder(options: &Options) -> anyhow::Result<(PathBuf, bool)> {
    let (folder, temporary) = match &options.folder {
        Some(folder) => (folder.clone(), false),
        None => {
            let name = format!("cargomail-demo-{}", std::process::id());
            (std::env::temp_dir().join(name), true)
        }
    };
    let folder = std::path::absolute(folder)?;
    lay_claim(&folder)?;
    Ok((folder, temporary))
}

/// Makes the folder the demonstration's own, if it is not yet: it overwrites what is in it.
///
/// # Errors
/// When it holds something and no earlier demonstration was in it.
fn lay_claim(folder: &Path) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be used", folder.display());
    let mark = folder.join(MARK);
    if mark.is_file() {
        return private::make_closed(folder).with_context(failed);
    }
    private::make(folder).with_context(failed)?;
    if std::fs::read_dir(folder).with_context(failed)?.next().is_some() {
        bail!(
            "{} holds something that is not an earlier demonstration's, which could be overwritten: name a folder that is empty or \
             not there",
            folder.display()
        );
    }
    private::make_closed(folder).with_context(failed)?;
    let text =
        "`cargomail demo` laid out this folder, and overwrites what is in it when it is named again.\n";
    std::fs::write(&mark, text).with_context(failed)
}

async fn demonstrate(
    options: &Options,
    telling: Telling,
    folder: &Path,
    stopwatch: &Stopwatch,
) -> anyhow::Result<()> {
    let topology = options.topology;
    let town = Town::start(folder, &topology.plans()).await?;
    let alice = town.person("alice@foo.test").await?;
    let bob = town.person("bob@bar.test").await?;
    bob.broker()?.set_preferences(&topology.wishes()?).await?;
    introduce(telling, &town, topology);
    for channel in [Channel::Smtp, Channel::Web] {
        let letter = letter::write(folder, &options.files, topology.origin(), channel)?;
        title(telling, &letter.subject);
        stopwatch.restart();
        let watch: Arc<dyn Watch> = Arc::new(Told);
        let sent = alice.send(&letter, &watch).await?;
        let arrived = delivered(&bob, "inbox", &sent.message_id).await?;
        let opened = bob.open(&arrived.id).await?;
        let into = folder.join("bob").join(channel_name(channel));
        let compared = compare(&bob, &opened, &letter, &into, PATIENCE, &watch).await?;
        tracing::info!(step = "read", parts = compared.parts, size = %octets(compared.octets), "what Bob reads equals what Alice wrote");
        acknowledged(&alice, &sent.message_id).await?;
    }
    finish(options, telling, &town);
    if options.keep {
        tokio::signal::ctrl_c()
            .await
            .context("Ctrl-C cannot be waited for")?;
    }
    town.stop().await;
    Ok(())
}

/// Tells of each part that is posted or read.
struct Told;

impl Watch for Told {
    fn begin(&self, what: &str, size: u64) {
        tracing::info!(step = "part", size = %octets(size), "{what}");
    }
    fn moved(&self, _: u64) {}
    fn end(&self) {}
}

fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Smtp => "smtp",
        Channel::Web => "web",
        Channel::WebThenSmtp => "web-then-smtp",
    }
}

/// A size as people write it.
fn octets(size: u64) -> String {
    indicatif::BinaryBytes(size).to_string()
}

fn tell(telling: Telling, step: &Step) {
    let fields = step.fields.iter();
    match telling {
        Telling::Json => {
            let fields: serde_json::Map<_, _> = fields
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect();
            let line = json!({
                "millis": u64::try_from(step.after.as_millis()).unwrap_or(u64::MAX), "node": step.node,
                "step": step.step, "text": step.text, "fields": fields,
            });
            say!("{line}");
        }
        Telling::Text => {
            let shown: Vec<String> = fields
                .filter(|(name, _)| *name != "message_id")
                .map(|(name, value)| format!("{name} {value}"))
                .collect();
            let mark = if step.warns { "!" } else { " " };
            let node = if step.node.is_empty() {
                "the application"
            } else {
                &step.node
            };
            say!(
                "{mark}{:>8.3} s  {:<9} {node:<24} {}{}{}",
                step.after.as_secs_f64(),
                step.step,
                step.text,
                if shown.is_empty() { "" } else { ": " },
                shown.join(", "),
            );
        }
    }
}

fn introduce(telling: Telling, town: &Town, topology: Topology) {
    if telling == Telling::Json {
        return;
    }
    say!(
        "The town ({topology:?} topology), with a DNS server at {}:",
        town.zone.local_addr()
    );
    for site in town.sites() {
        let roles: Vec<String> = site
            .plan
            .mailbox
            .iter()
            .map(|locator| format!("Resource Mailbox {locator}"))
            .chain(
                site.plan
                    .broker
                    .iter()
                    .map(|domain| format!("Cargo Broker of {domain}")),
            )
            .collect();
        say!(
            "  {:<16} {:<16} {}",
            site.plan.name,
            site.ports.address,
            roles.join(", ")
        );
    }
}

fn title(telling: Telling, subject: &str) {
    match telling {
        Telling::Json => say!("{}", json!({ "mail": subject })),
        Telling::Text => say!("\n\"{subject}\": Alice (alice@foo.test) writes to Bob (bob@bar.test)"),
    }
}

fn finish(options: &Options, telling: Telling, town: &Town) {
    let folder = town.folder.display();
    if telling == Telling::Json {
        say!(
            "{}",
            json!({ "equal": true, "folder": town.folder, "kept": options.keep || options.folder.is_some() })
        );
        return;
    }
    say!("\nBoth mails were read, and equal what was written.");
    if !options.keep && options.folder.is_none() {
        say!(
            "Everything lay in {folder}, which is removed now; --folder DIR keeps it, --keep leaves it running."
        );
        return;
    }
    say!(
        "Everything lies in {folder}: a folder for each node with its configuration, key and data; the profiles of"
    );
    say!("Alice and Bob; what Bob saved in {folder}/bob.");
    if options.keep {
        say!("\nIt goes on until Ctrl-C. In another terminal:\n");
        for command in [
            format!("cargomail --profile {folder}/bob@bar.test.toml inbox"),
            format!("cargomail --profile {folder}/bob@bar.test.toml retrievals"),
            format!(
                "cargomail --profile {folder}/alice@foo.test.toml send --to bob@bar.test --subject Hello --text 'How are you?'"
            ),
            format!("cargomail --profile {folder}/alice@foo.test.toml share list"),
            format!("cargomail --config {folder}/foo.test/cargomail.toml queue --everybody"),
            format!(
                "cargomail --config {folder}/{}/cargomail.toml ledger verify",
                town.sites()
                    .iter()
                    .find(|site| site.plan.mailbox.is_some())
                    .map_or("foo.test", |site| &site.plan.name)
            ),
        ] {
            say!("  {command}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_with_somebodys_files_is_refused_and_an_earlier_demonstrations_is_not() {
        let temporary = tempfile::tempdir().unwrap();
        let theirs = temporary.path().join("theirs");
        std::fs::create_dir(&theirs).unwrap();
        std::fs::write(theirs.join("scan.bin"), "mine").unwrap();
        let error = lay_claim(&theirs).unwrap_err().to_string();
        assert!(error.contains("name a folder that is empty"), "{error}");
        assert_eq!(std::fs::read_dir(&theirs).unwrap().count(), 1);
        for own in ["new/deep", "empty"].map(|name| temporary.path().join(name)) {
            if own.ends_with("empty") {
                std::fs::create_dir(&own).unwrap();
            }
            lay_claim(&own).unwrap();
            std::fs::write(own.join("scan.bin"), "the demonstration's").unwrap();
            lay_claim(&own).unwrap();
        }
    }
}
