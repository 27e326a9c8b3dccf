//! The tables of the page.

use clap::ValueEnum;
use indicatif::BinaryBytes;

use super::markup::Element;
use super::scale::time;
use super::{Report, Spread, csv};
use crate::history::{Fate, History, Mail, Sending, Troubles};
use crate::path::Path;
use crate::promise::Verdict;

/// Mails and recipients that the page shows.
pub(super) const MAILS: usize = 200;
/// Times of failing that the page shows.
const FAULTS: usize = 200;
/// Acts of those who do harm that the page shows.
const ACTS: usize = 200;
/// Cases against a promise that the page shows.
const CASES: usize = 8;
/// Letters of a case against a promise that the page shows.
const CASE: usize = 600;

/// A table in a frame that can be moved sideways; the first cell of each row is the row's name.
pub(super) fn table(caption: &str, heads: &[&str], rows: impl IntoIterator<Item = Vec<Element>>) -> Element {
    let head = |name: &&str| Element::new("th").with("scope", "col").text(name);
    let heads = Element::new("tr").holding_all(heads.iter().map(head));
    let body = rows.into_iter().map(|row| Element::new("tr").holding_all(row));
    Element::of("div", "wide")
        .with("role", "region")
        .with("tabindex", 0)
        .with("aria-label", caption)
        .holding(
            Element::new("table")
                .holding(Element::new("caption").text(caption))
                .holding(Element::new("thead").holding(heads))
                .holding(Element::new("tbody").holding_all(body)),
        )
}

pub(super) fn name(text: impl std::fmt::Display) -> Element {
    Element::new("th").with("scope", "row").text(text)
}

pub(super) fn cell(text: impl std::fmt::Display) -> Element {
    Element::new("td").text(text)
}

pub(super) fn number(text: impl std::fmt::Display) -> Element {
    Element::of("td", "number").text(text)
}

pub(super) fn millis(at: Option<u64>) -> Element {
    number(at.map_or_else(|| "–".to_owned(), time))
}

