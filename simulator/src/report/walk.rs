//! One mail's walk as a sequence diagram: who took part, what passed between them, and when.
//!
//! The history holds times of four things: accepted, delivered, read, acknowledged; and of reports and faults. What must
//! have happened before one of them is drawn just above the first that shows it, dashed and without a time.

use cargomail_node::api::Channel;
use cargomail_protocol::address::Locator;

use super::curves::{accepted, spans};
use super::markup::Element;
use super::plot::{drawing, fitted, line, rectangle, words};
use super::scale::{real, time};
use crate::history::{Fate, History, Mail, Sending};

/// Faults that are told in one walk.
const FAULTS: usize = 12;

const WIDTH: f64 = 1080.0;
/// Where the times stand.
const GUTTER: f64 = 150.0;
const HEAD: f64 = 52.0;
const ROW: f64 = 36.0;
/// Of an arrow's head.
const POINT: f64 = 8.0;

/// Which walk it is, and whose.
pub(super) struct Walk<'a> {
    pub(super) mail: &'a Mail,
    pub(super) fate: &'a Fate,
    pub(super) accepted: u64,
}

/// A lifeline.
struct Party {
    role: &'static str,
    name: String,
}

/// Who takes part, and where their lifelines stand; who has two roles has one.
struct Cast {
    parties: Vec<Party>,
    author: usize,
    authors_broker: usize,
    recipients_broker: usize,
    origin: Option<usize>,
    /// None when no copy said where the content is.
    destination: Option<usize>,
    recipient: usize,
}

/// How a step is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It was seen, at its time.
    Seen,
    /// What was seen at that time shows that it had happened.
    Shown,
}

/// What stands in a row.
enum Step {
    /// From one party to another, or to itself.
    Passes { from: usize, to: usize, what: String },
    /// It befell one party.
    Befalls { whom: usize, what: String },
}

/// A row.
struct Row {
    at: u64,
    known: Known,
    step: Step,
}

