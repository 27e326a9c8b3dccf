//! The page of many runs: the style and the pictures of a single one's.
//!
//! What always holds: it stays small however many runs there were, and says where something was left out.

use super::table::{seeds, summary};
use super::{Ran, Series, Together, median};
use crate::cost::Cost;
use crate::report::costs::{nanoseconds, octets, or_none, seconds};
use crate::report::curves::{Points, thin};
use crate::report::figures::{figure, note, section};
use crate::report::html::head;
use crate::report::markup::Element;
use crate::report::plot::{Curve, Plot, Shape};
use crate::report::scale::{Scale, Unit, real};
use crate::report::tables::{cell, millis, name, number, table};

/// Scenarios, runs and losses that the page shows.
const ROWS: usize = 500;

/// A share of what a run cost, and how it is drawn.
struct Share {
    id: &'static str,
    title: &'static str,
    up: &'static str,
    unit: Unit,
    /// In that unit.
    of: fn(&Cost) -> Option<f64>,
}

const SHARES: [Share; 5] = [
    Share {
        id: "cpu-per-mail",
        title: "CPU of the traffic for each mail",
        up: "CPU for each mail",
        unit: Unit::Time,
        of: |cost| cost.cpu_per_mail().map(|seconds| seconds * 1000.0),
    },
    Share {
        id: "work-per-mail",
        title: "Pieces on lines and operations of disks for each mail",
        up: "pieces and operations for each mail",
        unit: Unit::Count,
        of: Cost::work_per_mail,
    },
    Share {
        id: "cpu-per-node",
        title: "CPU to lay out and start each node",
        up: "CPU for each node",
        unit: Unit::Time,
        of: |cost| cost.cpu_per_node().map(|seconds| seconds * 1000.0),
    },
    Share {
        id: "memory-per-node",
        title: "Memory for each node when all are started",
        up: "memory for each node",
        unit: Unit::Octets,
        of: Cost::memory_per_node,
    },
    Share {
        id: "memory-read",
        title: "Nanoseconds that a read of memory takes that no cache holds",
        up: "nanoseconds for each read",
        unit: Unit::Count,
        of: |cost| cost.memory_read.map(nanoseconds),
    },
];

/// The page, without its document type.
pub(super) fn page(together: &Together) -> Element {
    let verdict = match (together.kept, together.complete) {
        (false, _) => Element::of("p", "broken verdict").text("A promise was broken."),
        (true, false) => {
            Element::of("p", "broken verdict").text("No promise was broken in the runs that there are.")
        }
        (true, true) => Element::of("p", "held verdict").text("No promise was broken."),
    };
    let header = Element::new("header")
        .holding(Element::new("h1").text("Many runs"))
        .holding(Element::new("p").text(summary(together)))
        .holding(verdict);
    Element::new("html")
        .with("lang", "en")
        .holding(head("Many runs of the proving ground"))
        .holding(
            Element::new("body").holding(
                Element::new("main")
                    .holding(header)
                    .holding(outcome(together))
                    .holding(costs(&together.runs))
                    .holding_all(lost(together))
                    .holding(runs(&together.runs)),
            ),
        )
}

/// What a table is called that may not show everything.
fn first_of(what: &str, all: usize) -> String {
    match all {
        ..=ROWS => what.to_owned(),
        _ => format!("{what}: the first {ROWS} of {all}"),
    }
}

fn outcome(together: &Together) -> Element {
    let all = &together.scenarios;
    let heads = [
        "Scenario",
        "Nodes",
        "Runs",
        "Broken runs",
        "Delivered",
        "Read",
        "Acknowledged",
        "CPU a mail",
        "CPU a node",
        "Memory a node",
    ];
    let row = |series: &Series| {
        vec![
            name(&series.scenario),
            number(
                series
                    .nodes
                    .map_or_else(|| "–".to_owned(), |nodes| nodes.to_string()),
            ),
            number(series.runs),
            number(series.broken_runs(&together.runs)),
            millis(series.to_delivered),
            millis(series.to_read),
            millis(series.to_acknowledged),
            number(or_none(series.cpu_per_mail, seconds)),
            number(or_none(series.cpu_per_node, seconds)),
            number(or_none(series.memory_per_node, octets)),
        ]
    };
    let section = section("What came of them")
        .holding(table(
            &first_of("The runs of each scenario, with medians over them", all.len()),
            &heads,
            all.iter().take(ROWS).map(row),
        ))
        .holding(note(
            "Times are the median over the runs of each run's own median, from accepted on. Costs are of the machines that made \
             the runs.",
        ));
    let mixed = all.iter().filter(|series| series.versions.len() > 1);
    let section = section.holding_all(mixed.take(ROWS).map(|series| {
        let versions = series.versions.join(", ");
        note(format_args!(
            "{}: runs of different versions: {versions}.",
            series.scenario
        ))
    }));
    let broken = all
        .iter()
        .flat_map(|series| series.broken.iter().map(move |broken| (series, broken)));
    let count = broken.clone().count();
    if count == 0 {
        return section;
    }
    let rows = broken.take(ROWS).map(|(series, broken)| {
        vec![
            name(&series.scenario),
            Element::new("td").holding(Element::of("span", "broken").text(broken.promise)),
            number(broken.seeds.len()),
            cell(seeds(broken)),
        ]
    });
    let heads = ["Scenario", "Promise", "Runs", "Seeds"];
    section.holding(table(&first_of("Promises that were broken", count), &heads, rows))
}

