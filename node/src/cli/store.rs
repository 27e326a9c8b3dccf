//! `cargomail store`: looks into the store of a node that does not run, and mends what is derived in it.

use std::path::PathBuf;

use cargomail_protocol::timestamp::Timestamp;
use clap::{Args, Subcommand, value_parser};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::json;

use super::exit::CheckFailed;
use super::{Everywhere, progress, value};
use crate::store::{
    Checked, Compacted, Compaction, Damage, Embedded, EmbeddedOptions, IndexKind, Scrubbed, Statistics, Step,
    check, discard_view,
};

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Count blocks and records, and the room that they take
    #[command(after_help = "\
Examples:
  cargomail store stats
  cargomail store stats --data /srv/cargomail/data --json | jq .dead")]
    Stats(Where),
    /// Read every block and every commit again, compute their hashes, and compare the view with them
    #[command(after_help = "\
Examples:
  cargomail store check
  cargomail store check --json | jq '.damages[].file'

Nothing is changed. What is damaged is not served; a block is stored anew when somebody brings it.")]
    Check(Where),
    /// Throw the view away and make it anew from packs and journal
    #[command(after_help = "Example:\n  cargomail store rebuild --data /srv/cargomail/data")]
    Rebuild(Where),
    /// Give back the room of deleted blocks and old records, now and as much of it as there is
    #[command(after_help = "\
Examples:
  cargomail store compact
  cargomail store compact --below 60
  cargomail store compact --data /srv/cargomail/data --json | jq .after

A running node does the same by itself, slowly, where less than 60 percent of a pack is wanted. It may be stopped at any time.")]
    Compact(CompactArgs),
}

#[derive(Debug, Args)]
pub(super) struct CompactArgs {
    #[command(flatten)]
    at: Where,
    /// Write those packs anew of which less than so many percent is wanted
    #[arg(long, value_name = "PERCENT", default_value_t = 95, value_parser = value_parser!(u8).range(1..=100))]
    below: u8,
}

#[derive(Debug, Args)]
pub(super) struct Where {
    /// The folder where the node keeps everything [default: `data` of the configuration]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

impl Where {
    /// The store's folder, and how it is opened.
    fn store(&self, everywhere: &Everywhere) -> anyhow::Result<(PathBuf, EmbeddedOptions)> {
        let (folder, mut options) = match &self.data {
            Some(data) => (data.join("store"), EmbeddedOptions::default()),
            None => {
                let settings = everywhere.settings()?;
                return existing(settings.store_folder(), settings.store);
            }
        };
        // Nobody says here which engine is configured: the one that was used last.
        let used = |kind: &IndexKind| folder.join(format!("view.{}", kind.name())).exists();
        options.index = IndexKind::ALL.into_iter().find(used).unwrap_or_default();
        existing(folder, options)
    }
}

fn existing(folder: PathBuf, options: EmbeddedOptions) -> anyhow::Result<(PathBuf, EmbeddedOptions)> {
    anyhow::ensure!(
        folder.join("FORMAT").exists(),
        "there is no store in {}: name the node's data folder with --data, or its configuration with --config",
        folder.display()
    );
    Ok((folder, options))
}

impl StoreCommand {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let out = everywhere.out();
        match self {
            Self::Stats(at) => {
                let (folder, options) = at.store(everywhere)?;
                let store = Embedded::open(&folder, options).await?;
                let counted = store.statistics().await;
                store.close().await?;
                out.one(&counted?, statistics)
            }
            Self::Check(at) => {
                let (folder, options) = at.store(everywhere)?;
                let checked = check(&folder, options, bar()).await?;
                let damages: Vec<_> = checked.damages.iter().map(damage).collect();
                let shown = json!({
                    "octets": checked.octets,
                    "blocks": checked.blocks,
                    "commits": checked.commits,
                    "view_compared": checked.is_view_compared,
                    "damages": damages,
                });
                out.one(&shown, |_| outcome(&checked))?;
                match checked.damages.len() {
                    0 => Ok(()),
                    count => Err(CheckFailed(format!("{count} places are damaged")).into()),
                }
            }
            Self::Compact(args) => {
                let (folder, options) = args.at.store(everywhere)?;
                let store = Embedded::open(&folder, options).await?;
                let done = compact(&store, args.below).await;
                store.close().await?;
                out.one(&done?, |done| {
                    format!(
                        "{} before, {} after: {} packs and {} files of the journal were removed, and {} of them stored again.\n",
                        value::octets(done.before),
                        value::octets(done.after),
                        done.packs,
                        done.journal,
                        value::octets(done.moved)
                    )
                })
            }
            Self::Rebuild(at) => {
                let (folder, options) = at.store(everywhere)?;
                discard_view(&folder).await?;
                let store = Embedded::open(&folder, options).await?;
                let counted = store.statistics().await;
                store.close().await?;
                out.one(&counted?, |counted| {
                    format!(
                        "The view was made anew: {} blocks, {} records.\n",
                        counted.blocks, counted.records
                    )
                })
            }
        }
    }
}