/// The walk that took longest to be acknowledged, and the median one; fewer when there are fewer.
pub(super) fn longest_and_median(history: &History) -> Vec<(&'static str, Walk<'_>)> {
    let mut walks: Vec<(u64, Walk<'_>)> = Vec::new();
    for (mail, accepted) in accepted(history) {
        for fate in &mail.fates {
            if let Some(at) = fate.acknowledged_at {
                let walk = Walk { mail, fate, accepted };
                walks.push((at.saturating_sub(accepted), walk));
            }
        }
    }
    walks.sort_by_key(|(took, _)| *took);
    let median = walks.len().div_ceil(2).checked_sub(1);
    let longest = walks.len().checked_sub(1);
    let mut chosen = Vec::new();
    for (place, (_, walk)) in walks.into_iter().enumerate() {
        if Some(place) == longest {
            chosen.insert(0, ("The one that took longest to be acknowledged", walk));
        } else if Some(place) == median {
            chosen.push(("The median one", walk));
        }
    }
    chosen
}

impl Walk<'_> {
    /// The diagram; `id` names it within the page.
    pub(super) fn draw(&self, id: &str, history: &History) -> Element {
        let cast = Cast::of(self);
        let parties = &cast.parties;
        let rows = self.rows(&cast, history);
        let apart = (WIDTH - GUTTER) / real(parties.len() as u64);
        let x = |party: usize| GUTTER + apart * (real(party as u64) + 0.5);
        let height = HEAD + ROW * (real(rows.len() as u64) + 0.8);
        let about = format!(
            "Between {} as lifelines: {}.",
            parties
                .iter()
                .map(|party| format!("{} ({})", party.name, party.role))
                .collect::<Vec<_>>()
                .join(", "),
            rows.iter()
                .map(|row| row.told(parties, self.accepted))
                .collect::<Vec<_>>()
                .join("; ")
        );
        let title = format!("The walk of {} to {}", self.mail.name(), self.fate.recipient);
        let lifelines = parties.iter().enumerate().map(|(index, party)| {
            let x = x(index);
            let box_of_it = rectangle("party", [x - apart / 2.0 + 4.0, 2.0], [apart - 8.0, HEAD - 8.0]);
            Element::new("g")
                .holding(line("lifeline", [x, HEAD - 6.0], [x, height]))
                .holding(box_of_it)
                .holding(words("role", "middle", [x, 20.0], party.role))
                .holding(words(
                    "name",
                    "middle",
                    [x, 37.0],
                    fitted(&party.name, apart - 12.0),
                ))
                .holding(Element::new("title").text(&party.name))
        });
        let drawn = rows.iter().enumerate().map(|(index, row)| {
            let y = HEAD + ROW * (real(index as u64) + 0.9);
            row.draw(y, self.accepted, x)
        });
        drawing(id, &title, &about, [WIDTH, height])
            .holding_all(lifelines)
            .holding_all(drawn)
    }

    /// What happened, from first to last.
    fn rows(&self, cast: &Cast, history: &History) -> Vec<Row> {
        let fate = self.fate;
        let first = |times: [Option<u64>; 2]| times.into_iter().flatten().min();
        let stored = first([fate.acknowledged_at, fate.read_at]);
        let arrived = first([stored, fate.delivered_at]);
        let accepted = Some(self.accepted);
        let posted = match self.mail.files {
            0 => "text, share".to_owned(),
            1 => "text, 1 file, share".to_owned(),
            files => format!("text, {files} files, share"),
        };
        let sent = match self.mail.channel {
            Channel::Web => "by web channel",
            Channel::Smtp => "by SMTP",
            Channel::WebThenSmtp => "by web or SMTP",
        };
        let moved = match cast.origin == cast.destination {
            true => "nothing is moved",
            false => "resources",
        };
        let (author, recipient) = (Some(cast.author), Some(cast.recipient));
        let (from, to) = (Some(cast.authors_broker), Some(cast.recipients_broker));
        let other_broker = to.filter(|_| from != to);
        let (origin, destination) = (cast.origin, cast.destination);
        let row = |at: Option<u64>, known, from: Option<usize>, to: Option<usize>, what: &str| {
            let (at, from, to, what) = (at?, from?, to?, what.to_owned());
            let step = Step::Passes { from, to, what };
            Some(Row { at, known, step })
        };
        let mut rows = self.faults(cast, history);
        let steps = [
            row(accepted, Known::Shown, author, origin, &posted),
            row(accepted, Known::Seen, author, from, "placeholder"),
            row(arrived, Known::Shown, from, other_broker, sent),
            row(arrived, Known::Shown, to, destination, "notification"),
            row(stored, Known::Shown, origin, destination, moved),
            row(fate.delivered_at, Known::Seen, to, recipient, "delivered"),
            row(fate.acknowledged_at, Known::Seen, destination, origin, "receipt"),
            row(
                fate.read_at,
                Known::Seen,
                destination,
                recipient,
                "read as written",
            ),
            row(fate.reported_at, Known::Seen, from, author, "undeliverable"),
        ];
        rows.extend(steps.into_iter().flatten());
        // What has the same time stays in the order of the walk.
        rows.sort_by_key(|row| row.at);
        rows
    }

    /// The faults of those who take part, from its beginning to its end.
    fn faults(&self, cast: &Cast, history: &History) -> Vec<Row> {
        let fate = self.fate;
        let times = [
            fate.delivered_at,
            fate.acknowledged_at,
            fate.read_at,
            fate.reported_at,
        ];
        let end = times.into_iter().flatten().max().unwrap_or(self.accepted);
        let mut rows = Vec::new();
        for span in spans(history) {
            let mailbox = format!("mailbox.{}", span.site);
            let is_there = |party: &Party| [&span.site, &mailbox].contains(&&party.name);
            let Some(whom) = cast.parties.iter().position(is_there) else {
                continue;
            };
            if span.from > end || span.to.is_some_and(|to| to < self.accepted) {
                continue;
            }
            let mut befalls = |at, what| {
                let step = Step::Befalls { whom, what };
                let known = Known::Seen;
                rows.push(Row { at, known, step });
            };
            befalls(span.from, span.what.to_owned());
            if let Some(to) = span.to.filter(|to| *to <= end) {
                befalls(to, "well again".to_owned());
            }
        }
        rows.truncate(FAULTS);
        rows
    }
}

