//! What must be there after a cut.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cargomail_node::clock::SystemClock;
use cargomail_node::ledger::Ledger;
use cargomail_node::store::{BlockStore, Embedded, RecordStore};
use cargomail_protocol::dag::{Codec, VerifiedBlock};

use super::Round;
use super::load::{block, key};

/// Blocks and records that are looked at a time.
const PAGE: usize = 256;

/// What was acknowledged, and found again.
#[derive(Debug, Default, Clone, Copy)]
pub struct Checked {
    /// Times that a process opened the store and was cut off.
    pub cuts: usize,
    /// Acknowledged blocks that were not swept.
    pub blocks: usize,
    /// Acknowledged commits, of two records each.
    pub records: usize,
    /// Acknowledged receipts, each with its entry of the ledger.
    pub receipts: usize,
    /// The longest opening after a cut.
    pub slowest: Duration,
}

impl Checked {
    pub(super) fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.blocks += other.blocks;
        self.records += other.records;
        self.receipts += other.receipts;
        self.slowest = self.slowest.max(other.slowest);
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} blocks, {} commits and {} receipts of {} cuts are there, opened in {} ms at most",
            self.blocks,
            self.records,
            self.receipts,
            self.cuts,
            self.slowest.as_millis()
        )
    }
}

/// Opens the store and looks for everything that these rounds were told is durable.
pub(super) async fn acknowledged(folder: &Path, number: usize, rounds: &[Round]) -> anyhow::Result<Checked> {
    let store = open(folder, number).await?;
    let mut checked = Checked {
        slowest: store.1,
        ..Checked::default()
    };
    look(&store.0, rounds, &mut checked).await?;
    store.0.close().await?;
    Ok(checked)
}

/// The same, and reads whatever else is there: every block must be the one that it says, and nothing of a commit is
/// there without the rest.
pub(super) async fn everything(folder: &Path, number: usize, rounds: &[Round]) -> anyhow::Result<Checked> {
    let store = open(folder, number).await?;
    let mut checked = Checked {
        slowest: store.1,
        ..Checked::default()
    };
    look(&store.0, rounds, &mut checked).await?;
    let (blocks, records) = (store.0.blocks(), store.0.records());
    whole(&*blocks).await?;
    let ledger = Ledger::open(records.clone(), Arc::new(SystemClock)).await?;
    let entries = ledger.head().await.entries;
    let receipts = count(&*records, "receipt/").await?;
    ensure!(
        receipts == entries,
        "{receipts} receipts, and {entries} entries of the ledger"
    );
    store.0.close().await?;
    Ok(checked)
}

async fn open(folder: &Path, number: usize) -> anyhow::Result<(Embedded, Duration)> {
    let begin = Instant::now();
    let store = Embedded::open(folder, super::options(number))
        .await
        .context("the store does not open")?;
    let took = begin.elapsed();
    ensure!(
        store.damages().is_empty(),
        "the store is damaged: {:?}",
        store.damages()
    );
    Ok((store, took))
}

async fn look(store: &Embedded, rounds: &[Round], checked: &mut Checked) -> anyhow::Result<()> {
    let (blocks, records) = (store.blocks(), store.records());
    let mut entries = HashSet::new();
    let ledger = Ledger::open(records.clone(), Arc::new(SystemClock)).await?;
    ledger
        .verify(|entry| {
            entries.insert(entry.event.message_id.clone());
        })
        .await?;
    for round in rounds {
        let number = &round.number;
        checked.cuts += 1;
        for line in &round.acknowledged {
            let Some((what, which)) = line.split_once(' ') else {
                continue;
            };
            let (writer, n) = which.split_once(' ').context("a writer and a number")?;
            let (writer, n) = (writer.parse()?, n.parse()?);
            let lost = || format!("acknowledged and gone: {line} of round {number}");
            match what {
                "block" => {
                    for kind in ["kept", "swept"] {
                        let expected = block(*number, writer, n, kind)?;
                        let found = blocks.get(expected.cid()).await?;
                        if kind == "swept" && round.sweeping.contains(which) {
                            continue;
                        }
                        ensure!(
                            found.with_context(lost)? == *expected.bytes(),
                            "{line} is other octets"
                        );
                        checked.blocks += 1;
                    }
                }
                "record" => {
                    let keys = [key("mail", *number, writer, n), format!("last/{writer}")];
                    let found = records.get(&keys).await?;
                    ensure!(found.iter().all(Option::is_some), lost());
                    checked.records += 1;
                }
                "receipt" => {
                    let key = key("receipt", *number, writer, n);
                    let found = records.get(std::slice::from_ref(&key)).await?;
                    ensure!(
                        found.iter().all(Option::is_some) && entries.contains(&key),
                        lost()
                    );
                    checked.receipts += 1;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Every block that is listed can be read, and is what its digest says; how many there are.
///
/// # Errors
/// Names the first that is not.
pub async fn whole(blocks: &dyn BlockStore) -> anyhow::Result<u64> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = blocks.list(after, PAGE).await?;
        let Some((last, _)) = page.last() else {
            return Ok(count);
        };
        after = Some(*last);
        count += page.len() as u64;
        for (digest, size) in page {
            let cid = Codec::Raw.cid(digest);
            let octets = blocks.get(&cid).await?;
            let octets = octets.with_context(|| format!("{cid} is listed and not there"))?;
            ensure!(octets.len() == usize::try_from(size)?, "{cid} has another size");
            VerifiedBlock::check(cid, octets)?;
        }
    }
}

async fn count(records: &dyn RecordStore, prefix: &str) -> anyhow::Result<u64> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = records.list(prefix, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(count);
        };
        after = Some(last.key.clone());
        count += page.len() as u64;
    }
}
