//! Many runs on the terminal, and as comma-separated values (RFC 4180).

use std::fmt;
use std::io::{self, Write};

use super::{Broken, Ran, Together};
use crate::report::Spread;
use crate::report::costs::{octets, or_none, seconds};
use crate::report::csv::{optional, row};
use crate::report::scale::time;

/// Seeds and lost runs that are told at the most.
pub(super) const SHOWN: usize = 20;

/// The columns of `sweep.csv`.
const COLUMNS: [&str; 39] = [
    "place",
    "scenario",
    "seed",
    "version",
    "mode",
    "seconds",
    "broken",
    "mails",
    "accepted",
    "octets",
    "deliveries",
    "delivered",
    "reported",
    "delivered_median_ms",
    "delivered_p95_ms",
    "delivered_longest_ms",
    "read_median_ms",
    "read_p95_ms",
    "read_longest_ms",
    "acknowledged_median_ms",
    "acknowledged_p95_ms",
    "acknowledged_longest_ms",
    "nodes",
    "people",
    "wall_seconds",
    "cpu_seconds",
    "memory_before",
    "peak_memory",
    "laying_out_cpu_seconds",
    "laying_out_peak_memory",
    "traffic_cpu_seconds",
    "traffic_peak_memory",
    "checks_cpu_seconds",
    "cpu_seconds_per_mail",
    "cpu_seconds_per_node",
    "memory_per_node",
    "memory_read_seconds",
    "line_pieces",
    "disk_operations",
];

/// One row for each run. What was not measured is empty.
pub(super) fn csv(runs: &[Ran], mut out: impl Write) -> io::Result<()> {
    row(&mut out, COLUMNS.map(str::to_owned))?;
    for run in runs {
        row(&mut out, of_run(run))?;
    }
    Ok(())
}

fn of_run(run: &Ran) -> [String; 39] {
    let totals = &run.totals;
    let broken: Vec<&str> = run.broken.iter().map(|promise| promise.name()).collect();
    let [delivered, read, acknowledged] =
        [totals.to_delivered, totals.to_read, totals.to_acknowledged].map(of_spread);
    let [delivered_median, delivered_p95, delivered_longest] = delivered;
    let [read_median, read_p95, read_longest] = read;
    let [acknowledged_median, acknowledged_p95, acknowledged_longest] = acknowledged;
    let cost = run.cost.as_ref();
    let work = cost.and_then(|cost| cost.work);
    [
        run.place.clone(),
        run.scenario.clone(),
        run.seed.to_string(),
        run.version.clone(),
        run.mode.clone(),
        run.seconds.to_string(),
        broken.join(" "),
        totals.mails.to_string(),
        totals.accepted.to_string(),
        totals.octets.to_string(),
        totals.deliveries.to_string(),
        totals.delivered.to_string(),
        totals.reported.to_string(),
        delivered_median,
        delivered_p95,
        delivered_longest,
        read_median,
        read_p95,
        read_longest,
        acknowledged_median,
        acknowledged_p95,
        acknowledged_longest,
        optional(cost.map(|cost| cost.nodes)),
        optional(cost.map(|cost| cost.people)),
        optional(cost.map(|cost| cost.seconds)),
        optional(cost.map(|cost| cost.cpu_seconds)),
        optional(cost.and_then(|cost| cost.memory_before)),
        optional(cost.and_then(|cost| cost.peak_memory)),
        optional(cost.map(|cost| cost.laying_out.cpu_seconds)),
        optional(cost.and_then(|cost| cost.laying_out.peak_memory)),
        optional(cost.map(|cost| cost.traffic.cpu_seconds)),
        optional(cost.and_then(|cost| cost.traffic.peak_memory)),
        optional(cost.map(|cost| cost.checks.cpu_seconds)),
        optional(cost.and_then(|cost| cost.cpu_per_mail())),
        optional(cost.and_then(|cost| cost.cpu_per_node())),
        optional(cost.and_then(|cost| cost.memory_per_node())),
        optional(cost.and_then(|cost| cost.memory_read)),
        optional(work.map(|work| work.pieces)),
        optional(work.map(|work| work.operations)),
    ]
}

