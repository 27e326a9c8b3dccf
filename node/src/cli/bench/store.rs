//! `cargomail bench store`: the embedded store beside `raw`, a plain file with `pwrite` and `fdatasync` at the same points.
//!
//! Blocks are made and hashed before the clock runs, for both. Absolute figures of a busy machine say little: the ratio
//! to `raw`, which is taken right before, is the figure to trust.

mod process;
mod work;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;

use super::super::{Everywhere, progress};
use super::scratch::Scratch;
use crate::store::IndexKind;
use work::{Bench, Large, Measured};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail bench store
  cargomail bench store --index redb --dir /srv/cargomail --json
  cargomail bench store --only cost --blocks 1000000")]
pub(in crate::cli) struct StoreArgs {
    /// The engine of the index
    #[arg(long, value_enum, default_value = "both")]
    index: Which,
    /// The folder, on the disk that is measured, below which everything is written [default: the folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// How often each workload is run, one engine after the other
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// Only some of the workloads
    #[arg(long, value_enum, value_name = "WORKLOAD")]
    only: Vec<Workload>,
    /// How many blocks of 1 MiB
    #[arg(long, default_value_t = 512, value_name = "N")]
    large: usize,
    /// How many blocks of 4 KiB
    #[arg(long, default_value_t = 50_000, value_name = "N")]
    small: usize,
    /// How many blocks the store is filled with to see what one more costs, and what opening it does
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    blocks: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    Sled,
    Redb,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Blocks of 1 MiB, 16 at a time
    Large,
    /// Blocks of 4 KiB, 100 at a time, and reading them
    Small,
    /// One block of 4 KiB at a time from 1, 4, 16 and 64 writers
    Group,
    /// What a block costs when there are many already, reopening, and making the view anew
    Cost,
}

/// One figure of one engine.
#[derive(Debug, Serialize)]
struct Row {
    workload: String,
    engine: &'static str,
    unit: &'static str,
    /// Each run, and the median.
    runs: Vec<f64>,
    median: f64,
    /// Medians of this engine and `raw`, the larger better unless the gate is an upper one.
    ratio: Option<f64>,
    gate: Option<String>,
    holds: Option<bool>,
    /// The rest of what was seen in the last run.
    last: Measured,
}

impl StoreArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let kinds: Vec<_> = match self.index {
            Which::Sled => vec![IndexKind::Sled],
            Which::Redb => vec![IndexKind::Redb],
            Which::Both => IndexKind::ALL.to_vec(),
        };
        let folder = Scratch::below(self.dir.as_deref())?;
        let does = |workload| self.only.is_empty() || self.only.contains(&workload);
        let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
        bar.set_style(progress::steps());
        let bench = Bench::new(folder, bar);
        let mut rows = Vec::new();
        if does(Workload::Large) {
            let work = Large::of(1 << 20, self.large, 16);
            rows.extend(
                self.compared(&bench, &kinds, "1 MiB, 16 an ack", work, 0.6, 1.05)
                    .await?,
            );
        }
        if does(Workload::Small) {
            let work = Large::of(4096, self.small, 100);
            rows.extend(
                self.compared(&bench, &kinds, "4 KiB, 100 an ack", work, 0.4, 1.3)
                    .await?,
            );
        }
        if does(Workload::Group) {
            for writers in [1, 4, 16, 64] {
                rows.extend(self.group(&bench, &kinds, writers).await?);
            }
        }
        if does(Workload::Cost) {
            for kind in &kinds {
                rows.extend(cost(&bench, *kind, self.blocks).await?);
            }
        }
        bench.bar().finish_and_clear();
        everywhere.out().one(&rows, |rows| table(rows))
    }

    /// One workload of puts, and reading what it put when blocks are small.
    async fn compared(
        &self,
        bench: &Bench,
        kinds: &[IndexKind],
        name: &str,
        work: Large,
        least: f64,
        written: f64,
    ) -> anyhow::Result<Vec<Row>> {
        let mut raw = Vec::new();
        let mut stores: Vec<Vec<Measured>> = vec![Vec::new(); kinds.len()];
        for round in 0..self.rounds.max(1) {
            raw.push(bench.raw(work, round)?);
            for (kind, runs) in kinds.iter().zip(&mut stores) {
                runs.push(bench.put(*kind, work, round).await?);
            }
        }
        let mut rows = vec![row(name, "raw", "MB/s", &raw, Measured::megabytes, None)];
        for (kind, runs) in kinds.iter().zip(&stores) {
            let mut row = row(name, kind.name(), "MB/s", runs, Measured::megabytes, Some(&raw));
            let of_written = runs.iter().map(|run| run.written).fold(0.0, f64::max);
            let of_disk = runs.iter().map(|run| run.disk).fold(0.0, f64::max);
            let of_raw = row.ratio.unwrap_or_default();
            row.gate = Some(format!(">= {least} x raw, written <= {written}, disk <= 1.08"));
            row.holds = Some(of_raw >= least && of_written <= written && of_disk <= 1.08);
            rows.push(row);
        }
        if work.size == 4096 {
            let reads = |runs: &[Measured]| runs.iter().map(|run| run.read_p50).collect::<Vec<_>>();
            let of_raw = median(&reads(&raw));
            for (engine, runs) in
                std::iter::once(("raw", &raw)).chain(kinds.iter().map(|kind| kind.name()).zip(&stores))
            {
                let runs_of = reads(runs);
                let median = median(&runs_of);
                let ratio = median / of_raw;
                let is_raw = engine == "raw";
                rows.push(Row {
                    workload: "4 KiB read, warm, p50".to_owned(),
                    engine,
                    unit: "us",
                    runs: runs_of,
                    median,
                    ratio: (!is_raw).then_some(ratio),
                    gate: (!is_raw).then(|| "<= 4 x raw".to_owned()),
                    holds: (!is_raw).then_some(ratio <= 4.0),
                    last: runs.last().cloned().unwrap_or_default(),
                });
            }
        }
        Ok(rows)
    }

    /// Writers that each wait for one block.
    async fn group(&self, bench: &Bench, kinds: &[IndexKind], writers: usize) -> anyhow::Result<Vec<Row>> {
        let name = format!("4 KiB, one an ack, {writers} writers");
        let mut raw = Vec::new();
        let mut stores: Vec<Vec<Measured>> = vec![Vec::new(); kinds.len()];
        for round in 0..self.rounds.max(1) {
            raw.push(bench.raw_group(writers, round)?);
            for (kind, runs) in kinds.iter().zip(&mut stores) {
                runs.push(bench.group(*kind, writers, round).await?);
            }
        }
        let mut rows = vec![row(&name, "raw", "acks/s", &raw, Measured::rate, None)];
        for (kind, runs) in kinds.iter().zip(&stores) {
            rows.push(row(
                &name,
                kind.name(),
                "acks/s",
                runs,
                Measured::rate,
                Some(&raw),
            ));
        }
        Ok(rows)
    }
}

