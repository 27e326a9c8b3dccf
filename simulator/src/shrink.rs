//! A smaller scenario that breaks the same promise: what can be left out is left out, piece by piece.
//!
//! What always holds: the smaller scenario was run and broke the promise; it has the same seed; there are no more tries than were
//! allowed. That nothing more can be left out is not promised: other mails of the same kind may have been needed for the chance of it.

mod cuts;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::promise::{Promise, Verdict};
use crate::run::{Options, Progress, Stopped, run_virtually};
use crate::scenario::Scenario;

/// What came of shrinking.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The smaller scenario. It promises what it breaks, and nothing else.
    pub scenario: Scenario,
    /// What it breaks.
    pub promise: Promise,
    /// Scenarios that were run beside the first.
    pub tries: usize,
    /// Whether there was more to try.
    pub is_spent: bool,
    /// What there is less of, in order.
    pub left_out: Vec<LeftOut>,
}

/// Things of which there are fewer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Which.
    pub what: &'static str,
    /// How many there were.
    pub before: usize,
    /// How many there are.
    pub after: usize,
}

/// Looks for a smaller scenario that breaks a promise in a virtual world; without a name, the first that the scenario breaks.
///
/// # Errors
/// When the scenario breaks no promise, or not that one, or none that a smaller one can break for the same reason, or cannot be run; when
/// somebody presses Ctrl-C.
pub fn shrink(scenario: &Scenario, promise: Option<Promise>, tries: usize) -> anyhow::Result<Shrunk> {
    let bar = ProgressBar::new(tries as u64);
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} try {pos} of {len}: {msg}");
    let bar = match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    let shrunk = search(scenario, promise, tries, |candidate, smallest, number| {
        bar.set_position(number as u64);
        bar.set_message(format!("broken by {}", size(smallest)));
        broken(candidate)
    });
    bar.finish_and_clear();
    shrunk
}

/// How large a scenario is, in a few words.
fn size(scenario: &Scenario) -> String {
    let some = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    format!(
        "{}, {} and {}",
        some(scenario.mails(), "mail"),
        some(scenario.faults.len(), "fault"),
        some(scenario.sites.len(), "site")
    )
}

/// The promises that a run breaks.
fn broken(scenario: &Scenario) -> anyhow::Result<Vec<Promise>> {
    let options = Options {
        progress: Progress::Hidden,
        ..Options::default()
    };
    let report = run_virtually(scenario, &options, None)?.report;
    let broken = report.promises.iter();
    let broken = broken.filter(|judged| judged.verdict == Verdict::Broken);
    Ok(broken.map(|judged| judged.promise).collect())
}

/// Tries cut after cut, each as long as it finds something, until none does. `run` is given what is to be tried, what is the smallest so
/// far, and the number of the try, which is 0 for the scenario itself.
fn search(
    scenario: &Scenario,
    promise: Option<Promise>,
    tries: usize,
    mut run: impl FnMut(&Scenario, &Scenario, usize) -> anyhow::Result<Vec<Promise>>,
) -> anyhow::Result<Shrunk> {
    let all = run(scenario, scenario, 0)?;
    let seed = scenario.seed;
    let name = &scenario.name;
    let mut shrinkable = all.iter().copied().filter(|promise| promise.is_shrinkable());
    let Some(promise) = promise.or_else(|| shrinkable.next().or(all.first().copied())) else {
        bail!("{name} breaks no promise with seed {seed}: `run {name} --seeds N` looks for a seed that does");
    };
    if !all.contains(&promise) {
        bail!("{name} does not break {promise} with seed {seed}");
    }
    if !promise.is_shrinkable() {
        bail!("{promise} says nothing of a smaller scenario, which always goes fewer ways");
    }
    let mut smallest = Scenario {
        promises: vec![promise],
        also: Vec::new(),
        ..scenario.clone()
    };
    let mut seen = HashSet::from([print(&smallest)?]);
    let (mut number, mut is_spent) = (0, false);
    loop {
        let mut found_any = false;
        for cut in cuts::ALL {
            while !is_spent {
                let mut found = None;
                for candidate in cut(&smallest) {
                    // What cannot be run, or was tried before, costs no try.
                    if candidate.check().is_err() || !seen.insert(print(&candidate)?) {
                        continue;
                    }
                    if number == tries {
                        is_spent = true;
                        break;
                    }
                    number += 1;
                    let breaks = match run(&candidate, &smallest, number) {
                        Err(error) if error.is::<Stopped>() => return Err(error),
                        // A run that cannot be made breaks nothing: somebody may have nothing left to do harm with.
                        ran => ran.unwrap_or_default(),
                    };
                    if breaks.contains(&promise) {
                        found = Some(candidate);
                        break;
                    }
                }
                match found {
                    Some(smaller) => smallest = smaller,
                    None => break,
                }
                found_any = true;
            }
        }
        if is_spent || !found_any {
            break;
        }
    }
    Ok(Shrunk {
        left_out: left_out(scenario, &smallest),
        scenario: smallest,
        promise,
        tries: number,
        is_spent,
    })
}