fn of_spread(spread: Spread) -> [String; 3] {
    let told = |millis: u64| optional((spread.count > 0).then_some(millis));
    [told(spread.median), told(spread.p95), told(spread.longest)]
}

/// Seeds as people read them: the first of many.
pub(super) fn seeds(broken: &Broken) -> String {
    let all = broken.seeds.len();
    let first: Vec<String> = broken.seeds.iter().take(SHOWN).map(u64::to_string).collect();
    let more = match all {
        ..=SHOWN => String::new(),
        _ => format!(" and {} more", all - SHOWN),
    };
    let word = if all == 1 { "seed" } else { "seeds" };
    format!("{word} {}{more}", first.join(", "))
}

/// In a line: how many reports there are, and what is lost.
pub(super) fn summary(together: &Together) -> String {
    let of_jobs = match together.jobs {
        0 => String::new(),
        jobs => format!(" of {jobs} jobs"),
    };
    format!(
        "{} runs{of_jobs}; {} missing, {} failed, {} unreadable",
        together.runs.len(),
        together.missing.len(),
        together.failed.len(),
        together.unreadable.len()
    )
}

impl fmt::Display for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", summary(self))?;
        let widest = self
            .scenarios
            .iter()
            .map(|series| series.scenario.chars().count());
        let wide = widest.max().unwrap_or(0).max("scenario".len());
        writeln!(
            f,
            "  {:<wide$} {:>5} {:>6} {:>10} {:>10} {:>12} {:>10} {:>10} {:>11}",
            "scenario",
            "runs",
            "broken",
            "delivered",
            "read",
            "acknowledged",
            "CPU/mail",
            "CPU/node",
            "memory/node"
        )?;
        for series in &self.scenarios {
            let [delivered, read, acknowledged] =
                [series.to_delivered, series.to_read, series.to_acknowledged]
                    .map(|millis| millis.map_or_else(|| "–".to_owned(), time));
            writeln!(
                f,
                "  {:<wide$} {:>5} {:>6} {delivered:>10} {read:>10} {acknowledged:>12} {:>10} {:>10} {:>11}",
                series.scenario,
                series.runs,
                series.broken_runs(&self.runs),
                or_none(series.cpu_per_mail, seconds),
                or_none(series.cpu_per_node, seconds),
                or_none(series.memory_per_node, octets),
            )?;
        }
        writeln!(
            f,
            "  Medians over the runs: of each run's median from accepted on, and of what it cost."
        )?;
        for series in &self.scenarios {
            for broken in &series.broken {
                let promise = broken.promise;
                writeln!(
                    f,
                    "\n{}: {promise} was BROKEN with {}",
                    series.scenario,
                    seeds(broken)
                )?;
            }
            if series.versions.len() > 1 {
                let versions = series.versions.join(", ");
                writeln!(f, "\n{}: runs of different versions: {versions}", series.scenario)?;
            }
        }
        let missing = self.missing.iter().map(|place| (place.as_str(), ""));
        tell(f, "missing", missing)?;
        for (what, lost) in [("failed", &self.failed), ("unreadable", &self.unreadable)] {
            tell(
                f,
                what,
                lost.iter().map(|lost| (lost.place.as_str(), lost.why.as_str())),
            )?;
        }
        Ok(())
    }
}

/// The first of those that are lost, and how many more there are.
fn tell<'a>(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    mut lost: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
) -> fmt::Result {
    if lost.len() > 0 {
        writeln!(f, "\n{what}:")?;
    }
    for (place, why) in lost.by_ref().take(SHOWN) {
        match why {
            "" => writeln!(f, "  {place}")?,
            why => writeln!(f, "  {place}: {why}")?,
        }
    }
    match lost.len() {
        0 => Ok(()),
        more => writeln!(f, "  … and {more} more"),
    }
}