/// What a block costs as the store grows, and what opening it takes then.
async fn cost(bench: &Bench, kind: IndexKind, blocks: usize) -> anyhow::Result<Vec<Row>> {
    let cost = bench.cost(kind, blocks).await?;
    let mut rows = Vec::new();
    let mut one = |workload: String, unit, figure: f64, gate: Option<(String, bool)>| {
        let (gate, holds) = gate.unzip();
        rows.push(Row {
            workload,
            engine: kind.name(),
            unit,
            runs: vec![figure],
            median: figure,
            ratio: None,
            gate,
            holds,
            last: cost.measured.clone(),
        });
    };
    let first = cost.each.first().map_or(0.0, |(_, cost)| *cost);
    for (count, each) in &cost.each {
        let gate = (*each != first).then(|| ("<= 2 x the first".to_owned(), *each <= 2.0 * first));
        one(format!("a block of 256 octets at {count}"), "us", *each, gate);
    }
    let per = blocks as f64 / 200_000.0;
    one("closing in order".to_owned(), "s", cost.close, None);
    one(
        format!("opening {blocks} after that"),
        "s",
        cost.open,
        Some(("<= 1 s".to_owned(), cost.open <= 1.0)),
    );
    one(
        format!("making the view of {blocks} anew"),
        "s",
        cost.anew,
        Some(("<= 5 s for 200,000".to_owned(), cost.anew <= 5.0 * per.max(1.0))),
    );
    let peak = cost.measured.peak;
    one(
        "memory above the beginning".to_owned(),
        "MiB",
        peak,
        Some(("<= 128 MiB".to_owned(), peak <= 128.0)),
    );
    Ok(rows)
}

fn row(
    workload: &str,
    engine: &'static str,
    unit: &'static str,
    runs: &[Measured],
    figure: impl Fn(&Measured) -> f64,
    raw: Option<&[Measured]>,
) -> Row {
    let figures = |runs: &[Measured]| runs.iter().map(&figure).collect::<Vec<_>>();
    let median_of = median(&figures(runs));
    Row {
        workload: workload.to_owned(),
        engine,
        unit,
        median: median_of,
        ratio: raw.map(|raw| median_of / median(&figures(raw)).max(f64::MIN_POSITIVE)),
        runs: figures(runs),
        gate: None,
        holds: None,
        last: runs.last().cloned().unwrap_or_default(),
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<34} {:<5} {:>11} {:<6} {:>6} {:>15} {:>7} {:>5} {:>6}  gate\n",
        "", "", "median", "", "ratio", "ack p50/p99 ms", "written", "disk", "MiB"
    );
    for row in rows {
        let ratio = row.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let gate = match (&row.gate, row.holds) {
            (Some(gate), Some(true)) => format!("{gate}: holds"),
            (Some(gate), _) => format!("{gate}: NOT HELD"),
            (None, _) => String::new(),
        };
        let last = &row.last;
        text += &format!(
            "{:<34} {:<5} {:>11.2} {:<6} {ratio:>6} {:>15} {:>7.2} {:>5.2} {:>6.1}  {gate}\n",
            row.workload,
            row.engine,
            row.median,
            row.unit,
            format!("{:.2} / {:.2}", last.ack_p50, last.ack_p99),
            last.written,
            last.disk,
            last.peak,
        );
    }
    text
}
