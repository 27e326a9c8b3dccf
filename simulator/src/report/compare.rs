//! Two reports side by side: what one run came to, and another.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use indicatif::BinaryBytes;
use serde::{Deserialize, Serialize};

use super::scale::{real, time};
use super::{FORMAT, Spread, Totals, files};
use crate::cost::Cost;
use crate::promise::{Judged, Promise, Verdict};

/// Why a report is not compared. Always the fault of whoever named the file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none, or it gives nothing.
    #[error("{} cannot be read", .0.display())]
    Place(PathBuf, #[source] io::Error),
    /// Not JSON, or JSON of something else.
    #[error("{} is no report: {why}", .path.display())]
    NoReport {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        why: String,
    },
    /// Another program's form.
    #[error("{} is a report of format {found}, and this program compares format {FORMAT}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format that it names.
        found: u64,
    },
}

/// What is compared of a report: everything but the history.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(expecting = "a report")]
pub struct Outcome {
    /// The scenario.
    pub scenario: String,
    /// What decided who wrote what to whom.
    pub seed: u64,
    /// The version of the nodes.
    pub version: String,
    /// `real` or `virtual`.
    pub mode: String,
    /// Seconds that the run took.
    pub seconds: f64,
    /// The traffic in numbers.
    pub totals: Totals,
    /// The promises and their verdicts.
    pub promises: Vec<Judged>,
    /// What it cost; none in reports that were written before that was measured.
    #[serde(default)]
    pub cost: Option<Cost>,
}

/// What every report has, whatever its format.
#[derive(Deserialize)]
#[serde(expecting = "a report")]
struct Formatted {
    format: u64,
}

impl Outcome {
    /// Reads a report: a file, or a folder that has a `report.json`.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let path = match path.is_dir() {
            true => path.join(files::JSON),
            false => path.to_owned(),
        };
        let text = std::fs::read(&path).map_err(|why| ReadError::Place(path.clone(), why))?;
        let no_report = |why: serde_json::Error| ReadError::NoReport {
            path: path.clone(),
            why: why.to_string(),
        };
        let Formatted { format } = serde_json::from_slice(&text).map_err(no_report)?;
        if format != u64::from(FORMAT) {
            return Err(ReadError::Format {
                path: path.clone(),
                found: format,
            });
        }
        serde_json::from_slice(&text).map_err(no_report)
    }

    fn verdict(&self, promise: Promise) -> Option<Verdict> {
        let mut promises = self.promises.iter();
        let judged = promises.find(|judged| judged.promise == promise)?;
        Some(judged.verdict)
    }
}

/// A number of a report.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Amount {
    /// Things.
    Count(u64),
    /// Octets.
    Octets(u64),
    /// Milliseconds.
    Millis(u64),
    /// Seconds.
    Seconds(f64),
}

impl Amount {
    fn real(self) -> f64 {
        match self {
            Self::Count(number) | Self::Octets(number) | Self::Millis(number) => real(number),
            Self::Seconds(seconds) => seconds,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(number) => f.pad(&number.to_string()),
            Self::Octets(octets) => f.pad(&BinaryBytes(*octets).to_string()),
            Self::Millis(millis) => f.pad(&time(*millis)),
            Self::Seconds(seconds) => f.pad(&format!("{seconds:.1} s")),
        }
    }
}

/// A promise of which the two runs do not say the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Differs {
    /// Which.
    pub promise: Promise,
    /// The first run's verdict; none when it was not checked.
    pub a: Option<Verdict>,
    /// The second one's.
    pub b: Option<Verdict>,
}

/// A number of both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// In the first run; none where nothing was measured.
    pub a: Option<Amount>,
    /// In the second.
    pub b: Option<Amount>,
    /// The second divided by the first; none where that says nothing.
    pub ratio: Option<f64>,
}

/// Two reports side by side.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Whether every promise that held in the first run held in the second.
    pub kept: bool,
    /// The promises whose verdicts differ.
    pub differing: Vec<Differs>,
    /// The totals and the spreads.
    pub rows: Vec<Row>,
    /// What the first report says.
    pub a: Outcome,
    /// What the second one says.
    pub b: Outcome,
}