/// The first letters of a text.
fn cut(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

pub(super) fn totals(report: &Report) -> Element {
    let totals = &report.totals;
    let row = |what: &str, value: String| vec![name(what), number(value)];
    let rows = [
        row("Mails of the plan", totals.mails.to_string()),
        row("Accepted", totals.accepted.to_string()),
        row(
            "Resources, each as often as it was sent",
            BinaryBytes(totals.octets).to_string(),
        ),
        row(
            "Deliveries: mails times recipients",
            totals.deliveries.to_string(),
        ),
        row("Delivered", totals.delivered.to_string()),
        row("Reported to their authors", totals.reported.to_string()),
    ];
    table("The traffic in numbers", &["What", "How much"], rows)
}

pub(super) fn spreads(report: &Report) -> Element {
    let row = |what: &str, spread: &Spread| {
        let times = [spread.median, spread.p95, spread.longest].map(|took| match spread.count {
            0 => millis(None),
            _ => millis(Some(took)),
        });
        let mut row = vec![name(what), number(spread.count)];
        row.extend(times);
        row
    };
    let totals = &report.totals;
    let rows = [
        row("delivered", &totals.to_delivered),
        row("read and compared", &totals.to_read),
        row("acknowledged at the origin", &totals.to_acknowledged),
    ];
    let heads = ["From accepted to", "Count", "Median", "95 of 100", "Longest"];
    table("How long it took", &heads, rows)
}

fn told(verdict: Verdict) -> Element {
    let class = match verdict {
        Verdict::Held => "held",
        Verdict::Broken => "broken",
        Verdict::NothingToCheck => "no-case",
    };
    Element::of("span", class).text(verdict)
}

pub(super) fn promises(report: &Report) -> Element {
    let rows = report.promises.iter().map(|judged| {
        let mut against = Element::new("ul");
        for case in judged.against.iter().take(CASES) {
            against = against.holding(Element::new("li").text(cut(case, CASE)));
        }
        if judged.broken > CASES {
            let more = judged.broken - CASES;
            against = against.holding(Element::new("li").text(format_args!("… and {more} more")));
        }
        let mut what = cell(&judged.what);
        if judged.broken > 0 {
            what = what.holding(against);
        }
        let verdict = Element::new("td").holding(told(judged.verdict));
        vec![
            name(judged.promise),
            verdict,
            number(judged.checked),
            number(judged.broken),
            what,
        ]
    });
    let heads = [
        "Promise",
        "Verdict",
        "Cases",
        "Broken",
        "What was looked at, and what is against it",
    ];
    table("The promises", &heads, rows)
}

pub(super) fn faults(report: &Report) -> Option<Element> {
    let spans = report.history.spans();
    let rows = spans.iter().take(FAULTS).map(|span| {
        let until = match (span.to, span.to_mail) {
            (Some(at), Some(mail)) => moment(at, mail),
            _ => cell("the end"),
        };
        vec![
            name(&span.site),
            cell(span.what),
            moment(span.from, span.from_mail),
            until,
        ]
    });
    let heads = ["Site", "What befell it", "From", "Until"];
    let caption = match spans.len() {
        ..=FAULTS => "What failed".to_owned(),
        all => format!("What failed: the first {FAULTS} times of {all}"),
    };
    (!spans.is_empty()).then(|| table(&caption, &heads, rows))
}

/// What was done to do harm, what must be answered, and what was.
pub(super) fn harm(report: &Report) -> Option<Element> {
    let acts = &report.history.hostile;
    let rows = acts.iter().take(ACTS).map(|act| {
        let verdict = if act.refused {
            Verdict::Held
        } else {
            Verdict::Broken
        };
        vec![
            name(act.role),
            cell(&act.against),
            cell(cut(&act.what, CASE)),
            cell(&act.expected),
            cell(cut(&act.answer, CASE)),
            Element::new("td").holding(told(verdict)),
            millis(Some(act.at)),
        ]
    });
    let heads = [
        "Role",
        "Against",
        "What was done",
        "What must come of it",
        "What came of it",
        "Verdict",
        "When it was over",
    ];
    let caption = match acts.len() {
        ..=ACTS => "What was done to do harm".to_owned(),
        all => format!("What was done to do harm: the first {ACTS} acts of {all}"),
    };
    (!acts.is_empty()).then(|| table(&caption, &heads, rows))
}

/// How often each way that things can go was gone.
pub(super) fn paths(report: &Report) -> Option<Element> {
    let gone = &report.history.paths;
    let named = Path::value_variants().iter().filter(|path| {
        let is_named = report.paths.contains(path);
        is_named || gone.contains_key(path)
    });
    let rows: Vec<Vec<Element>> = named
        .map(|path| {
            let must = if report.paths.contains(path) { "yes" } else { "" };
            vec![
                name(path),
                number(gone.get(path).copied().unwrap_or(0)),
                cell(must),
            ]
        })
        .collect();
    let heads = ["Way", "Times", "Must have been gone"];
    (!rows.is_empty()).then(|| table("Ways that things went", &heads, rows))
}

fn moment(at: u64, before_mail: usize) -> Element {
    cell(format_args!("{}, before mail {before_mail}", time(at)))
}

/// A mail and one of its recipients; none for one that was not accepted.
type Row<'a> = (&'a Mail, Option<&'a Fate>);

/// The most interesting mails: those that break a promise first, then the slowest.
pub(super) fn mails(report: &Report) -> Element {
    let mut rows: Vec<(Verdict, u64, Row<'_>)> = Vec::new();
    let mut alone = Alone::in_a(report);
    for mail in &report.history.mails {
        if mail.fates.is_empty() {
            rows.push((alone.verdict(mail, None), 0, (mail, None)));
        }
        for fate in &mail.fates {
            let verdict = alone.verdict(mail, Some(fate));
            rows.push((verdict, how_long(mail, fate), (mail, Some(fate))));
        }
    }
    rows.sort_by_key(|(verdict, took, (mail, _))| {
        (*verdict != Verdict::Broken, u64::MAX - took, mail.number)
    });
    let shown = rows
        .iter()
        .take(MAILS)
        .map(|(verdict, _, row)| mail(*verdict, *row));
    let heads = [
        "Mail",
        "Promises",
        "From",
        "To",
        "Category",
        "Channel",
        "Files",
        "Octets",
        "Accepted",
        "Delivered",
        "Read",
        "Acknowledged",
        "Copies",
        "Reports",
        "Reading",
    ];
    table(
        "Mails and their recipients, with times since the traffic began",
        &heads,
        shown,
    )
}

fn how_long(mail: &Mail, fate: &Fate) -> u64 {
    let Sending::Accepted { at, .. } = mail.sending else {
        return 0;
    };
    match fate.settled_at() {
        Some(settled) => settled.saturating_sub(at),
        None => u64::MAX,
    }
}

/// What befell the sites of a run, and one mail.
struct Alone<'a> {
    report: &'a Report,
    troubles: Troubles,
    history: History,
}

impl<'a> Alone<'a> {
    fn in_a(report: &'a Report) -> Self {
        Self {
            report,
            troubles: Troubles::of(&report.history),
            history: History::default(),
        }
    }

    /// The verdict over all promises of the run that are about mails, if there had been no other.
    fn verdict(&mut self, mail: &Mail, fate: Option<&Fate>) -> Verdict {
        let alone = Mail {
            fates: fate.into_iter().cloned().collect(),
            ..mail.clone()
        };
        self.history.mails = vec![alone];
        let terms = self.report.terms(&self.troubles);
        let promises = self.report.promises.iter().map(|judged| judged.promise);
        let mut about_mails = promises.filter(|promise| promise.is_about_mails());
        match about_mails.any(|promise| promise.judge(&self.history, terms).verdict == Verdict::Broken) {
            true => Verdict::Broken,
            false => Verdict::Held,
        }
    }
}

fn mail(verdict: Verdict, (mail, fate): Row<'_>) -> Vec<Element> {
    let (octets, accepted) = match &mail.sending {
        Sending::Accepted { octets, at, .. } => (BinaryBytes(*octets).to_string(), Some(*at)),
        Sending::Not { .. } | Sending::NotDue => ("–".to_owned(), None),
    };
    let of_fate = |tell: fn(&Fate) -> String| cell(fate.map_or_else(|| "–".to_owned(), tell));
    let at = |tell: fn(&Fate) -> Option<u64>| millis(fate.and_then(tell));
    vec![
        name(mail.number),
        Element::new("td").holding(told(verdict)),
        cell(&mail.author),
        of_fate(|fate| fate.recipient.to_string()),
        cell(&mail.category),
        cell(csv::kebab(&mail.channel)).with("class", "short"),
        number(mail.files),
        number(octets),
        millis(accepted),
        at(|fate| fate.delivered_at),
        at(|fate| fate.read_at),
        at(|fate| fate.acknowledged_at),
        of_fate(|fate| fate.copies.to_string()).with("class", "number"),
        of_fate(|fate| fate.reports.to_string()).with("class", "number"),
        of_fate(|fate| csv::reading(&fate.reading).to_owned()),
    ]
}
