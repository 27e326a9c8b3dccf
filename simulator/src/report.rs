//! What came of a run: for people as a table and as a page, for programs as JSON and CSV; and how two of them compare.

pub mod compare;
mod costs;
mod csv;
mod curves;
mod figures;
pub mod files;
mod html;
mod known;
mod markup;
mod plot;
mod scale;
mod svg;
mod tables;
#[cfg(test)]
mod tests;
pub mod together;
mod walk;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cost::Cost;
use crate::history::{Fate, History, Sending, Site, Troubles};
use crate::path::Path;
use crate::promise::{Judged, Terms, Verdict};
use crate::scenario::Scenario;
use crate::shell::quoted;

/// The form of a report as JSON. A report of another form is not compared with this program's; what is only added to it, such as its
/// cost, makes no other form.
pub const FORMAT: u32 = 1;

/// What came of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`FORMAT`]
    pub format: u32,
    /// The scenario.
    pub scenario: String,
    /// What it shows.
    pub description: String,
    /// What decided who wrote what to whom.
    pub seed: u64,
    /// The version of the nodes.
    pub version: &'static str,
    /// `real`: real nodes, sockets and disks in real time; `virtual`: the services of nodes in a virtual world, and seconds of that.
    pub mode: &'static str,
    /// Seconds that the run took.
    pub seconds: f64,
    /// The traffic in numbers.
    pub totals: Totals,
    /// The promises and their verdicts.
    pub promises: Vec<Judged>,
    /// Seconds in which mail between sites that are well is delivered.
    pub promptly: u64,
    /// Ways that must have been gone.
    pub paths: Vec<Path>,
    /// What it cost this machine.
    pub cost: Cost,
    /// The nodes that there were.
    pub sites: Vec<Site>,
    /// Everything that happened.
    pub history: History,
}

/// The traffic in numbers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Mails of the plan.
    pub mails: usize,
    /// Mails that were accepted.
    pub accepted: usize,
    /// Octets of resources of accepted mails, each as often as it was sent.
    pub octets: u64,
    /// Mails times recipients.
    pub deliveries: usize,
    /// Delivered, with everything that belongs to them.
    pub delivered: usize,
    /// Reported to their authors.
    pub reported: usize,
    /// From accepted to delivered.
    pub to_delivered: Spread,
    /// From accepted to read.
    pub to_read: Spread,
    /// From accepted to acknowledged at the origin.
    pub to_acknowledged: Spread,
}

/// Durations in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// Half of them are no longer.
    pub median: u64,
    /// Of twenty, nineteen are no longer.
    pub p95: u64,
    /// The longest.
    pub longest: u64,
}

impl Spread {
    fn of(mut durations: Vec<u64>) -> Self {
        durations.sort_unstable();
        let count = durations.len();
        let at = |hundredths: usize| {
            let rank = (count * hundredths).div_ceil(100);
            durations.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Self {
            count,
            median: at(50),
            p95: at(95),
            longest: at(100),
        }
    }
}

impl Totals {
    fn of(history: &History) -> Self {
        let mut totals = Self {
            mails: history.mails.len(),
            ..Self::default()
        };
        let (mut delivered, mut read, mut acknowledged) = (Vec::new(), Vec::new(), Vec::new());
        for mail in &history.mails {
            let Sending::Accepted {
                octets, at: accepted, ..
            } = &mail.sending
            else {
                continue;
            };
            totals.accepted += 1;
            totals.octets += octets;
            totals.deliveries += mail.fates.len();
            totals.delivered += mail.fates.iter().filter(|fate| fate.is_delivered()).count();
            totals.reported += mail.fates.iter().filter(|fate| fate.reports > 0).count();
            let after = |at: fn(&Fate) -> Option<u64>| {
                let times = mail.fates.iter().filter_map(at);
                times.map(|at| at.saturating_sub(*accepted))
            };
            delivered.extend(after(|fate| fate.delivered_at));
            read.extend(after(|fate| fate.read_at));
            acknowledged.extend(after(|fate| fate.acknowledged_at));
        }
        totals.to_delivered = Spread::of(delivered);
        totals.to_read = Spread::of(read);
        totals.to_acknowledged = Spread::of(acknowledged);
        totals
    }
}

impl Report {
    /// Judges the promises of a scenario over what happened.
    #[must_use]
    pub fn of(scenario: &Scenario, history: History, took: Duration, mode: &'static str, cost: Cost) -> Self {
        let sites = scenario.sites.iter().map(|site| Site {
            name: site.name.clone(),
            broker: site.broker,
            mailbox: site.locator(),
            people: site.people.clone(),
        });
        let sites: Vec<Site> = sites.collect();
        let terms = Terms {
            sites: &sites,
            promptly: scenario.promptly,
            paths: &scenario.paths,
            troubles: &Troubles::of(&history),
        };
        let promises = scenario.promises.iter().chain(&scenario.also);
        let promises = promises.map(|promise| promise.judge(&history, terms)).collect();
        Self {
            format: FORMAT,
            scenario: scenario.name.clone(),
            description: scenario.description.clone(),
            seed: scenario.seed,
            version: env!("CARGO_PKG_VERSION"),
            mode,
            seconds: took.as_secs_f64(),
            totals: Totals::of(&history),
            promises,
            promptly: scenario.promptly,
            paths: scenario.paths.clone(),
            cost,
            sites,
            history,
        }
    }