/// By which a scenario is known again.
fn print(scenario: &Scenario) -> anyhow::Result<[u8; 32]> {
    let text = scenario.text().context("the scenario cannot stand in a file")?;
    Ok(Sha256::digest(text).into())
}

fn left_out(before: &Scenario, after: &Scenario) -> Vec<LeftOut> {
    let of = |what: &'static str, count: fn(&Scenario) -> usize| LeftOut {
        what,
        before: count(before),
        after: count(after),
    };
    let all = [
        of("mails", Scenario::mails),
        of("kinds of traffic", |scenario| scenario.traffic.len()),
        of("faults", |scenario| scenario.faults.len()),
        of("hostile acts", |scenario| scenario.hostile.len()),
        of("wishes", |scenario| scenario.wishes.len()),
        of("authors", |scenario| sum(scenario, |traffic| traffic.from.len())),
        of("possible recipients", |scenario| {
            sum(scenario, |traffic| traffic.to.len())
        }),
        of("recipients of a mail at most", |scenario| {
            most(scenario, |traffic| traffic.recipients)
        }),
        of("files of a mail at most", |scenario| {
            most(scenario, |traffic| traffic.files[1])
        }),
        of("people", |scenario| scenario.everybody().len()),
        of("sites", |scenario| scenario.sites.len()),
    ];
    all.into_iter().filter(|left| left.before != left.after).collect()
}

fn sum(scenario: &Scenario, of: fn(&crate::scenario::Traffic) -> usize) -> usize {
    scenario.traffic.iter().map(of).sum()
}

fn most(scenario: &Scenario, of: fn(&crate::scenario::Traffic) -> usize) -> usize {
    scenario.traffic.iter().map(of).max().unwrap_or(0)
}

impl Shrunk {
    /// The smaller scenario as a file, with what it is on top.
    ///
    /// # Errors
    /// When it cannot be written as TOML.
    pub fn text(&self) -> anyhow::Result<String> {
        let scenario = &self.scenario;
        let text = scenario.text().context("the scenario cannot stand in a file")?;
        // A comment ends with its line, whatever the scenario is called.
        let name = scenario.name.escape_debug();
        Ok(format!(
            "# What is left of {name} that still breaks {} with seed {}.\n{text}",
            self.promise, scenario.seed
        ))
    }
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            promise,
            tries,
            is_spent,
            left_out,
        } = self;
        writeln!(
            f,
            "{}, seed {}: {promise} is still broken by {} ({tries} tries)\n",
            scenario.name,
            scenario.seed,
            size(scenario)
        )?;
        for LeftOut { what, before, after } in left_out {
            writeln!(f, "  {what:<30} {before:>7} → {after}")?;
        }
        if left_out.is_empty() {
            writeln!(f, "  Nothing could be left out.")?;
        }
        if *is_spent {
            writeln!(f, "\nThere was more to try: allow more with --tries.")?;
        }
        Ok(())
    }
}
