//! Many reports together: which runs there are, which promises were broken with which seeds, and what is usual.
//!
//! What always holds: of each run only what is told here is kept, and never its history.

mod page;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::compare::Outcome;
use super::files::{Opened, WriteError};
use super::{Spread, Totals};
use crate::cost::Cost;
use crate::promise::{Promise, Verdict};

/// The page, the table and the JSON, in the folder of the runs.
const FILES: [&str; 3] = ["sweep.html", "sweep.csv", "sweep.json"];

/// What came of many runs.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Together {
    /// Whether no promise was broken in any run.
    pub kept: bool,
    /// Whether there is a report of every job, and every report can be read.
    pub complete: bool,
    /// Jobs of the list; 0 without one.
    pub jobs: usize,
    /// Jobs that nobody has begun.
    pub missing: Vec<String>,
    /// Jobs that were begun and came to nothing.
    pub failed: Vec<Lost>,
    /// What cannot be read.
    pub unreadable: Vec<Lost>,
    /// What the runs of each scenario came to.
    pub scenarios: Vec<Series>,
    /// Each run.
    pub runs: Vec<Ran>,
}

/// A run of which nothing is known but why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lost {
    /// Where it should be, below the folder of the runs.
    pub place: String,
    /// Why there is nothing.
    pub why: String,
}

impl Lost {
    pub(crate) fn of(place: String, why: String) -> Self {
        Self { place, why }
    }
}

/// What is kept of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Ran {
    /// The folder of its report, below that of the runs.
    pub place: String,
    /// The scenario.
    pub scenario: String,
    /// What decided who wrote what to whom.
    pub seed: u64,
    /// The version of the nodes.
    pub version: String,
    /// `real` or `virtual`.
    pub mode: String,
    /// Seconds that it took, virtual ones on virtual ground.
    pub seconds: f64,
    /// The promises that were broken.
    pub broken: Vec<Promise>,
    /// The traffic in numbers.
    pub totals: Totals,
    /// What it cost; none in reports that were written before that was measured.
    pub cost: Option<Cost>,
}

impl Ran {
    pub(crate) fn of(place: String, outcome: Outcome) -> Self {
        let broken = outcome
            .promises
            .iter()
            .filter(|judged| judged.verdict == Verdict::Broken)
            .map(|judged| judged.promise);
        Self {
            place,
            broken: broken.collect(),
            scenario: outcome.scenario,
            seed: outcome.seed,
            version: outcome.version,
            mode: outcome.mode,
            seconds: outcome.seconds,
            totals: outcome.totals,
            cost: outcome.cost,
        }
    }
}

/// What the runs of one scenario came to. Medians are over its runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// The scenario.
    pub scenario: String,
    /// The versions of the nodes: more than one should not be mixed.
    pub versions: Vec<String>,
    /// How many runs there are.
    pub runs: usize,
    /// Nodes of each.
    pub nodes: Option<usize>,
    /// Promises that were broken in some.
    pub broken: Vec<Broken>,
    /// The median of the runs' medians from accepted to delivered, in milliseconds; none where nothing was delivered.
    pub to_delivered: Option<u64>,
    /// To read.
    pub to_read: Option<u64>,
    /// To acknowledged at the origin.
    pub to_acknowledged: Option<u64>,
    /// The median of CPU seconds of the traffic for each mail.
    pub cpu_per_mail: Option<f64>,
    /// Of CPU seconds to lay out and start, for each node.
    pub cpu_per_node: Option<f64>,
    /// Of octets of memory for each node that is started.
    pub memory_per_node: Option<f64>,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// With which seeds, in order.
    pub seeds: Vec<u64>,
}

impl Together {
    /// Puts everything in order, and sums it up.
    pub(crate) fn sort(&mut self) {
        self.missing.sort_unstable();
        self.failed.sort_unstable();
        self.unreadable.sort_unstable();
        self.runs
            .sort_by(|a, b| (&a.scenario, a.seed, &a.place).cmp(&(&b.scenario, b.seed, &b.place)));
        let series = self.runs.chunk_by(|a, b| a.scenario == b.scenario);
        self.scenarios = series.filter_map(Series::of).collect();
        // The same traffic among more and more nodes is read from above.
        self.scenarios
            .sort_by(|a, b| (a.nodes, &a.scenario).cmp(&(b.nodes, &b.scenario)));
        self.kept = self.runs.iter().all(|run| run.broken.is_empty());
        self.complete = self.missing.is_empty() && self.failed.is_empty() && self.unreadable.is_empty();
    }

    /// Writes `sweep.html`, `sweep.csv` and `sweep.json` into a folder; what a person opens.
    ///
    /// # Errors
    /// [`WriteError::Place`] names what cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, WriteError> {
        let [page, csv, json] = FILES.map(|name| folder.join(name));
        Opened::at(page.clone())?.take(|out| writeln!(out, "<!DOCTYPE html>\n{}", page::page(self)))?;
        Opened::at(csv)?.take(|out| table::csv(&self.runs, out))?;
        Opened::at(json)?.take(|out| Ok(serde_json::to_writer_pretty(out, self)?))?;
        Ok(page)
    }
}

impl Series {
    /// Of the runs of one scenario, in the order of their seeds.
    fn of(runs: &[Ran]) -> Option<Self> {
        let first = runs.first()?;
        let mut broken: BTreeMap<&str, Broken> = BTreeMap::new();
        for run in runs {
            for promise in &run.broken {
                let entry = broken.entry(promise.name()).or_insert_with(|| Broken {
                    promise: *promise,
                    seeds: Vec::new(),
                });
                entry.seeds.push(run.seed);
            }
        }
        let mut versions: Vec<String> = runs.iter().map(|run| run.version.clone()).collect();
        versions.sort_unstable();
        versions.dedup();
        let usual = |spread: fn(&Totals) -> &Spread| {
            let spreads = runs.iter().map(|run| spread(&run.totals));
            let medians = spreads.filter(|spread| spread.count > 0);
            median(medians.map(|spread| spread.median).collect(), u64::cmp)
        };
        let costs = |share: fn(&Cost) -> Option<f64>| {
            let shares = runs.iter().filter_map(|run| share(run.cost.as_ref()?));
            median(shares.collect(), f64::total_cmp)
        };
        Some(Self {
            scenario: first.scenario.clone(),
            versions,
            runs: runs.len(),
            nodes: runs.iter().find_map(|run| Some(run.cost.as_ref()?.nodes)),
            broken: broken.into_values().collect(),
            to_delivered: usual(|totals| &totals.to_delivered),
            to_read: usual(|totals| &totals.to_read),
            to_acknowledged: usual(|totals| &totals.to_acknowledged),
            cpu_per_mail: costs(Cost::cpu_per_mail),
            cpu_per_node: costs(Cost::cpu_per_node),
            memory_per_node: costs(Cost::memory_per_node),
        })
    }

    /// In how many runs a promise was broken.
    fn broken_runs(&self, runs: &[Ran]) -> usize {
        let own = runs.iter().filter(|run| run.scenario == self.scenario);
        own.filter(|run| !run.broken.is_empty()).count()
    }
}

/// Half of them are no larger.
fn median<T: Copy>(mut values: Vec<T>, order: fn(&T, &T) -> std::cmp::Ordering) -> Option<T> {
    values.sort_by(order);
    let rank = values.len().div_ceil(2);
    values.get(rank.checked_sub(1)?).copied()
}
