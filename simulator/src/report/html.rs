//! The page that people look at: one file that needs no other, runs no script and asks nobody for anything.
//!
//! What always holds: it stays small however many mails there were, and says where something was left out.

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use super::figures::{figure, note, octets, queue, section, times};
use super::known::{PEOPLE, SITES, knowledge};
use super::markup::Element;
use super::scale::time;
use super::{Report, costs, tables, walk};
use crate::history::History;

const STYLE: &str = include_str!("page.css");

/// The page, without its document type.
pub(super) fn page(report: &Report) -> Element {
    let title = format!(
        "{}, seed {}: report of the proving ground",
        report.scenario, report.seed
    );
    Element::new("html")
        .with("lang", "en")
        .holding(head(&title))
        .holding(
            Element::new("body").holding(
                Element::new("main")
                    .holding(heading(report))
                    .holding(outcome(report))
                    .holding(times(report))
                    .holding(queue(report))
                    .holding(octets(&report.history))
                    .holding(who_learned(report))
                    .holding(walks(&report.history))
                    .holding(mails(report))
                    .holding(costs::section_of(&report.cost)),
            ),
        )
}

/// The head of every page.
pub(super) fn head(title: &str) -> Element {
    // Nothing but the style that stands below, whose hash this is, is ever loaded or run.
    let hash = BASE64.encode(&Sha256::digest(STYLE));
    let policy =
        format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'");
    Element::new("head")
        .holding(Element::new("meta").with("charset", "utf-8"))
        .holding(
            Element::new("meta")
                .with("http-equiv", "Content-Security-Policy")
                .with("content", policy),
        )
        .holding(
            Element::new("meta")
                .with("name", "viewport")
                .with("content", "width=device-width, initial-scale=1"),
        )
        .holding(
            Element::new("meta")
                .with("name", "color-scheme")
                .with("content", "light dark"),
        )
        .holding(Element::new("title").text(title))
        .holding(Element::new("style").raw(STYLE))
}

fn heading(report: &Report) -> Element {
    let fact = |name: &str, value: String| {
        Element::new("div")
            .holding(Element::new("dt").text(name))
            .holding(Element::new("dd").text(value))
    };
    let seconds = match report.mode {
        "virtual" => format!("{:.1} virtual seconds", report.seconds),
        _ => format!("{:.1} seconds", report.seconds),
    };
    let verdict = match report.all_held() {
        true => Element::of("p", "held verdict").text("No promise was broken."),
        false => Element::of("p", "broken verdict").text("A promise was broken."),
    };
    let facts = Element::new("dl").holding_all([
        fact("Seed", report.seed.to_string()),
        fact("Ground", report.mode.to_owned()),
        fact("It took", seconds),
        fact("Version", report.version.to_owned()),
    ]);
    let again = Element::new("p")
        .text("The same plan again: ")
        .holding(Element::new("code").text(report.command()));
    Element::new("header")
        .holding(Element::new("h1").text(&report.scenario))
        .holding(Element::new("p").text(&report.description))
        .holding(verdict)
        .holding(facts)
        .holding(again)
}

fn outcome(report: &Report) -> Element {
    section("What came of it")
        .holding(tables::promises(report))
        .holding(tables::totals(report))
        .holding(tables::spreads(report))
        .holding_all(tables::faults(report))
        .holding_all(tables::harm(report))
        .holding_all(tables::paths(report))
}

fn who_learned(report: &Report) -> Element {
    section("Who learned what about whom")
        .holding(note(format_args!(
            "Derived from the history and from the scenario's sites, not measured: an author's and a recipient's broker \
             see the placeholder (author, recipients, category, origin, sizes), an origin sees the share and the content, \
             a destination the notification for its own recipient and the content. Where content went is what the \
             delivered placeholder says; a mail of which neither copy nor receipt was seen counts on its author's side \
             only. The stores of the nodes were looked at, after they were stopped. The first {SITES} sites and the {PEOPLE} people with the most mails are shown."
        )))
        .holding_all(knowledge(report))
}

fn walks(history: &History) -> Element {
    let chosen = walk::longest_and_median(history);
    let section = section("A mail's walk");
    if chosen.is_empty() {
        return section.holding(note("No mail was acknowledged, so there is no walk to show."));
    }
    let drawn = chosen.iter().zip(["longest", "median"]).map(|((what, walk), id)| {
        let about = format!(
            "{what}: {} to {}, accepted {} after the traffic began. Times are counted from there. Dashed: it must have \
             happened before what stands below it, and the history has no time of it.",
            walk.mail.name(),
            walk.fate.recipient,
            time(walk.accepted),
        );
        figure(what, walk.draw(id, history), about)
    });
    section.holding_all(drawn)
}

fn mails(report: &Report) -> Element {
    let of_mail = |fates: usize| fates.max(1);
    let all: usize = report
        .history
        .mails
        .iter()
        .map(|mail| of_mail(mail.fates.len()))
        .sum();
    let most = tables::MAILS;
    let section = section("The mails");
    let section = match all {
        0 => return section.holding(note("There were no mails.")),
        1..=tables::MAILS => section,
        _ => section.holding(note(format_args!(
            "The {most} most interesting of {all}: first those that break a promise, then the slowest. All of them stand \
             in mails.csv and report.json."
        ))),
    };
    section.holding(tables::mails(report))
}
