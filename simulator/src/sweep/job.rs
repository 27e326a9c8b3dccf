//! A job: the arguments of one run, on one line; and how it is done.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::promise::{Promise, Verdict};
use crate::report::compare::{Outcome, ReadError};
use crate::report::files::Files;
use crate::run::{Options, Progress, run_virtually};
use crate::scenario::Scenario;
use crate::shell::{quoted, words};

use super::REPORTS;

/// Words of every job. `xargs` counts them, which all of its kinds can.
pub(super) const WORDS: usize = 6;
/// Why a job could not be run, in the folder of its report.
pub(super) const FAILED: &str = "failed.txt";

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// The name of a shipped scenario, or a file below the sweep's folder.
    pub(super) scenario: String,
    pub(super) seed: u64,
    /// The folder of its report, below the sweep's.
    pub(super) place: String,
}

impl Job {
    /// The run of a scenario with a seed; `name` tells its reports from those of other scenarios.
    pub(super) fn of(scenario: String, name: &str, seed: u64) -> Self {
        Self {
            place: format!("{REPORTS}/{name}/seed-{seed}"),
            scenario,
            seed,
        }
    }

    /// What stands behind `cargomail-simulator run`.
    pub(super) fn line(&self) -> String {
        let seed = self.seed.to_string();
        let all: [&str; WORDS] = [
            &self.scenario,
            "--seed",
            &seed,
            "--as-job",
            "--report",
            &self.place,
        ];
        all.map(quoted_argument).join(" ")
    }

    /// The job of such a line; none when it is another.
    pub(super) fn read(line: &str) -> Option<Self> {
        let all: [String; WORDS] = words(line)?.try_into().ok()?;
        let [scenario, of_seed, seed, as_job, of_report, place] = all;
        let flags = [of_seed, as_job, of_report];
        let is_job = flags == ["--seed", "--as-job", "--report"];
        let seed = seed.parse().ok()?;
        is_job.then_some(Self {
            scenario,
            seed,
            place,
        })
    }
}

/// A job that has a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Its scenario.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// Whether the report was there before.
    pub before: bool,
    /// The promises that are broken.
    pub broken: Vec<Promise>,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, seed {}: ", self.scenario, self.seed)?;
        match self.broken.is_empty() {
            true => f.write_str("no promise was broken")?,
            false => {
                let broken: Vec<&str> = self.broken.iter().map(|promise| promise.name()).collect();
                write!(f, "BROKEN: {}", broken.join(", "))?;
            }
        }
        f.write_str(if self.before { " (it was there)" } else { "" })
    }
}

/// Does a job, unless its folder has the report already: runs the scenario in a virtual world. What keeps it from a report is noted in
/// the folder.
///
/// # Errors
/// When there is no report in the end, or it is of another run. A promise that was broken is none.
pub fn do_job(scenario: &str, seed: Option<u64>, folder: &Path) -> anyhow::Result<Done> {
    if folder.extension().is_some_and(|extension| extension == "json") {
        bail!("{}: the report of a job is a folder", folder.display());
    }
    let note = folder.join(FAILED);
    let done = try_job(scenario, seed, folder);
    // Whoever started the job is told in any case; the note is for whoever collects.
    let noted = match &done {
        Ok(_) if !note.exists() => Ok(()),
        Ok(_) => fs::remove_file(&note),
        Err(error) => fs::create_dir_all(folder).and_then(|()| fs::write(&note, format!("{error:#}\n"))),
    };
    let done = done?;
    noted.with_context(|| format!("{} cannot be removed", note.display()))?;
    Ok(done)
}

fn try_job(scenario: &str, seed: Option<u64>, folder: &Path) -> anyhow::Result<Done> {
    let mut scenario = Scenario::find(scenario)?;
    scenario.seed = seed.unwrap_or(scenario.seed);
    let of = |before: bool, promises: Vec<(Promise, Verdict)>| Done {
        scenario: scenario.name.clone(),
        seed: scenario.seed,
        before,
        broken: promises
            .into_iter()
            .filter_map(|(promise, verdict)| (verdict == Verdict::Broken).then_some(promise))
            .collect(),
    };
    match Outcome::read(folder) {
        Ok(there) if (&there.scenario, there.seed) == (&scenario.name, scenario.seed) => {
            let promises = there.promises.iter();
            return Ok(of(
                true,
                promises.map(|judged| (judged.promise, judged.verdict)).collect(),
            ));
        }
        Ok(other) => bail!(
            "{} has the report of another run: {}, seed {}",
            folder.display(),
            other.scenario,
            other.seed
        ),
        Err(error @ ReadError::Format { .. }) => return Err(error.into()),
        // There is none, or one that was not written to its end.
        Err(ReadError::Place(..) | ReadError::NoReport { .. }) => {}
    }
    let files = Files::open(folder)?;
    let options = Options {
        progress: Progress::Hidden,
        ..Options::default()
    };
    let report = run_virtually(&scenario, &options, None)?.report;
    files.write(&report)?;
    let promises = report.promises.iter();
    Ok(of(
        false,
        promises.map(|judged| (judged.promise, judged.verdict)).collect(),
    ))
}

/// Flags stand as people write them.
fn quoted_argument(word: &str) -> String {
    match word.strip_prefix("--") {
        Some(flag) => format!("--{}", quoted(flag)),
        None => quoted(word),
    }
}

/// Why no seeds are read. Always the fault of whoever wrote them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeedsError {
    /// Neither a number nor two.
    #[error("write a seed, or the first and the last of several, such as 1-100")]
    Form,
    /// The last before the first.
    #[error("{last} is before {first}: write {last}-{first}")]
    Backwards {
        /// The first, as written.
        first: u64,
        /// The last.
        last: u64,
    },
}

/// The first and the last of some seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// The last, which is not before it.
    pub last: u64,
}

impl Seeds {
    /// How many they are.
    #[must_use]
    pub fn count(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl FromStr for Seeds {
    type Err = SeedsError;

    fn from_str(text: &str) -> Result<Self, SeedsError> {
        let number = |text: &str| text.parse().map_err(|_| SeedsError::Form);
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        if last < first {
            return Err(SeedsError::Backwards { first, last });
        }
        Ok(Self { first, last })
    }
}