async fn compact(store: &Embedded, below: u8) -> anyhow::Result<Compacted> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(progress::style());
    bar.set_message("compacting");
    let job = Compaction { below, rate: None };
    let shown = bar.clone();
    let done = store
        .compact(job, move |progress| {
            shown.set_length(progress.total);
            shown.inc(progress.octets);
        })
        .await;
    bar.finish_and_clear();
    Ok(done?)
}

/// Shows how far a check is to whoever sits at the terminal.
fn bar() -> impl Fn(Step) + Send + 'static {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(progress::style());
    bar.set_message("reading");
    move |step| match step {
        Step::Begin(octets) => bar.set_length(octets),
        Step::Read(octets) => bar.inc(octets),
    }
}

fn damage(damage: &Damage) -> serde_json::Value {
    json!({ "file": damage.file, "from": damage.from, "to": damage.to, "why": damage.why })
}

fn outcome(checked: &Checked) -> String {
    let mut text = format!(
        "{} read: {} blocks and {} commits",
        value::octets(checked.octets),
        checked.blocks,
        checked.commits
    );
    text += match checked.is_view_compared {
        true => ", and the view that goes with them.\n",
        false => ". The view is made anew at the next start and was not compared.\n",
    };
    for Damage { file, from, to, why } in &checked.damages {
        text += &format!("{file}: octets {from} to {to}: {why}\n");
    }
    text
}

/// How far the search for bit rot is; nothing before it has begun.
fn scrubbed(scrub: &Scrubbed) -> String {
    let state = match (scrub.next, scrub.ended) {
        (Some(next), _) => format!("under way, at pack {next}"),
        (None, Some(ended)) => format!("done on {}", Timestamp::from_seconds(ended).rfc3339()),
        (None, None) => return String::new(),
    };
    let Scrubbed { octets, damaged, .. } = scrub;
    format!(
        "Scrub    {} read again, {damaged} blocks damaged; {state}\n",
        value::octets(*octets)
    )
}

fn statistics(counted: &Statistics) -> String {
    let octets = value::octets;
    let mut text = format!(
        "Blocks   {:>10}   {:>12} of content\nRecords  {:>10}   {:>12} of journal, {} of that dead\nPacks    {:>10}   {:>12}, {} of that dead\nIndex    {:>10}   {:>12}\nFree     {:>10}   {:>12}\n{}\n{:>8}  {:>12}  {:>12}  {:>10}\n",
        counted.blocks,
        octets(counted.content),
        counted.records,
        octets(counted.journal),
        octets(counted.journal_dead),
        counted.segments.len(),
        octets(counted.packs),
        octets(counted.dead),
        counted.index.name(),
        octets(counted.index_octets),
        "",
        octets(counted.free),
        scrubbed(&counted.scrub),
        "pack",
        "octets",
        "live",
        "blocks"
    );
    for segment in &counted.segments {
        text += &format!(
            "{:>8}  {:>12}  {:>12}  {:>10}\n",
            segment.number,
            octets(segment.octets),
            octets(segment.live_octets),
            segment.live_blocks
        );
    }
    text
}
