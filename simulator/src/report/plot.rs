//! Plots as SVG: curves over two axes, with the times of faults behind them; and bars.

use super::curves::Points;
use super::markup::Element;
use super::scale::{Scale, real};
use super::svg::{LETTER, dot, drawing, fitted, line, rectangle, words};
use crate::history::Span;

/// Faults that are drawn in one plot.
pub(super) const SPANS: usize = 60;
/// Rows of names of faults above a plot.
const ROWS: usize = 10;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 88.0;
const RIGHT: f64 = 24.0;
const HEIGHT: f64 = 260.0;
const BELOW: f64 = 48.0;
/// Of a line of text.
const LINE: f64 = 18.0;
/// Of the name of a bar, and of its number.
const NAME: f64 = 200.0;
const NUMBER: f64 = 190.0;

/// A curve with its name.
pub(super) struct Curve {
    pub(super) name: String,
    /// From left to right.
    pub(super) points: Points,
    pub(super) shape: Shape,
}

/// How the points of a curve are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Between two of them it is level.
    Steps,
    /// Each is joined to the next.
    Joined,
    /// Each stands alone.
    Alone,
}

/// Curves over two axes.
pub(super) struct Plot {
    /// Names it within the page.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What it shows, for who does not see it.
    pub(super) about: String,
    pub(super) across: (Scale, &'static str),
    pub(super) up: (Scale, &'static str),
    pub(super) curves: Vec<Curve>,
    pub(super) spans: Vec<Span>,
}

impl Plot {
    pub(super) fn draw(&self) -> Element {
        let (names, rows) = self.fault_names();
        let top = LINE * 2.0 + LINE * real(rows as u64);
        let height = top + HEIGHT + BELOW;
        let faults = self.spans.iter().take(SPANS).map(|span| {
            let (from, to) = self.reach(span);
            let to_its_end = [(to - from).max(2.0), HEIGHT];
            rectangle("fault", [from, top], to_its_end)
                .holding(Element::new("title").text(format_args!("{} {}", span.site, span.what)))
        });
        drawing(self.id, self.title, &self.about, [WIDTH, height])
            .holding_all(faults)
            .holding_all(names)
            .holding_all(self.grid(top))
            .holding_all(self.curves.iter().zip(1..).map(|(curve, number)| {
                let path = match curve.shape {
                    Shape::Steps => self.path(&curve.points, top),
                    Shape::Joined => self.joined(&curve.points, top),
                    Shape::Alone => return self.alone(&curve.points, top),
                };
                Element::of("path", class_of_curve(number)).with("d", path)
            }))
            .holding_all(self.legend())
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.across.0.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64, top: f64) -> f64 {
        top + (1.0 - self.up.0.place(value)) * HEIGHT
    }

    /// Where a fault begins and ends.
    fn reach(&self, span: &Span) -> (f64, f64) {
        let to = span.to.map_or(WIDTH - RIGHT, |to| self.x(real(to)));
        (self.x(real(span.from)), to)
    }

    /// The names of the faults in rows in which none covers another; how many rows.
    fn fault_names(&self) -> (Vec<Element>, usize) {
        let mut ends: Vec<f64> = Vec::new();
        let mut names = Vec::new();
        for span in self.spans.iter().take(SPANS) {
            let text = format!("{} {}", span.site, span.what);
            let width = real(text.chars().count() as u64) * LETTER;
            let begin = self.reach(span).0.min(WIDTH - width).max(0.0);
            let row = ends.iter().position(|end| *end <= begin).unwrap_or(ends.len());
            if row >= ROWS {
                continue; // It is drawn, and its title names it.
            }
            match ends.get_mut(row) {
                Some(end) => *end = begin + width + LETTER,
                None => ends.push(begin + width + LETTER),
            }
            let y = LINE * (real(row as u64) + 2.5);
            names.push(words("fault-name", "start", [begin, y], text));
        }
        (names, ends.len())
    }

    fn grid(&self, top: f64) -> Vec<Element> {
        let (across, name_across) = &self.across;
        let (up, name_up) = &self.up;
        let bottom = top + HEIGHT;
        let mut grid = Vec::new();
        for mark in across.marks() {
            let x = self.x(mark);
            grid.push(line("grid", [x, top], [x, bottom]));
            let below = [x, bottom + LINE];
            grid.push(words("mark", "middle", below, across.unit.tell(mark)));
        }
        for mark in up.marks() {
            let y = self.y(mark, top);
            grid.push(line("grid", [LEFT, y], [WIDTH - RIGHT, y]));
            grid.push(words("mark", "end", [LEFT - 8.0, y + 4.0], up.unit.tell(mark)));
        }
        let middle = [(LEFT + WIDTH - RIGHT) / 2.0, bottom + 2.2 * LINE];
        let kind = match across.is_logarithmic() {
            true => ", logarithmic",
            false => "",
        };
        grid.push(words(
            "axis",
            "middle",
            middle,
            format_args!("{name_across}{kind}"),
        ));
        let aside = words("axis", "middle", [0.0, 0.0], name_up);
        let turned = format!("translate(14 {:.1}) rotate(-90)", top + HEIGHT / 2.0);
        grid.push(aside.with("transform", turned));
        grid
    }

    /// Level from point to point, and up or down at each.
    fn path(&self, points: &Points, top: f64) -> String {
        let mut path = String::new();
        for (x, y) in points {
            let (x, y) = (self.x(*x), self.y(*y, top));
            if path.is_empty() {
                // Before the first point there is nothing.
                path = format!("M{x:.1} {:.1}V{y:.1}", self.y(0.0, top));
            } else {
                path.push_str(&format!("H{x:.1}V{y:.1}"));
            }
        }
        if !path.is_empty() {
            path.push_str(&format!("H{:.1}", WIDTH - RIGHT));
        }
        path
    }

    /// Straight from point to point.
    fn joined(&self, points: &Points, top: f64) -> String {
        let mut path = String::new();
        for (x, y) in points {
            let step = if path.is_empty() { 'M' } else { 'L' };
            path.push_str(&format!("{step}{:.1} {:.1}", self.x(*x), self.y(*y, top)));
        }
        path
    }

    fn alone(&self, points: &Points, top: f64) -> Element {
        let (across, up) = (self.across.0.unit, self.up.0.unit);
        Element::new("g").holding_all(points.iter().map(|(x, y)| {
            let told = format!("{}: {}", across.tell(*x), up.tell(*y));
            dot([self.x(*x), self.y(*y, top)]).holding(Element::new("title").text(told))
        }))
    }

    fn legend(&self) -> Vec<Element> {
        let mut x = LEFT;
        let mut legend = Vec::new();
        for (curve, number) in self.curves.iter().zip(1..) {
            legend.push(match curve.shape {
                Shape::Alone => dot([x + 15.0, LINE / 2.0]),
                Shape::Steps | Shape::Joined => {
                    line(class_of_curve(number), [x, LINE / 2.0], [x + 30.0, LINE / 2.0])
                }
            });
            let beside = [x + 38.0, LINE / 2.0 + 4.0];
            legend.push(words("mark", "start", beside, &curve.name));
            x += 70.0 + real(curve.name.chars().count() as u64) * LETTER;
        }
        legend
    }
}

/// Curves differ in colour and in how they are dashed.
const fn class_of_curve(number: usize) -> &'static str {
    match number {
        1 => "curve first",
        2 => "curve second",
        _ => "curve third",
    }
}

/// A bar for each name, with its number as it is to be read.
pub(super) fn bars(id: &str, title: &str, about: &str, rows: &[(String, u64, String)]) -> Element {
    let most = rows.iter().map(|(_, number, _)| *number).max().unwrap_or(0);
    let height = 2.0 * LINE * real(rows.len() as u64);
    let widest = WIDTH - NAME - NUMBER;
    let row = |(index, (name, number, told)): (usize, &(String, u64, String))| {
        let y = 2.0 * LINE * real(index as u64);
        let middle = y + LINE + 4.0;
        let width = widest * real(*number) / real(most.max(1));
        let shown = fitted(name, NAME - 12.0);
        Element::new("g")
            .holding(words("mark", "end", [NAME - 12.0, middle], shown))
            .holding(rectangle("bar", [NAME, y + 5.0], [width, 2.0 * LINE - 10.0]))
            .holding(words("mark", "start", [NAME + width + 8.0, middle], told))
            .holding(Element::new("title").text(format_args!("{name}: {told}")))
    };
    drawing(id, title, about, [WIDTH, height]).holding_all(rows.iter().enumerate().map(row))
}

#[cfg(test)]
mod tests {
    use super::super::scale::Unit;
    use super::*;