fn costs(runs: &[Ran]) -> Element {
    let section = section("What it costs to simulate more nodes");
    let all: Vec<&Cost> = runs.iter().filter_map(|run| run.cost.as_ref()).collect();
    let fewest = all.iter().map(|cost| cost.nodes).min().unwrap_or(0);
    let most = all.iter().map(|cost| cost.nodes).max().unwrap_or(0);
    if fewest == most {
        return section.holding(note(
            "All runs have as many nodes as each other, or do not say what they cost, so there is nothing to draw.",
        ));
    }
    section.holding_all(SHARES.iter().filter_map(|share| draw(share, &all)))
}

fn draw(share: &Share, costs: &[&Cost]) -> Option<Element> {
    let measured = costs
        .iter()
        .filter_map(|cost| Some((cost.nodes, (share.of)(cost)?)));
    let mut measured: Vec<(usize, f64)> = measured.collect();
    measured.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let (fewest, most) = (measured.first()?.0, measured.last()?.0);
    let highest = measured.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let usual = measured.chunk_by(|a, b| a.0 == b.0).filter_map(|same| {
        let values = same.iter().map(|(_, value)| *value).collect();
        Some((real(same.first()?.0 as u64), median(values, f64::total_cmp)?))
    });
    let usual: Points = usual.collect();
    let each: Points = measured
        .iter()
        .map(|(nodes, value)| (real(*nodes as u64), *value))
        .collect();
    let told: Vec<String> = usual
        .iter()
        .map(|(nodes, value)| format!("{}: {}", Unit::Count.tell(*nodes), share.unit.tell(*value)))
        .take(ROWS)
        .collect();
    let plot = Plot {
        id: share.id,
        title: share.title,
        about: format!(
            "A dot for each run, and a line through the medians over runs of as many nodes: {}",
            told.join("; ")
        ),
        across: (Scale::powers(real(fewest as u64), real(most as u64)), "nodes"),
        up: (Scale::even(share.unit, highest), share.up),
        curves: vec![
            Curve {
                name: "median".to_owned(),
                points: thin(usual),
                shape: Shape::Joined,
            },
            Curve {
                name: "a run".to_owned(),
                points: thin(each),
                shape: Shape::Alone,
            },
        ],
        spans: Vec::new(),
    };
    Some(figure(
        share.title,
        plot.draw(),
        format_args!("{}, over the number of nodes. {}.", share.title, plot.about),
    ))
}

fn lost(together: &Together) -> Option<Element> {
    let missing = together
        .missing
        .iter()
        .map(|place| (place.as_str(), "missing", "nobody has begun it"));
    let others = [("failed", &together.failed), ("unreadable", &together.unreadable)];
    let others = others.into_iter().flat_map(|(what, all)| {
        all.iter()
            .map(move |lost| (lost.place.as_str(), what, lost.why.as_str()))
    });
    let all: Vec<(&str, &str, &str)> = missing.chain(others).collect();
    let rows = all
        .iter()
        .take(ROWS)
        .map(|(place, what, why)| vec![name(place), cell(what), cell(why)]);
    let heads = ["Where its report should be", "What", "Why"];
    let caption = first_of("Runs of which nothing is known", all.len());
    (!all.is_empty()).then(|| section("What is not here").holding(table(&caption, &heads, rows)))
}

fn runs(runs: &[Ran]) -> Element {
    let mut shown: Vec<&Ran> = runs.iter().collect();
    shown.sort_by_key(|run| run.broken.is_empty());
    let rows = shown.into_iter().take(ROWS).map(|run| {
        let broken: Vec<&str> = run.broken.iter().map(|promise| promise.name()).collect();
        let totals = &run.totals;
        let median = |spread: &crate::report::Spread| millis((spread.count > 0).then_some(spread.median));
        let cost = run.cost.as_ref();
        vec![
            name(&run.scenario),
            number(run.seed),
            match broken.is_empty() {
                true => Element::new("td").holding(Element::of("span", "held").text("held")),
                false => Element::new("td").holding(Element::of("span", "broken").text(broken.join(", "))),
            },
            number(totals.mails),
            number(totals.delivered),
            number(totals.reported),
            median(&totals.to_delivered),
            median(&totals.to_acknowledged),
            number(or_none(cost.map(|cost| cost.cpu_seconds), seconds)),
            number(or_none(
                cost.and_then(|cost| Some(cost.peak_memory? as f64)),
                octets,
            )),
            cell(&run.place),
        ]
    });
    let heads = [
        "Scenario",
        "Seed",
        "Promises",
        "Mails",
        "Delivered",
        "Reported",
        "Median to delivered",
        "To acknowledged",
        "CPU",
        "Memory",
        "Report",
    ];
    let section = section("The runs");
    let section = match runs.len() {
        ..=ROWS => section,
        all => section.holding(note(format_args!(
            "The first {ROWS} of {all}: those that break a promise before the others. All of them stand in sweep.csv and sweep.json."
        ))),
    };
    section.holding(table("Each run", &heads, rows))
}