impl Comparison {
    /// Compares the second run with the first.
    #[must_use]
    pub fn of(a: Outcome, b: Outcome) -> Self {
        let mut promises: Vec<Promise> = a.promises.iter().map(|judged| judged.promise).collect();
        let news = b.promises.iter().map(|judged| judged.promise);
        let news: Vec<Promise> = news.filter(|promise| !promises.contains(promise)).collect();
        promises.extend(news);
        let verdicts = promises.into_iter().map(|promise| Differs {
            promise,
            a: a.verdict(promise),
            b: b.verdict(promise),
        });
        let differing: Vec<Differs> = verdicts.filter(|both| both.a != both.b).collect();
        Self {
            kept: differing.iter().all(|both| both.a != Some(Verdict::Held)),
            differing,
            rows: rows(&a, &b),
            a,
            b,
        }
    }
}

fn rows(a: &Outcome, b: &Outcome) -> Vec<Row> {
    let amounts = |outcome: &Outcome| -> Vec<(String, Option<Amount>)> {
        let totals = &outcome.totals;
        let count = |number: usize| Amount::Count(number as u64);
        let mut amounts = vec![
            ("seconds".to_owned(), Some(Amount::Seconds(outcome.seconds))),
            ("mails".to_owned(), Some(count(totals.mails))),
            ("accepted".to_owned(), Some(count(totals.accepted))),
            ("octets".to_owned(), Some(Amount::Octets(totals.octets))),
            ("deliveries".to_owned(), Some(count(totals.deliveries))),
            ("delivered".to_owned(), Some(count(totals.delivered))),
            ("reported".to_owned(), Some(count(totals.reported))),
        ];
        for (point, spread) in [
            ("delivered", &totals.to_delivered),
            ("read", &totals.to_read),
            ("acknowledged", &totals.to_acknowledged),
        ] {
            amounts.extend(of_spread(point, spread));
        }
        let cost = outcome.cost.as_ref();
        let cpu = cost.map(|cost| Amount::Seconds(cost.cpu_seconds));
        let memory = cost.and_then(|cost| cost.peak_memory);
        let work = cost.and_then(|cost| cost.work);
        let [pieces, operations] = [work.map(|work| work.pieces), work.map(|work| work.operations)];
        amounts.push(("pieces on lines".to_owned(), pieces.map(Amount::Count)));
        amounts.push(("operations of disks".to_owned(), operations.map(Amount::Count)));
        amounts.push(("CPU seconds".to_owned(), cpu));
        amounts.push(("peak memory".to_owned(), memory.map(Amount::Octets)));
        amounts
    };
    let both = amounts(a).into_iter().zip(amounts(b));
    both.map(|((name, a), (_, b))| Row {
        name,
        a,
        b,
        ratio: a.zip(b).and_then(|(a, b)| ratio(a.real(), b.real())),
    })
    .collect()
}

fn of_spread(point: &str, spread: &Spread) -> [(String, Option<Amount>); 3] {
    let of = |what: &str, millis: u64| {
        let measured = (spread.count > 0).then_some(Amount::Millis(millis));
        (format!("to {point}, {what}"), measured)
    };
    [
        of("median", spread.median),
        of("95 of 100", spread.p95),
        of("longest", spread.longest),
    ]
}

fn ratio(a: f64, b: f64) -> Option<f64> {
    (a != 0.0).then_some(b / a)
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in [("A", &self.a), ("B", &self.b)] {
            let Outcome {
                scenario,
                seed,
                version,
                mode,
                ..
            } = outcome;
            writeln!(f, "{name}: {scenario}, seed {seed}, {mode}, version {version}")?;
        }
        if (&self.a.scenario, self.a.seed, &self.a.mode) != (&self.b.scenario, self.b.seed, &self.b.mode) {
            writeln!(f, "They are runs of different plans or on different grounds.")?;
        }
        writeln!(f)?;
        if self.differing.is_empty() {
            writeln!(f, "  Every promise has the same verdict in both.")?;
        } else {
            writeln!(f, "  {:<26} {:>12} {:>12}", "promise", "A", "B")?;
        }
        for Differs { promise, a, b } in &self.differing {
            let [a, b] = [a, b].map(|verdict| match verdict {
                Some(verdict) => verdict.to_string(),
                None => "not checked".to_owned(),
            });
            writeln!(f, "  {promise:<26} {a:>12} {b:>12}")?;
        }
        writeln!(f, "\n  {:<26} {:>12} {:>12} {:>8}", "total", "A", "B", "B / A")?;
        for row in &self.rows {
            let [a, b] = [row.a, row.b].map(|amount| match amount {
                Some(amount) => amount.to_string(),
                None => "–".to_owned(),
            });
            let ratio = row
                .ratio
                .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
            writeln!(f, "  {:<26} {a:>12} {b:>12} {ratio:>8}", row.name)?;
        }
        if !self.kept {
            writeln!(f, "\nA promise that held in A does not hold in B.")?;
        }
        Ok(())
    }
}
