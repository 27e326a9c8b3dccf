//! How a walk is drawn: lifelines side by side, and a row for each thing that happened.

use super::{Cast, Known, Party, Row, Step, Walk};
use crate::history::History;
use crate::report::markup::Element;
use crate::report::scale::{real, time};
use crate::report::svg::{drawing, fitted, line, rectangle, words};

const WIDTH: f64 = 1080.0;
/// Where the times stand.
const GUTTER: f64 = 150.0;
const HEAD: f64 = 52.0;
const ROW: f64 = 36.0;
/// Of an arrow's head.
const POINT: f64 = 8.0;

impl Walk<'_> {
    /// The diagram; `id` names it within the page.
    pub(in crate::report) fn draw(&self, id: &str, history: &History) -> Element {
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
            let frame = rectangle("party", [x - apart / 2.0 + 4.0, 2.0], [apart - 8.0, HEAD - 8.0]);
            Element::new("g")
                .holding(line("lifeline", [x, HEAD - 6.0], [x, height]))
                .holding(frame)
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
