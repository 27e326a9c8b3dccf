//! Reads what came of a sweep, one report after the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::report::compare::Outcome;
use crate::report::files::JSON;
use crate::report::together::{Lost, Ran, Together};

use super::JOBS;
use super::job::{FAILED, Job};

/// Octets of a note about a failure that are told.
const TOLD: usize = 600;

/// Everything below a folder: the jobs of its list, if it has one, and every other report.
///
/// # Errors
/// When the folder cannot be read, its list is none, or there is nothing at all. What is wrong with single reports is told in
/// what is returned.
pub fn collect(folder: &Path) -> anyhow::Result<Together> {
    let jobs = jobs(folder)?;
    let mut together = Together::default();
    let mut reports = BTreeSet::new();
    find(folder, &mut reports, &mut together.unreadable)
        .with_context(|| format!("{} cannot be read", folder.display()))?;
    if jobs.is_empty() && reports.is_empty() {
        bail!("{} has neither a list of jobs nor a {JSON}", folder.display());
    }
    together.jobs = jobs.len();
    for job in jobs {
        let place = folder.join(&job.place);
        let report = place.join(JSON);
        let is_there = reports.remove(&report);
        let failed = fs::read_to_string(place.join(FAILED)).ok();
        // A run opens its report before it begins, and writes it when it is over.
        let is_begun = is_there && fs::metadata(&report).is_ok_and(|report| report.len() == 0);
        match failed {
            Some(why) => together.failed.push(Lost::of(job.place, first_of(&why))),
            None if is_begun => {
                let why = "it was begun and is not over: it was ended from outside, or still runs";
                together.failed.push(Lost::of(job.place, why.to_owned()));
            }
            None if is_there => take(&mut together, job.place, &report),
            None => together.missing.push(job.place),
        }
    }
    for report in reports {
        let below = report.parent().unwrap_or(folder);
        let name = below.strip_prefix(folder).unwrap_or(below);
        take(&mut together, name.display().to_string(), &report);
    }
    together.sort();
    Ok(together)
}

fn take(together: &mut Together, place: String, report: &Path) {
    match Outcome::read(report) {
        Ok(outcome) => together.runs.push(Ran::of(place, outcome)),
        Err(why) => {
            let why = format!("{:#}", anyhow::Error::from(why));
            together.unreadable.push(Lost::of(place, why));
        }
    }
}

fn first_of(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The list of jobs; none where there is no list.
fn jobs(folder: &Path) -> anyhow::Result<Vec<Job>> {
    let list = folder.join(JOBS);
    if !list.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&list).with_context(|| format!("{} cannot be read", list.display()))?;
    let mut jobs = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let job = Job::read(line).with_context(|| {
            format!(
                "{}: line {number} is no job: emit the sweep again",
                list.display()
            )
        })?;
        jobs.push(job);
    }
    Ok(jobs)
}

/// Every report below a folder. Links are not followed, so that nothing is read twice.
fn find(folder: &Path, reports: &mut BTreeSet<PathBuf>, unreadable: &mut Vec<Lost>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            if let Err(why) = find(&path, reports, unreadable) {
                unreadable.push(Lost::of(path.display().to_string(), why.to_string()));
            }
        } else if kind.is_file() && entry.file_name() == JSON {
            reports.insert(path);
        }
    }
    Ok(())
}