    fn plot(spans: Vec<Span>) -> Plot {
        Plot {
            id: "plot",
            title: "a plot",
            about: String::new(),
            across: (Scale::even(Unit::Time, 1000.0), "time"),
            up: (Scale::even(Unit::Count, 3.0), "mails"),
            curves: vec![Curve {
                name: "curve".to_owned(),
                points: vec![(0.0, 0.0), (500.0, 3.0)],
                shape: Shape::Steps,
            }],
            spans,
        }
    }

    fn span(from: u64) -> Span {
        Span {
            site: "foo.test".to_owned(),
            with: Vec::new(),
            what: "stopped",
            from,
            from_mail: 1,
            to: Some(from + 10),
            to_mail: Some(2),
        }
    }

    #[test]
    fn names_of_faults_that_are_close_stand_in_rows_of_their_own() {
        let apart = plot(vec![span(0), span(600)]);
        assert_eq!(apart.fault_names().1, 1);
        let close = plot(vec![span(0), span(20), span(600)]);
        assert_eq!(close.fault_names().1, 2);
        let many = plot((0..50).map(span).collect());
        assert_eq!(many.fault_names().1, ROWS);
    }

    #[test]
    fn a_curve_is_level_between_its_points_and_until_the_end() {
        let plot = plot(Vec::new());
        let path = plot.path(&plot.curves[0].points, 0.0);
        assert_eq!(path, "M88.0 260.0V260.0H482.0V0.0H876.0");
        assert_eq!(plot.path(&Vec::new(), 0.0), "");
        assert_eq!(plot.joined(&plot.curves[0].points, 0.0), "M88.0 260.0L482.0 0.0");
        let alone = plot.alone(&plot.curves[0].points, 0.0).to_string();
        assert_eq!(alone.matches("<circle").count(), 2, "{alone}");
        assert!(alone.contains("<title>500 ms: 3</title>"), "{alone}");
    }
}
