//! What a run cost, in words and as a table.

use super::figures::{note, section};
use super::markup::Element;
use super::scale::Unit;
use super::tables::{name, number, table};
use crate::cost::{Cost, Phase};

/// Seconds as people write them, also very few.
pub(super) fn seconds(seconds: f64) -> String {
    Unit::Time.tell(seconds * 1000.0)
}

/// Octets as people write them.
pub(super) fn octets(octets: f64) -> String {
    Unit::Octets.tell(octets)
}

/// Of seconds.
pub(super) fn nanoseconds(seconds: f64) -> f64 {
    seconds * 1e9
}

/// Nanoseconds as people write them.
fn whole(nanoseconds: f64) -> String {
    format!("{nanoseconds:.0} ns")
}

/// Or a dash.
pub(super) fn or_none(value: Option<f64>, tell: fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), tell)
}

/// One line for the terminal.
pub(super) fn told(cost: &Cost) -> String {
    format!(
        "it cost this machine {} and {} of CPU: {} a mail, {} a node to lay out and start; {} of memory, {} a node",
        seconds(cost.seconds),
        seconds(cost.cpu_seconds),
        or_none(cost.cpu_per_mail(), seconds),
        or_none(cost.cpu_per_node(), seconds),
        or_none(cost.peak_memory.map(|peak| peak as f64), octets),
        or_none(cost.memory_per_node(), octets),
    )
}

/// The section of the page.
pub(super) fn section_of(cost: &Cost) -> Element {
    let row = |what: &str, phase: &Phase| {
        vec![
            name(what),
            number(seconds(phase.seconds)),
            number(seconds(phase.cpu_seconds)),
            number(or_none(phase.peak_memory.map(|peak| peak as f64), octets)),
        ]
    };
    let all = Phase {
        seconds: cost.seconds,
        cpu_seconds: cost.cpu_seconds,
        peak_memory: cost.peak_memory,
    };
    let phases = [
        row(
            "Laying out and starting, until everybody has an account",
            &cost.laying_out,
        ),
        row("The traffic, until everything is settled", &cost.traffic),
        row("The checks at the end", &cost.checks),
        row("All of it", &all),
    ];
    let heads = ["Part", "Time", "CPU", "Memory at the most, until its end"];
    let fact = |what: String, value: String| vec![name(what), number(value)];
    let shares = [
        fact(
            format!("CPU of the traffic, for each of {} mails", cost.mails),
            or_none(cost.cpu_per_mail(), seconds),
        ),
        fact(
            format!("CPU to lay out and start, for each of {} nodes", cost.nodes),
            or_none(cost.cpu_per_node(), seconds),
        ),
        fact(
            format!("Memory when all are started, for each of {} nodes", cost.nodes),
            or_none(cost.memory_per_node(), octets),
        ),
        fact("People who have accounts".to_owned(), cost.people.to_string()),
        fact(
            "A read of memory that no cache holds".to_owned(),
            or_none(cost.memory_read.map(nanoseconds), whole),
        ),
        fact(
            "Pieces on lines and operations of disks, for each mail".to_owned(),
            or_none(cost.work_per_mail(), |count| format!("{count:.1}")),
        ),
    ];
    section("What it cost to simulate")
        .holding(note(
            "Of the machine that made this run, and of its one process: its clock, its processors (user and system) and its resident \
             memory. That the programs of the people run there too, and that memory is counted from before the run, is to be borne in \
             mind. Nothing of it decides what happens.",
        ))
        .holding(table("What each part cost", &heads, phases))
        .holding(table("For each mail and node", &["What", "How much"], shares))
}
