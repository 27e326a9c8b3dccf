//! The sections of the page that are pictures: times, mails under way, octets.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::BinaryBytes;

use super::curves::{POINTS, distribution, latencies, thin, under_way};
use super::markup::Element;
use super::plot::{Curve, Plot, SPANS, Shape, bars};
use super::scale::{Scale, Unit, real};
use super::{Report, csv};
use crate::history::{Fate, History, Sending};

/// Kinds of mail that have a bar of their own.
const BARS: usize = 16;

/// When something was seen.
type Seen = fn(&Fate) -> Option<u64>;

pub(super) fn section(title: &str) -> Element {
    Element::new("section").holding(Element::new("h2").text(title))
}

pub(super) fn note(text: impl std::fmt::Display) -> Element {
    Element::of("p", "note").text(text)
}

/// A picture in a frame that can be moved sideways.
pub(super) fn figure(title: &str, drawing: Element, note: impl std::fmt::Display) -> Element {
    let frame = Element::of("div", "wide")
        .with("role", "region")
        .with("tabindex", 0)
        .with("aria-label", title);
    Element::new("figure")
        .holding(frame.holding(drawing))
        .holding(Element::new("figcaption").text(note))
}

pub(super) fn times(report: &Report) -> Element {
    let history = &report.history;
    let points: [(&str, Seen); 3] = [
        ("delivered", |fate| fate.delivered_at),
        ("read", |fate| fate.read_at),
        ("acknowledged", |fate| fate.acknowledged_at),
    ];
    let section = section("How long it took");
    let (mut shortest, mut longest) = (u64::MAX, 0);
    let mut curves = Vec::new();
    for (name, at) in points {
        let (sorted, all) = latencies(history, at);
        let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
            continue;
        };
        (shortest, longest) = (shortest.min(*first), longest.max(*last));
        curves.push(Curve {
            name: format!("{name}: {} of {all}", sorted.len()),
            points: thin(distribution(&sorted, all)),
            shape: Shape::Steps,
        });
    }
    if curves.is_empty() {
        return section.holding(note("Nothing was delivered, so there are no times."));
    }
    let plot = Plot {
        id: "times",
        title: "From accepted to delivered, read and acknowledged",
        about: "Three rising curves: which share of all deliveries took at most so long. The numbers stand in the \
                table above."
            .to_owned(),
        across: (Scale::times(real(shortest), real(longest)), "time since it was accepted"),
        up: (Scale::even(Unit::Share, 1.0), "share of all deliveries"),
        curves,
        spans: Vec::new(),
    };
    section.holding(figure(
        plot.title,
        plot.draw(),
        format_args!(
            "A point says which share of all deliveries took at most so long. Times are seen by looking, so they are \
             late by a moment. Of each curve about {POINTS} points are drawn at most."
        ),
    ))
}

pub(super) fn queue(report: &Report) -> Element {
    let history = &report.history;
    let points = under_way(history);
    let section = section("Mails under way");
    let most = points.iter().map(|(_, depth)| *depth).fold(0.0, f64::max);
    let left = points.last().map_or(0.0, |(_, depth)| *depth);
    let spans = history.spans();
    let last_fault = history.faults.iter().map(|fault| fault.at).max().unwrap_or(0);
    let mut last = points.last().map_or(0.0, |(at, _)| *at).max(real(last_fault));
    if left > 0.0 {
        // What is never settled was waited for until the end.
        last = last.max(report.seconds * 1000.0);
    }
    if most == 0.0 {
        return section.holding(note("No mail was accepted, so none was under way."));
    }
    let faults = spans.len();
    let plot = Plot {
        id: "queue",
        title: "Mails that were accepted and not yet settled",
        about: format!(
            "A curve over the time of the run: {most} mails at most were under way, {left} at the end. {faults} times a site \
             failed; these times are shaded, and listed in the table of faults above."
        ),
        across: (Scale::even(Unit::Time, last), "time since the traffic began"),
        up: (Scale::even(Unit::Count, most), "mails"),
        curves: vec![Curve {
            name: "mails under way".to_owned(),
            points: thin(points),
            shape: Shape::Steps,
        }],
        spans,
    };
    let left_out = match faults {
        ..=SPANS => String::new(),
        _ => format!(" Only the first {SPANS} of {faults} faults are drawn."),
    };
    section.holding(figure(
        plot.title,
        plot.draw(),
        format_args!(
            "A mail is under way from its acceptance until it was reported, or read and acknowledged, for every \
             recipient. While a site fails, the ground is shaded. At the end {left} were under way. About {POINTS} points \
             are drawn at most, peaks among them.{left_out}"
        ),
    ))
}

pub(super) fn octets(history: &History) -> Element {
    let mut by_channel: BTreeMap<String, (u64, usize)> = BTreeMap::new();
    let mut by_category = by_channel.clone();
    let mut distinct: BTreeSet<&str> = BTreeSet::new();
    let (mut sent, mut all) = (0_usize, 0_u64);
    for mail in &history.mails {
        let Sending::Accepted {
            resources, octets, ..
        } = &mail.sending
        else {
            continue;
        };
        for (of, kind) in [
            (&mut by_channel, csv::kebab(&mail.channel)),
            (&mut by_category, mail.category.to_string()),
        ] {
            let (sum, mails) = of.entry(kind).or_default();
            *sum += octets;
            *mails += 1;
        }
        sent += resources.len();
        all += octets;
        distinct.extend(resources.iter().map(String::as_str));
    }
    let section = section("Octets");
    if sent == 0 {
        return section.holding(note("No resource was sent."));
    }
    let about = "A bar for each: octets of the resources of accepted mails, each as often as it was sent.";
    let draw = |id: &str, title: &str, kinds: BTreeMap<String, (u64, usize)>| {
        let (rows, left_out) = largest(kinds);
        figure(
            title,
            bars(id, title, about, &rows),
            format_args!("{title}. {about}{left_out}"),
        )
    };
    let again = sent - distinct.len();
    section
        .holding(draw("channels", "Octets by channel", by_channel))
        .holding(draw("categories", "Octets by category", by_category))
        .holding(note(format_args!(
            "Shared content: {sent} resources were sent, {} of them different by their root; {again} times one was sent that \
             had been sent before, and a server that has it stores it once. They have {} as sent. The history \
             has no size for each root, so how many octets that is of the different ones is not known.",
            distinct.len(),
            BinaryBytes(all)
        )))
}

/// The kinds with the most octets, as bars; what is said about the others.
fn largest(kinds: BTreeMap<String, (u64, usize)>) -> (Vec<(String, u64, String)>, String) {
    let mut rows: Vec<(String, u64, String)> = kinds
        .into_iter()
        .map(|(kind, (octets, mails))| (kind, octets, format!("{}, {mails} mails", BinaryBytes(octets))))
        .collect();
    rows.sort_by_key(|(_, octets, _)| u64::MAX - octets);
    let left_out = match rows.len() {
        ..=BARS => String::new(),
        all => format!(" The {BARS} largest of {all} are drawn."),
    };
    rows.truncate(BARS);
    (rows, left_out)
}
