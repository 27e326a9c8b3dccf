//! `cargomail collect` and `cargomail why`: directly in the node's store when it does not run, else through the node.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use cargomail_protocol::share::parse_root;
use cid::Cid;
use clap::Args;

use super::{Everywhere, account, value};
use crate::accounts::Accounts;
use crate::api::{Collected, HolderView, Why};
use crate::clock::{Clock, SystemClock, SystemRandomness};
use crate::keeping::{Collector, LegalHolds, Mode, Shelters};
use crate::ledger::Ledger;
use crate::store::Embedded;

/// How often a running node is asked how far it is.
const ASK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail collect --dry-run
  cargomail collect --json | jq .freed_octets

A block is removed when no holding, open share, retrieval on its way, message, queue entry or legal hold refers to it. The
node may run or not; a running one collects by itself, as `[collection] every` says. Files shrink when the store is compacted.")]
pub(super) struct CollectArgs {
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  cargomail why bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu

It tells of everybody's matters, so a running node notes it in its ledger. `cargomail resource why` tells a user of their own.")]
pub(super) struct WhyArgs {
    /// The resource, or any block of one
    #[arg(value_parser = root)]
    cid: Cid,
}

/// A CID on the command line.
pub(super) fn root(text: &str) -> Result<Cid, String> {
    parse_root(text).map_err(|_| format!("{text:?} is no CID: it has 59 letters and begins with b"))
}

/// What keeps an account's matter, in a store that no node has open.
pub(super) async fn holds(store: &Embedded) -> anyhow::Result<LegalHolds> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ledger = Ledger::open(store.records(), clock.clone()).await?;
    let accounts = Accounts::new(store.records(), clock.clone(), Arc::new(SystemRandomness));
    let randomness = Arc::new(SystemRandomness);
    Ok(LegalHolds::new(
        store.blocks(),
        store.records(),
        ledger,
        accounts,
        clock,
        randomness,
    ))
}

async fn collector(store: &Embedded) -> anyhow::Result<Collector> {
    Ok(Collector::new(
        store.blocks(),
        store.records(),
        Shelters::default(),
        holds(store).await?,
        Arc::new(SystemClock),
    ))
}

impl CollectArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let settings = everywhere.settings()?;
        let done = match account::store(&settings).await? {
            Some(store) => {
                let mode = if self.dry_run { Mode::Dry } else { Mode::Brisk };
                let done = match collector(&store).await {
                    Ok(collector) => collector.collect(mode).await.map_err(Into::into),
                    Err(error) => Err(error),
                };
                store.close().await?;
                done?
            }
            None => {
                let node = account::administration(&settings)?;
                let mut view = node.collect(self.dry_run).await?;
                while view.under_way {
                    tokio::time::sleep(ASK).await;
                    view = node.collection().await?;
                }
                match (view.done, view.failed) {
                    (Some(done), _) => done,
                    (None, Some(why)) => bail!(why),
                    (None, None) => bail!("the node was restarted meanwhile: try again"),
                }
            }
        };
        everywhere.out().one(&done, told)
    }
}

fn told(done: &Collected) -> String {
    let verb = if done.dry_run { "would be" } else { "were" };
    format!(
        "{} of {} blocks {verb} removed: {} of {}.\n",
        done.freed_blocks,
        done.blocks,
        value::octets(done.freed_octets),
        value::octets(done.octets)
    )
}

impl WhyArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let settings = everywhere.settings()?;
        let why = match account::store(&settings).await? {
            Some(store) => {
                let why = match collector(&store).await {
                    Ok(collector) => collector.why(&self.cid).await.map_err(Into::into),
                    Err(error) => Err(error),
                };
                store.close().await?;
                why?
            }
            None => account::administration(&settings)?.why(&self.cid).await?,
        };
        everywhere.out().one(&why, reasons)
    }
}

/// Why a block is kept, a line for each record that refers to it.
pub(super) fn reasons(why: &Why) -> String {
    let mut text = match (why.here, why.holders.is_empty()) {
        (true, true) => "nothing refers to it: it goes with the next collection\n",
        (false, true) => "it is not here, and nothing refers to it\n",
        (false, false) => "it is not here, or not whole\n",
        (true, false) => "",
    }
    .to_owned();
    for holder in &why.holders {
        text.push_str(&line(holder));
    }
    text
}

fn line(holder: &HolderView) -> String {
    let until = match holder.until {
        Some(until) => format!("until {}", until.rfc3339()),
        None => "until further notice".to_owned(),
    };
    let parts = [
        &holder.kind,
        &holder.whose,
        &holder.message_id,
        &until,
        &holder.record,
    ];
    let parts: Vec<&str> = parts
        .into_iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("  ") + "\n"
}