    /// What the history is judged by.
    fn terms<'a>(&'a self, troubles: &'a Troubles) -> Terms<'a> {
        Terms {
            sites: &self.sites,
            promptly: self.promptly,
            paths: &self.paths,
            troubles,
        }
    }

    /// Whether no promise was broken.
    #[must_use]
    pub fn all_held(&self) -> bool {
        let mut promises = self.promises.iter();
        promises.all(|judged| judged.verdict != Verdict::Broken)
    }

    /// The command that looks for a smaller scenario, where a promise was broken that one can break, and every run of the seed is the same.
    #[must_use]
    pub fn shrinking(&self) -> Option<String> {
        let broken = |judged: &Judged| judged.verdict == Verdict::Broken && judged.promise.is_shrinkable();
        let is_shrinkable = self.mode == "virtual" && self.promises.iter().any(broken);
        let scenario = quoted(&self.scenario);
        let command = || {
            format!(
                "cargomail-simulator shrink {scenario} --seed {} --into smaller.toml",
                self.seed
            )
        };
        is_shrinkable.then(command)
    }

    /// The command that makes the same plan again and carries it out on the same ground.
    #[must_use]
    pub fn command(&self) -> String {
        let ground = if self.mode == "real" { " --real" } else { "" };
        let scenario = quoted(&self.scenario);
        format!("cargomail-simulator run {scenario} --seed {}{ground}", self.seed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        writeln!(f, "{}, seed {}: {}\n", self.scenario, self.seed, self.description)?;
        writeln!(
            f,
            "{} of {} mails accepted, {} of resources, {} deliveries: {} delivered, {} reported; {:.1} s",
            totals.accepted,
            totals.mails,
            indicatif::BinaryBytes(totals.octets),
            totals.deliveries,
            totals.delivered,
            totals.reported,
            self.seconds
        )?;
        writeln!(f, "{}", costs::told(&self.cost))?;
        for fault in &self.history.faults {
            writeln!(
                f,
                "{} was {} before mail {}",
                fault.site, fault.what, fault.before_mail
            )?;
        }
        let row = |f: &mut fmt::Formatter<'_>, name: &str, spread: &Spread| {
            let [median, p95, longest] = [spread.median, spread.p95, spread.longest]
                .map(|millis| Duration::from_millis(millis).as_secs_f64());
            writeln!(
                f,
                "  {name:<26} {:>6} {median:>8.2} s {p95:>8.2} s {longest:>8.2} s",
                spread.count
            )
        };
        writeln!(
            f,
            "\n  {:<26} {:>6} {:>10} {:>10} {:>10}",
            "from accepted to", "count", "median", "95 of 100", "longest"
        )?;
        row(f, "delivered", &totals.to_delivered)?;
        row(f, "read and compared", &totals.to_read)?;
        row(f, "acknowledged at the origin", &totals.to_acknowledged)?;
        writeln!(f, "\n  {:<26} {:<8} what was looked at", "promise", "verdict")?;
        for judged in &self.promises {
            writeln!(
                f,
                "  {:<26} {:<8} {}",
                judged.promise, judged.verdict, judged.what
            )?;
            for against in &judged.against {
                writeln!(f, "    {against}")?;
            }
            if judged.broken > judged.against.len() {
                writeln!(f, "    … and {} more", judged.broken - judged.against.len())?;
            }
        }
        if !self.all_held() {
            writeln!(
                f,
                "\nA promise was broken. The same plan again: {}",
                self.command()
            )?;
            if let Some(shrinking) = self.shrinking() {
                writeln!(f, "A smaller scenario that breaks it: {shrinking}")?;
            }
        }
        Ok(())
    }
}