impl Cast {
    fn of(walk: &Walk<'_>) -> Self {
        let mut parties = Vec::new();
        let mut add = |role, name: String| {
            parties.push(Party { role, name });
            parties.len() - 1
        };
        let (from, to) = (&walk.mail.author, &walk.fate.recipient);
        let author = add("author", from.to_string());
        let (authors_broker, recipients_broker) = match from.domain() == to.domain() {
            true => {
                let both = add("broker of both", from.domain().to_string());
                (both, both)
            }
            false => {
                let authors = add("author's broker", from.domain().to_string());
                (authors, add("recipient's broker", to.domain().to_string()))
            }
        };
        let origin = match &walk.mail.sending {
            Sending::Accepted { origin, .. } => Some(origin),
            Sending::Not { .. } => None,
        };
        let destination = walk.fate.destination.as_ref();
        let (origin, destination) = match origin == destination {
            true => {
                let both = origin.map(|both| add("origin and destination", both.to_string()));
                (both, both)
            }
            false => {
                let origin = origin.map(|origin| add("origin", origin.to_string()));
                let add_destination = |destination: &Locator| add("destination", destination.to_string());
                (origin, destination.map(add_destination))
            }
        };
        let recipient = add("recipient", to.to_string());
        Self {
            parties,
            author,
            authors_broker,
            recipients_broker,
            origin,
            destination,
            recipient,
        }
    }
}

impl Row {
    fn draw(&self, y: f64, accepted: u64, x: impl Fn(usize) -> f64) -> Element {
        let mut row = Element::new("g");
        if self.known == Known::Seen {
            let at = self.at;
            row = row.holding(words(
                "mark",
                "end",
                [GUTTER - 10.0, y + 4.0],
                since(at, accepted),
            ));
        }
        match &self.step {
            Step::Befalls { whom, what } => {
                let x = x(*whom);
                let dot = rectangle("befalls", [x - 5.0, y - 5.0], [10.0, 10.0]);
                row.holding(dot)
                    .holding(words("what", "start", [x + 10.0, y + 4.0], what))
            }
            Step::Passes { from, to, what } if from == to => {
                let x = x(*from);
                let dot = Element::of("circle", "point")
                    .with("cx", format_args!("{x:.1}"))
                    .with("cy", format_args!("{y:.1}"))
                    .with("r", 4);
                row.holding(dot)
                    .holding(words("what", "start", [x + 10.0, y + 4.0], what))
            }
            Step::Passes { from, to, what } => {
                let (from, to) = (x(*from), x(*to));
                let back = if from < to { -POINT } else { POINT };
                let class = match self.known {
                    Known::Seen => "arrow",
                    Known::Shown => "arrow untimed",
                };
                let head = format!("M{to:.1} {y:.1}l{back:.1} -4v8z");
                row.holding(line(class, [from, y], [to + back, y]))
                    .holding(Element::of("path", "point").with("d", head))
                    .holding(words("what", "middle", [(from + to) / 2.0, y - 6.0], what))
            }
        }
    }

    /// For who does not see it.
    fn told(&self, parties: &[Party], accepted: u64) -> String {
        let name = |party: usize| parties.get(party).map_or("", |party| party.name.as_str());
        let when = match self.known {
            Known::Seen => since(self.at, accepted),
            Known::Shown => "before that".to_owned(),
        };
        match &self.step {
            Step::Passes { from, to, what } => format!("{when}: {what}, {} to {}", name(*from), name(*to)),
            Step::Befalls { whom, what } => format!("{when}: {} {what}", name(*whom)),
        }
    }
}

/// A time as it is seen from the mail's acceptance.
fn since(at: u64, accepted: u64) -> String {
    match at.checked_sub(accepted) {
        Some(0) => "accepted".to_owned(),
        Some(after) => format!("+ {}", time(after)),
        None => format!("− {}", time(accepted - at)),
    }
}
